"""Labelled recordings: manifests, tags, artist names, splits, published collections."""
