"""Progress bars of long work, where standard error is a file and where it is a terminal."""

import io
import time

import pytest

from artist_features import progress
from artist_features.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stderr(monkeypatch):
    return lambda stream: monkeypatch.setattr("sys.stderr", stream) or stream


def test_in_a_file_long_work_is_a_line_now_and_then(stderr, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.05)
    said = stderr(io.StringIO())
    for _ in progress_bar(range(8), "tags", unit="file"):
        time.sleep(0.03)
    lines = said.getvalue().splitlines()
    assert 2 <= len(lines) <= 8
    assert "\r" not in said.getvalue()
    assert lines[-1].startswith("tags: 100%")
    assert all(line.startswith("tags: ") and "/8 [" in line for line in lines)


def test_in_a_file_short_work_is_silent(stderr):
    said = stderr(io.StringIO())
    with progress_bar(None, "train", 10, unit="step", initial=4) as bar:
        bar.update(6)
    assert list(progress_bar([1, 2], unit="file")) == [1, 2]
    assert said.getvalue() == ""


def test_on_a_terminal_the_bar_is_redrawn_and_none_where_none_is_wanted(stderr):
    said = stderr(Terminal())
    list(progress_bar(range(3), "tags", unit="file", shown=False))
    assert said.getvalue() == ""
    list(progress_bar(range(3), "tags", unit="file"))
    assert said.getvalue().count("\r") >= 2
    stderr(None)
    assert list(progress_bar(range(3), unit="file")) == [0, 1, 2]
