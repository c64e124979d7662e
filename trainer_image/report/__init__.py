"""What a person looks at: the page, the adapter's card, TensorBoard's events."""
