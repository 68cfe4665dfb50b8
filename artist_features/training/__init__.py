"""Tracks with artist names to a trained model."""
