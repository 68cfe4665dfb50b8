"""Bulk extraction: a folder or a list of recordings to a table, on one machine or a cluster.

In: names, folders, lists and URIs (`inputs`). `job` finds what the output lacks and has it made, by
`extraction` or on Ray (`cluster`). Out: rows (`tables`) in one file, JSON lines (`outputs`), or a
folder of Parquet shards with a journal of what is finished (`shards`).
"""
