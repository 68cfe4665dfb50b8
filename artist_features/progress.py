"""Progress bars: on a terminal they are redrawn, in a file they are a line every 30 s."""

import sys
from collections.abc import Iterable
from typing import Any

LINE_EVERY_S = 30.0  # where standard error is no terminal


class _Lines:
    """Text stream to which a bar writes lines, not carriage returns."""

    def write(self, text: str) -> None:
        if text := text.strip("\r\n "):
            sys.stderr.write(text + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


def progress_bar(
    iterable: Iterable[Any] | None = None,
    desc: str | None = None,
    total: int | None = None,
    *,
    unit: str,
    shown: bool = True,
    **options: Any,
) -> Any:
    """Return a `tqdm` bar on standard error; where that is a file, work under 30 s shows none.

    Args:
        iterable, desc, total, unit: as for `tqdm`.
        shown: False means no bar.
        options: further ones of `tqdm`.
    """
    from tqdm import tqdm

    if sys.stderr is None or not sys.stderr.isatty():
        options |= {"file": _Lines(), "delay": LINE_EVERY_S, "mininterval": LINE_EVERY_S}
        options |= {"maxinterval": LINE_EVERY_S, "ascii": True, "ncols": 80}
    shown = shown and sys.stderr is not None
    return tqdm(iterable, desc, total, unit=unit, disable=not shown, **options)
