"""Jobs over many files: what is missing, changed, failed; memory; the parts of a list."""

import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from conftest import shard_rows
from test_outputs import opened

from artist_features.config import FrontEnd
from artist_features.errors import AudioError
from artist_features.extraction.batching import Result
from artist_features.extraction.decode import Facts, ReadingOptions, Source
from artist_features.library import job
from artist_features.library.inputs import stamp_of


class Listener:
    """An extractor that reads no audio: files with "bad" in their name fail."""

    n_workers = 2
    front_end = FrontEnd(hop_length=525, segment_frames=126)  # segments of 3 s

    def __init__(self):
        self.timing, self.heard = Counter(), []

    def results(self, sources, *, pool="mean", n_sources=None):
        for index, source in enumerate(sources):
            self.heard.append(source.path)
            if "bad" in source.path:
                yield Result(index, source.path, error=AudioError("damaged", "bad", source.path))
            else:
                facts = Facts(2, 6.0, 44100, "soundfile", (), "mp3", 0.02, 0.01)
                vector = np.full(4 if pool else (2, 4), len(source.path), np.float32)
                yield Result(index, source.path, vector, facts)


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    for name in ("a.mp3", "bad.mp3", "c.mp3"):
        (folder / name).write_text(name)
    return [str(folder / name) for name in ("a.mp3", "bad.mp3", "c.mp3", "gone.mp3")]


def go(paths, out, *, retry_failed=False, prune=False, **options):
    writer = opened(out)
    listener = Listener()
    try:
        tally = job.Tally()
        job.find_missing(
            iter(paths), writer, writer.named, tally, retry_failed=retry_failed, prune=prune
        )
        job.run(writer.named, writer, listener, tally, **options)
    finally:
        writer.close()
    return tally, [os.path.basename(path) for path in listener.heard]


def stored(out):
    rows = shard_rows(out)
    return {os.path.basename(row["path"]) for row in rows}, len(rows)


def test_what_is_there_stays_and_failed_files_are_left_alone(files, tmp_path):
    pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    tally, heard = go(files[:2], out)
    assert (heard, tally.made) == (["a.mp3", "bad.mp3"], {"ok": 1, "damaged": 1})
    assert (tally.n_listed, tally.n_missing, tally.n_failed) == (2, 2, 1)
    _, heard = go(files[2:], out)  # the others are named no longer
    assert heard == ["c.mp3", "gone.mp3"]
    tally, heard = go(files, out)
    assert (heard, tally.kept) == ([], {"ok": 3, "damaged": 1})
    tally, heard = go(files, out, retry_failed=True)
    assert heard == ["bad.mp3"]
    assert (tally.kept, tally.made, tally.n_failed) == ({"ok": 3}, {"damaged": 1}, 1)
    assert stored(out) == ({"a.mp3", "bad.mp3", "c.mp3", "gone.mp3"}, 4)


@pytest.mark.parametrize("name", ["out", "out.npz", "out.parquet"])
def test_changed_files_are_read_again_and_vanished_ones_stay(files, tmp_path, name):
    pytest.importorskip("pyarrow")
    go(files, tmp_path / name)
    with open(files[0], "a") as file:
        file.write("more")
    os.utime(files[2], (1, 1))
    tally, heard = go([files[0], files[2], files[3]], tmp_path / name)
    assert heard == ["a.mp3", "c.mp3"]
    assert (tally.n_changed, tally.kept) == (2, {"ok": 1})
    os.unlink(files[0])
    tally, heard = go([files[0]], tmp_path / name)
    assert heard == []
    assert tally.kept == {"ok": 1}


@pytest.mark.parametrize("name", ["out", "out.npz"])
def test_rows_of_files_that_are_gone_are_removed_if_asked(files, tmp_path, name):
    pytest.importorskip("pyarrow")
    uri = "s3://bucket/x.mp3"
    go([*files, uri], tmp_path / name)
    os.unlink(files[0])
    os.unlink(files[1])
    for prune, n_gone, left in ((False, 0, 5), (True, 3, 2), (True, 0, 2)):  # gone.mp3 never was
        tally, heard = go(files[2:3], tmp_path / name, prune=prune)
        assert (tally.n_gone, heard) == (n_gone, [])
        writer = opened(tmp_path / name)
        held = [path for path in [*files, uri] if writer.named.held(path)]
        writer.close()
        assert len(held) == left
    assert held == [files[2], uri]


