"""Recordings to embeddings."""
