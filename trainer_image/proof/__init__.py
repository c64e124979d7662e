"""The proof of a persona: four arms measured on what was not trained on, and the gate over them."""
