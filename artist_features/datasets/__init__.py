"""Labelled recordings: manifests, tags, artist names, splits, published collections.

In: a manifest CSV (`manifest`), a folder whose files have tags (`tags`), or a copy of the Million
Song Dataset, GTZAN or FMA (`msd`, `genres`). Out: `Track`s (`tracks`) with file, artist and
title, their train, valid and test splits (`splits`), and what is wrong with a manifest (`checks`).
"""
