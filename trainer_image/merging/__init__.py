"""An adapter added into its base model's weights, and what that changed in what it says."""
