"""What a model is, and where its numbers come from."""
