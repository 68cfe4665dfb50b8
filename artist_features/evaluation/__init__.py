"""Evaluation: embeddings of labelled tracks to scores."""
