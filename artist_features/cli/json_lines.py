"""Rows of results as JSON lines on standard output."""

import json

from artist_features.files import output_error


class JsonLines:
    """Print each row as it is finished; the writer of a job without an output."""

    keeps_failed = True
    damaged = ()

    def begin_walk(self):
        """Nothing to do: see `is_repeated`."""

    def is_repeated(self, path):
        """A path that is named twice has two lines."""
        return False

    def find(self, path):
        """Nothing is there from before."""

    def mark_stale(self, path):
        """Nothing is there from before."""

    def failed_and_not_named(self):
        """Nothing is there from before."""
        return []

    def drop_stale(self):
        """Nothing is there from before."""

    def write(self, index, row):
        """Print the row."""
        embedding = None if row.failed else row.embedding.tolist()
        record = {"path": row.path, "name": row.name, "status": row.status, "error": row.error}
        record |= {"duration_s": row.duration_s, "embedding": embedding}
        if row.starts_s:
            record["start_s"] = row.starts_s
        try:
            print(json.dumps(record), flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise output_error(error, "standard output") from None

    def close(self, *, complete=True):
        """Nothing is held back."""
