"""Long jobs as users run them: real processes, real signals; see also test_faults_jobs.py."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import music, shard_rows, write_audio

from artist_features.cli.main import main

pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.slow
N_FILES = 40


@pytest.fixture(
    scope="module", params=["onnx", pytest.param("tensorflow", marks=pytest.mark.nightly)]
)
def model(request):
    """The default on a CPU, and a model that TensorFlow has to run."""
    return "siamese" if request.param == "onnx" else request.getfixturevalue("tiny_folder")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    # long enough for a signal to come between two rows
    songs = [np.tile(music(seconds=20, seed=seed), (2, 1)) for seed in range(5)]
    for number, samples in enumerate(songs):
        write_audio(folder / f"{number:02d}.flac", samples)
    for number in range(len(songs), N_FILES - 1):
        shutil.copyfile(folder / f"{number % 5:02d}.flac", folder / f"{number:02d}.flac")
    (folder / "bad.mp3").write_text("these are words, not music")
    return folder


def words_of(*words):
    return [sys.executable, "-m", "artist_features.cli.main", "extract", *map(str, words)]


def start(library, model, out, *options, before=(), **streams):
    return subprocess.Popen(
        [*before, *words_of(library, "-o", out, "--model", model, *options)],
        text=True,
        start_new_session=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )


def finish(*args, code=1):
    process = start(*args)
    _, said = process.communicate(timeout=800)
    assert process.returncode == code, said
    return said


def rows(out):
    """Return (path, status) of every row, in the order of paths."""
    return [row[:2] for row in whole_rows(out)]


def whole_rows(out):
    return sorted((row["path"], row["status"], row["embedding"]) for row in shard_rows(out))


def assert_same(found, expected):
    """The same rows; vectors may differ in the last bit, as the batches of a job do."""
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for (path, _, mine), (_, _, theirs) in zip(found, expected, strict=True):
        assert (mine is None) == (theirs is None), path
        if mine is not None:
            np.testing.assert_allclose(mine, theirs, atol=1e-5, err_msg=path)


def _has_rows(out):
    return (out / ".journal").exists() and (out / ".journal").stat().st_size > 0


def journal_grows(out, process):
    deadline = time.monotonic() + 400
    while not _has_rows(out):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="module")
def unbroken(library, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken") / "out"
    finish(library, model, out)
    return whole_rows(out)


def test_the_unbroken_job_has_a_row_for_every_file(unbroken):
    assert len(unbroken) == N_FILES
    assert [path for path, status, _ in unbroken if status != "ok"] == [unbroken[-1][0]]


@pytest.mark.parametrize("n_kills", [1, pytest.param(5, marks=pytest.mark.nightly)])
def test_row_50_killed_at_any_time_it_ends_as_an_unbroken_one(
    n_kills, library, model, tmp_path, unbroken
):
    """Killed at random times after the first row, and a power loss on top."""
    out, rng, sizes = tmp_path / "out", random.Random(0), []
    for number in range(n_kills):
        process = start(library, model, out)
        while process.poll() is None and not _has_rows(out):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)  # the last ones may find the job done
        process.communicate()
        sizes.append(len(rows(out)))
        if number == 0 and _has_rows(out):  # half a record
            with open(out / ".journal", "ab") as journal:
                journal.write(b"AFr1 half a record")
    finish(library, model, out)
    assert sizes == sorted(sizes)
    assert sizes[0] < N_FILES
    assert_same(whole_rows(out), unbroken)
    kept = sorted(p.name for p in out.iterdir() if p.suffix != ".parquet")
    assert kept == [".lock"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.nightly),
        pytest.param(signal.SIGHUP, 143, marks=pytest.mark.nightly),
    ],
)
def test_rows_51_52_a_signal_to_the_group_commits_and_ends(
    number, code, library, model, tmp_path, unbroken
):
    out = tmp_path / "out"
    process = start(library, model, out)
    journal_grows(out, process)
    begun = time.monotonic()
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code, said
    assert time.monotonic() - begun < 5
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    assert 0 < len(rows(out)) < N_FILES
    assert not (out / ".journal").exists()
    finish(library, model, out)
    assert_same(whole_rows(out), unbroken)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.nightly)],
)
def test_rows_51_52_a_signal_while_nothing_is_decoded(number, code, library, model, tmp_path):
    """The decoders hang, and what was finished before is kept."""
    hang = "import soundfile, time\nsoundfile.SoundFile.read = lambda *_, **__: time.sleep(600)"
    out, site = tmp_path / "out", tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(hang)
    listing = tmp_path / "list.txt"
    listing.write_text(f"{library / 'bad.mp3'}\n{library / '00.flac'}\n")
    process = start(f"@{listing}", model, out, env={**os.environ, "PYTHONPATH": str(site)})
    journal_grows(out, process)  # the bad one
    begun = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=240)
    assert process.returncode == code, said
    assert time.monotonic() - begun < 5
    assert [status for _, status in rows(out)] == ["unsupported"]


def test_row_51_a_second_signal_ends_it_at_once(library, model, tmp_path, unbroken):
    out = tmp_path / "out"
    process = start(library, model, out)
    journal_grows(out, process)
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    assert process.wait(5) == 130
    process.communicate()
    finish(library, model, out)
    assert_same(whole_rows(out), unbroken)


def test_row_54_an_output_that_takes_no_more_half_way(library, model, tmp_path):
    """A folder that takes no more shards: the rows are in the journal, and come later."""
    out = tmp_path / "out"
    process = start(library, model, out)
    journal_grows(out, process)
    blocker = out / "part-00000.parquet"  # root may write anywhere, but not over a folder
    blocker.mkdir()
    _, said = process.communicate(timeout=800)
    assert process.returncode == 2
    assert "part-00000.parquet" in said
    assert "Traceback" not in said
    blocker.rmdir()
    said = finish(library, model, out)
    assert f"{N_FILES} already there" in said
    assert len(rows(out)) == N_FILES


def test_row_56_two_jobs_in_one_folder(library, model, tmp_path):
    out = tmp_path / "out"
    first = start(library, model, out)
    journal_grows(out, first)
    first.send_signal(signal.SIGSTOP)  # or it may be done before the second has started
    try:
        said = finish(library, model, out, code=2)
    finally:
        first.send_signal(signal.SIGCONT)
    assert f"pid {first.pid} on " in said
    first.communicate(timeout=800)
    assert first.returncode == 1


def test_parts_on_two_machines_make_the_whole(library, model, tmp_path, unbroken):
    for index in (1, 2):
        options = ("--shard", f"{index}/2", "--model", str(model))
        assert main(["extract", str(library), "-o", str(tmp_path / f"{index}"), *options]) in (0, 1)
    both = [whole_rows(tmp_path / f"{index}") for index in (1, 2)]
    assert min(map(len, both)) > 5
    assert_same(sorted(both[0] + both[1]), unbroken)


def test_report_segments_and_hashes(library, model, tmp_path):
    import hashlib

    out, report = tmp_path / "out", tmp_path / "report.json"
    options = ("--report", report, "--per-segment", "--content-hash", "--model", model)
    words = ["extract", library, "-o", out, *options]
    assert main([str(word) for word in words]) == 1
    record = json.loads(report.read_text())
    assert record["made"] == {"ok": N_FILES - 1, "unsupported": 1}
    assert record["formats"]["flac"]["files"] == N_FILES - 1
    assert record["formats"]["flac"]["decode_s"] > 0
    assert record["formats"]["flac"]["resample_s"] > 0
    mine = [row for row in shard_rows(out) if row["path"].endswith("/00.flac")]
    assert len(mine) == 13  # of 40 s
    assert [row["start_s"] for row in mine] == pytest.approx(np.arange(13) * 129 * 512 / 22050)
    digest = hashlib.sha256((library / "00.flac").read_bytes()).hexdigest()
    assert {row["content_sha256"] for row in mine} == {digest}
    assert mine[0]["model"] == os.path.basename(model)
    assert len(mine[0]["weights_sha256"]) == 64
    assert main([str(w) for w in words if w != "--per-segment"]) == 2


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "-1/2"])
def test_parts_that_are_none(text, library, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["extract", str(library), "-o", str(tmp_path / "o"), f"--shard={text}"])
    assert caught.value.code == 2
    assert "allowed is I/N" in capsys.readouterr().err


def test_lists_that_can_be_read_only_once(library, model, tmp_path):
    names = "\n".join(str(library / f"{n:02d}.flac") for n in range(3))
    words = words_of("@/dev/stdin", "--model", model, "-o", tmp_path / "out.npz")
    done = subprocess.run(words, input=names, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(np.load(tmp_path / "out.npz", allow_pickle=False)["path"]) == 3


def test_reports_replace_only_reports(library, model, tmp_path, capsys):
    song, out = library / "00.flac", tmp_path / "out.npz"
    common = ["extract", str(song), "-o", str(out), "--model", str(model), "--report"]
    recording = song.read_bytes()
    os.symlink(tmp_path / "elsewhere", tmp_path / "link")
    nowhere = tmp_path / "none" / "r.json"
    for place in (song, out, tmp_path / "link", tmp_path, "/dev/null", nowhere):
        assert main([*common, str(place)]) == 2
        assert "report" in capsys.readouterr().err
    assert song.read_bytes() == recording
    assert not out.exists()
    for _ in range(2):
        assert main([*common, str(tmp_path / "r.json")]) == 0
    words = ["extract", str(song), "-o", str(tmp_path / "o"), "--model", str(model)]
    assert main(words) == 0
    assert main([*words, "--report", str(tmp_path / "o" / "part-00009.parquet")]) == 2


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 kB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here ({error})")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_row_54_a_disk_that_is_full_keeps_what_is_finished(small_disk, library, model, unbroken):
    out, filler = small_disk / "out", small_disk / "filler"
    out.mkdir()
    filler.write_bytes(bytes(250_000))  # 8 kB are left
    said = finish(library, model, out, "--batch-size", "8", code=2)
    assert "no space" in said
    assert "Traceback" not in said
    assert (out / ".journal").stat().st_size > 0
    filler.unlink()
    said = finish(library, model, out)
    assert ", 0 already there" not in said
    assert "already there" in said
    assert_same(whole_rows(out), unbroken)


@pytest.mark.nightly
def test_a_folder_that_becomes_read_only_on_the_way(library, model, tmp_path, unbroken):
    out = tmp_path / "out"
    out.mkdir()
    process = start(library, model, out, "--batch-size", "8", before=_without_all_rights())
    journal_grows(out, process)
    out.chmod(0o555)
    _, said = process.communicate(timeout=400)
    assert process.returncode == 2, said
    assert "cannot be written" in said or "Permission denied" in said
    assert "Traceback" not in said
    assert (out / ".journal").stat().st_size > 0
    out.chmod(0o755)
    finish(library, model, out)
    assert_same(whole_rows(out), unbroken)


def _without_all_rights():
    """Return the command under which root obeys the modes of files, too."""
    if os.geteuid():
        return []
    command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if shutil.which("setpriv") is None or subprocess.run([*command, "true"]).returncode:
        pytest.skip("root may write everywhere, and setpriv, which could change that, is missing")
    return command


@pytest.mark.parametrize(
    "number", [signal.SIGHUP, pytest.param(signal.SIGINT, marks=pytest.mark.nightly)]
)
def test_ignored_signals_stay_ignored(number, library, model, tmp_path):
    """As under nohup."""
    out = tmp_path / "out"
    ignore = {"preexec_fn": lambda: signal.signal(number, signal.SIG_IGN)}
    process = start(library, model, out, **ignore)
    journal_grows(out, process)
    process.send_signal(number)
    _, said = process.communicate(timeout=800)
    assert process.returncode == 1, said
    assert len(rows(out)) == N_FILES


@pytest.mark.parametrize(
    "delay", [1.0, *(pytest.param(s, marks=pytest.mark.nightly) for s in (0.3, 0.6, 1.6))]
)
def test_a_signal_at_the_start_ends_it_without_a_traceback(delay, library, model, tmp_path):
    process = start(library, model, tmp_path / "out")
    time.sleep(delay)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=240)
    assert process.returncode in (-signal.SIGTERM, 143), said
    assert "Traceback" not in said


def test_with_closed_streams_no_file_becomes_one_of_them(library, model, tmp_path):
    out = tmp_path / "out"
    command = " ".join(words_of(library, "-o", out, "--model", model)) + " <&- >&- 2>&-"
    process = subprocess.Popen(["sh", "-c", f"exec {command}"])
    journal_grows(out, process)
    streams = [os.readlink(f"/proc/{process.pid}/fd/{n}") for n in range(3)]
    assert streams == ["/dev/null"] * 3
    assert process.wait(200) == 1
    assert len(rows(out)) == N_FILES


def test_standard_output_that_takes_nothing(library, model):
    words = words_of(library / "00.flac", "--model", model)
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "standard output: no space" in done.stderr
    assert "Traceback" not in done.stderr
    done = subprocess.run(
        ["sh", "-c", f"exec {' '.join(words)} >&-"], stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 2
    assert "standard output is closed" in done.stderr


def test_a_bad_list_leaves_the_output_alone(library, model, tmp_path):
    listing, out = tmp_path / "list.txt", tmp_path / "out.npz"
    song = tmp_path / "song.flac"
    song.write_bytes((library / "00.flac").read_bytes())
    listing.write_text(f"{song}\n")
    words = ["extract", f"@{listing}", "--model", str(model), "-o", str(out)]
    assert main(words) == 0
    before = out.read_bytes()
    os.utime(song, (1, 1))
    listing.write_bytes(f"{song}\nbad\0.mp3\n".encode())
    assert main(words) == 2
    assert out.read_bytes() == before


def test_an_empty_part_is_no_error(library, model, tmp_path, capsys):
    words = ["extract", str(library / "00.flac"), "--model", str(model)]
    codes = [main([*words, "-o", str(tmp_path / f"{n}"), "--shard", f"{n}/2"]) for n in (1, 2)]
    assert codes == [0, 0]
    assert "no files fall into part" in capsys.readouterr().err
