"""What a running job says on standard error: a bar, and lines that do not break it."""

import contextlib
import sys

from artist_features.errors import display_path


def write_line(text):
    """Print a line on standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    # a standard error that was closed must not stop the job
    with contextlib.suppress(OSError, ValueError):
        tqdm.write(text, file=sys.stderr)


class Progress:
    """A bar with files/s and the time left; a line for each file that is not just fine."""

    def __init__(self, tally):
        from tqdm import tqdm

        self._tally = tally
        self._bar = tqdm(
            total=tally.n_missing, unit="file", disable=None, file=sys.stderr, smoothing=0.05
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()

    def update(self, row):
        """Count a row; say what is wrong with it."""
        if row.status != "ok":
            write_line(f"{display_path(row.path)}: {row.status}: {row.error}")
        if not self._bar.disable:
            speed = self._tally.audio_s / max(self._bar.format_dict["elapsed"], 1e-3)
            self._bar.set_postfix_str(
                f"{speed:.0f} h of audio/h, {self._tally.n_failed} failed", refresh=False
            )
        self._bar.update()
