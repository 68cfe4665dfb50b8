"""Embeddings to neighbours and pictures."""
