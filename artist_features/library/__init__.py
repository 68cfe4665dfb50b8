"""Bulk extraction: list recordings, run a job, write tables and shards; also on a cluster."""