@pytest.mark.parametrize("name", ["out.npz", "out.parquet"])
def test_paths_given_twice_leave_no_old_rows(files, tmp_path, name):
    pytest.importorskip("pyarrow")
    twice = [files[1], files[1], files[0], files[0]]
    go(twice, tmp_path / name)
    os.utime(files[0], (1, 1))
    tally, _ = go(twice, tmp_path / name)
    assert (tally.made.total(), tally.n_repeated) == (2, 2)
    writer = opened(tmp_path / name)
    assert len(writer._rows) == 2
    assert writer.named.held(files[0]) == ("ok", stamp_of(files[0]))


def test_a_folder_has_one_row_for_a_path_however_often_it_is_named(files, tmp_path):
    pytest.importorskip("pyarrow")
    twice = [*files, files[1], files[0], *files]
    for paths, n_made in ((twice[:2], 2), (twice, 2), (twice, 0)):
        tally, _ = go(paths, tmp_path / "out")
        assert tally.made.total() == n_made
        assert tally.n_listed == len(set(paths))
        assert tally.n_repeated == len(paths) - len(set(paths))
    assert stored(tmp_path / "out")[1] == 4


def test_folders_that_cannot_be_searched_keep_one_row(files, tmp_path):
    out = tmp_path / "out"
    closed = AudioError("no_permission", "folder cannot be searched", "/closed")
    tally, _ = go([closed, *files[:1]], out)
    assert tally.made == {"no_permission": 1, "ok": 1}
    tally, _ = go([closed, *files[:1]], out)
    assert tally.made == {}
    assert stored(out)[1] == 2


@pytest.mark.parametrize("name", ["t", "t.npz"])
def test_row_of_a_folder_goes_once_it_can_be_searched(files, tmp_path, name):
    locked = AudioError("no_permission", "may not be searched", str(tmp_path / "music"))
    away = AudioError("no_permission", "may not be searched", str(tmp_path / "away"))
    tally, _ = go([files[0], locked, away], tmp_path / name)
    assert tally.made == {"ok": 1, "no_permission": 2}
    tally, _ = go(files[:1], tmp_path / name)
    writer = opened(tmp_path / name)
    assert writer.named.held(str(tmp_path / "music")) is None
    assert writer.named.held(str(tmp_path / "away"))[0] == "no_permission"  # still not there
    writer.close()


def test_rows_of_segments_say_when_they_begin(files, tmp_path):
    out, seen = tmp_path / "out", []

    def make_source(path):
        seen.append(Source(path, reading=ReadingOptions(1.0), hashed=True))
        return seen[-1]

    go(files[:1], out, per_segment=True, make_source=make_source)
    assert [source.hashed for source in seen] == [True]  # made once
    assert [row["start_s"] for row in shard_rows(out)] == [1.0, 4.0]
    _, heard = go(files[:1], out, per_segment=True)
    assert heard == []


def test_the_tally_has_formats_and_the_bottleneck(files, tmp_path):
    tally, _ = go(files, tmp_path / "out")
    assert tally.formats == {
        "mp3": {"files": 3, "audio_s": 18.0, "decode_s": pytest.approx(0.06), "resample_s": 0.03}
    }
    tally.seconds.update(wall=0.06, model=0.001)
    assert tally.bottleneck == "decoding (busy 75 % of the time)"
    tally.seconds.update(fetch=0.11)  # of both decoders
    assert tally.bottleneck == "fetching (busy 92 % of the time)"
    alone, _ = go(files[:1], tmp_path / "one")
    assert alone.n_workers == 1
    record = tally.record()
    assert record["made"] == {"ok": 3, "damaged": 1}
    assert record["formats"]["mp3"]["files"] == 3


MEMORY = """
import resource, sys
from test_job import Listener, job, opened

class Forgetful(Listener):
    def results(self, sources, **options):
        for result in super().results(sources, **options):
            self.heard.clear()
            yield result

for n_files, out in zip((20_000, 100_000), sys.argv[1:]):
    for _ in range(2):
        paths = lambda: (f"/music/{n % 1000}/{n}.mp3" for n in range(n_files))
        writer = opened(out)
        tally = job.Tally()
        job.find_missing(paths(), writer, writer.named, tally)
        job.run(writer.named, writer, Forgetful(), tally)
        writer.close()
    assert (tally.n_listed, tally.kept.total()) == (n_files, n_files)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # KiB
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in KiB on Linux")
def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    """Simulated sources, made and found again, in a process whose peak is read twice."""
    pytest.importorskip("pyarrow")
    words = [sys.executable, "-c", MEMORY, str(tmp_path / "few"), str(tmp_path / "many")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=os.path.dirname(__file__))
    assert done.returncode == 0, done.stderr
    few, many = map(int, done.stdout.split())
    assert many - few < 6_000, done.stdout  # a list of the names takes 8 MB
