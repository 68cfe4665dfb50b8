"""`python -m artist_features`: the command line."""

from artist_features.cli.main import run

run()
