"""A real Ray cluster on this machine: the rows of a single machine, whatever dies meanwhile."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from conftest import music, shard_rows, write_audio

from artist_features.cli.main import main
from artist_features.errors import AudioError, ClusterError
from artist_features.extraction.decode import Facts, ReadingOptions, Source
from artist_features.extraction.extractor import Extractor
from artist_features.library import cluster, cluster_worker

pa = pytest.importorskip("pyarrow", reason="the extra [parquet] is not installed")
pytestmark = pytest.mark.timeout(2700)  # an actor on a busy machine takes a minute to start
N_SONGS = 10


@pytest.fixture(scope="module")
def ray():
    """A cluster of two CPUs, which is the caller's."""
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    ray = cluster.import_ray()
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    for number in range(N_SONGS):
        write_audio(folder / f"{number}.flac", music(seconds=7, seed=number))
    (folder / "bad.mp3").write_text("these are words, not music")
    write_audio(folder / "short.wav", music(seconds=1))
    return folder


@pytest.fixture(scope="module")
def sources(library):
    return [Source(str(path)) for path in sorted(library.iterdir())]


@pytest.fixture(scope="module")
def expected(sources, tiny_folder):
    return by_name(Extractor(tiny_folder, isolated=True).results(sources))


def by_name(results):
    found = {os.path.basename(result.path): result for result in results}
    assert len({result.index for result in found.values()}) == len(found)
    return found


def assert_same(mine, theirs, but=()):
    assert set(mine) == set(theirs)
    for name in set(mine) - set(but):
        assert mine[name].status == theirs[name].status, name
        assert mine[name].index == theirs[name].index
        if theirs[name].embedding is not None:
            np.testing.assert_allclose(mine[name].embedding, theirs[name].embedding, atol=1e-6)
            assert mine[name].facts.flaws == theirs[name].facts.flaws
        else:
            assert mine[name].error.message == theirs[name].error.message
            assert mine[name].error.path == theirs[name].error.path


def rows(out):
    return {(row["path"], row["start_s"]): row for row in shard_rows(out)}


@pytest.mark.parametrize("pool", ["mean", None])
def test_tables_of_sources_become_tables_of_results(pool, tiny_folder, library, tmp_path):
    """Without Ray: names that are no text, spans, hashes, segments kept apart."""
    from artist_features.zoo.registry import read_model

    odd = os.fsdecode(os.fsencode(str(tmp_path)) + b"/caf\xe9 \xf0\x9f\x8e\xb5.flac")
    os.link(library / "0.flac", odd)
    sources = {
        7: Source(odd, reading=ReadingOptions(1.0, 4.0), hashed=True),
        9: Source(str(library / "bad.mp3")),
        3: Source(str(library / "1.flac"), reading=ReadingOptions(n_segments=2)),
    }
    options = {"batch_size": 8, "n_workers": 1, "decoder": "auto"}
    version = cluster_worker.VERSION
    embedder = cluster_worker.EmbeddingActor(*read_model(tiny_folder), version, pool, 3, options)
    table = embedder(cluster_worker.pack_sources(sources))
    pairs = list(cluster_worker.unpack_results(table, 8, pool == "mean"))
    found = {result.index: result for result, _ in pairs}
    notes = [note for _, note in pairs if note]
    assert len(notes) == 1
    assert notes[0]["timing"]["files"] == 3
    single = Extractor(tiny_folder).results(sources.values(), pool=pool)
    for number, theirs in zip(sources, sorted(single, key=lambda r: r.index), strict=True):
        assert found[number].status == theirs.status
        if theirs.embedding is not None:
            np.testing.assert_allclose(found[number].embedding, theirs.embedding, atol=1e-6)
            assert found[number].facts.content_sha256 == theirs.facts.content_sha256


def test_paths_are_made_whole_for_other_machines(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for given, whole in (
        ("a.mp3", f"{tmp_path}/a.mp3"),
        ("../a.mp3", f"{tmp_path}/../a.mp3"),  # not shortened: ".." of a link is elsewhere
        ("/a.mp3", "/a.mp3"),
        ("s3://bucket/a.mp3", "s3://bucket/a.mp3"),
        ("zip://a.mp3::all.zip", f"zip://a.mp3::{tmp_path}/all.zip"),
        ("zip://a.mp3::/all.zip", "zip://a.mp3::/all.zip"),
    ):
        assert cluster_worker._absolute(given) == whole


@pytest.mark.parametrize(
    ("nodes", "n_workers", "plan"),
    [
        ([{"CPU": 2}], None, (2, 2, 0, 1)),
        ([{"CPU": 2}], 1, (1, 1, 0, 2)),
        ([{"CPU": 2}], 5, (5, 2, 0, 1)),
        ([{"CPU": 64}, {"CPU": 16}, {"memory": 1}], None, (8, 8, 0, 10)),
        ([{"CPU": 16, "GPU": 4}, {"CPU": 64}], None, (4, 4, 1, 4)),
        ([{"CPU": 16, "GPU": 4}, {"CPU": 8, "GPU": 1}], 2, (2, 2, 1, 5)),
        ([{"CPU": 2, "GPU": 4}], None, (1, 1, 1, 4)),
        ([], None, (8, 8, 0, 1)),
    ],
)
def test_a_cluster_is_shared_out(nodes, n_workers, plan):
    nodes = [{"Alive": True, "Resources": node} for node in nodes]
    nodes.append({"Alive": False, "Resources": {"CPU": 1, "GPU": 8}})
    assert cluster.plan_actors(nodes, n_workers) == plan


@pytest.fixture
def pretended(monkeypatch):
    """A function from "which tasks are lost" to an extractor of a pretended cluster.

    It gets the paths of a task and of the task behind it. Also a list of the sizes of tasks.
    """
    nodes = [{"Alive": True, "Resources": {"CPU": 2}}]
    pretended_ray = types.SimpleNamespace(nodes=lambda: nodes)
    monkeypatch.setattr(cluster, "import_ray", lambda: None)
    monkeypatch.setattr(cluster, "connected", lambda _: contextlib.nullcontext(pretended_ray))
    sizes = []

    def build(is_lost):
        def run(self, ray, tables, pool, n_sources):
            sizes.append([len(table) for table in tables])
            before = ""
            for table in reversed(tables):  # no order is promised
                paths = " ".join(table["record"].to_pylist())
                if not is_lost(paths, before):
                    facts = Facts(1, 3.0, 44100, "soundfile").to_record()
                    records = [{"facts": facts} for _ in range(len(table))]
                    records[0]["note"] = {"timing": {"files": len(table)}, "device": "none"}
                    vector = np.full(256, len(table), np.float32).tobytes()
                    yield pa.table(
                        {
                            "index": table["index"],
                            "embedding": pa.array([vector] * len(table), pa.large_binary()),
                            "record": list(map(json.dumps, records)),
                        }
                    )
                before = paths

        monkeypatch.setattr(cluster.ClusterExtractor, "_run", run)
        return cluster.ClusterExtractor(), sizes

    return build


def songs(n):
    return [Source(f"/music/{number:02d}.mp3") for number in range(n)]


def test_a_task_that_is_lost_is_given_out_file_by_file(pretended):
    """The killer takes the task behind it along, in whatever order; it alone is lost."""
    extractor, sizes = pretended(lambda paths, before: "07.mp3" in paths + before)
    found = list(extractor.results(iter(songs(20))))
    assert sorted(result.path for result in found) == [source.path for source in songs(20)]
    assert all(songs(20)[result.index].path == result.path for result in found)
    lost = {result.path: result.error for result in found if result.error}
    assert set(lost) == {"/music/07.mp3"}
    assert (lost["/music/07.mp3"].code, lost["/music/07.mp3"].path) == ("crashed", "/music/07.mp3")
    assert sizes == [[5] * 4, [1] * 10, [1] * 2]
    assert extractor.timing["files"] == 5 * 2 + 8 + 1


def test_windows_bound_what_is_given_out_at_once(pretended, monkeypatch):
    monkeypatch.setattr(cluster, "WINDOW", 8)
    extractor, sizes = pretended(lambda paths, before: False)
    taken = []

    def counted():
        for source in songs(20):
            taken.append(source)
            yield source

    results = extractor.results(counted())
    first = next(results)
    assert len(taken) == 8
    indices = [first.index, *(result.index for result in results)]
    assert sorted(indices) == list(range(20))
    assert sizes == [[2] * 4, [2] * 4, [1] * 4]


def test_a_cluster_on_which_nothing_works_ends_the_job(pretended):
    extractor, sizes = pretended(lambda paths, before: True)
    with pytest.raises(ClusterError, match="not one of 20 files came back"):
        list(extractor.results(songs(20)))
    assert len(sizes) == 1
    codes = [result.error.code for result in extractor.results(songs(2))]
    assert codes == ["crashed"] * 2  # too few to tell


@pytest.mark.parametrize("text", ["a.mp3", "music", "host", "ray://host", "host:port", "/a:1"])
def test_addresses_that_are_none(text, library, capsys):
    with pytest.raises(SystemExit):
        main(["extract", str(library), "--ray", text])
    assert "A path goes in front of --ray" in capsys.readouterr().err


def test_what_is_refused_before_a_cluster_is_asked_for(library, capsys, monkeypatch):
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    words = ["extract", str(library), "--ray"]
    assert main([*words, "--decoder", "tfio"]) == 2
    assert "allowed are auto, soundfile and av" in capsys.readouterr().err
    assert main([*words, "--batch-size", "0"]) == 2
    assert "batch_size is 0" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(words) == 2
    assert "pip install 'artist-features[ray]'" in capsys.readouterr().err


def test_no_cluster_there(library, tiny_folder, tmp_path, capsys):
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    words = ["extract", str(library), "-o", str(tmp_path / "out"), "--model", str(tiny_folder)]
    assert main([*words, "--ray", "127.0.0.1:9"]) == 2
    assert "no Ray cluster at '127.0.0.1:9'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_job_is_that_of_one_machine(ray, library, tiny_folder, tmp_path, capsys):
    """Every kind of row, every option that makes a row different; and the cluster stays."""
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    words = ["extract", str(library), f"local://{library}/2.flac", str(library / "gone.mp3")]
    words += ["--model", str(tiny_folder), "--per-segment", "--content-hash", "--offset", "0.5"]
    report = tmp_path / "report.json"
    assert main([*words, "-o", str(alone)]) == 1
    handler = signal.getsignal(signal.SIGTERM)
    assert main([*words, "-o", str(spread), "--report", str(report), "--ray"]) == 1
    assert signal.getsignal(signal.SIGTERM) == handler
    assert ray.is_initialized()
    mine, theirs = rows(spread), rows(alone)
    assert mine.keys() == theirs.keys()
    assert {row["status"] for row in mine.values()} >= {"ok", "short", "not_found"}
    for key, row in theirs.items():
        vectors = mine[key].pop("embedding"), row.pop("embedding")
        assert mine[key] == row
        if vectors[1] is not None:
            np.testing.assert_allclose(*vectors, atol=1e-6)
    said = capsys.readouterr().err
    assert "up to 1 actor" in said
    assert f"{N_SONGS + 2} embedded, 2 failed" in said
    assert main([*words, "-o", str(spread), "--ray"]) == 1
    assert f"{N_SONGS + 4} already there (2 of them failed)" in capsys.readouterr().err


def killer(flag, name, error=None):
    """Return an actor that dies at a file: always without a flag, once with one."""

    class Killer(cluster_worker.EmbeddingActor):  # inside a function: Ray sends it as it is
        def __call__(self, table):
            if any(f"{name}.flac" in record for record in table["record"].to_pylist()):
                if error is not None:
                    raise error
                if flag is None or not flag.exists():
                    if flag is not None:
                        flag.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(table)

    return Killer


@pytest.mark.nightly
def test_an_actor_that_is_killed_costs_nothing(
    ray, sources, tiny_folder, tmp_path, expected, monkeypatch
):
    monkeypatch.setattr(cluster, "EmbeddingActor", killer(tmp_path / "killed", "4"))
    found = by_name(cluster.ClusterExtractor(tiny_folder, n_workers=1).results(iter(sources)))
    assert (tmp_path / "killed").exists()
    assert_same(found, expected)


@pytest.mark.nightly
def test_a_file_that_kills_its_actor_costs_itself(ray, sources, tiny_folder, expected, monkeypatch):
    monkeypatch.setattr(cluster, "EmbeddingActor", killer(None, "4"))
    monkeypatch.setattr(cluster, "WINDOW", 9)  # two windows, of which the second is clean
    extractor = cluster.ClusterExtractor(tiny_folder, n_workers=2)
    found = by_name(extractor.results(iter(sources), n_sources=len(sources)))
    assert_same(found, expected, but=["4.flac"])
    assert found["4.flac"].error.code == "crashed"
    assert found["4.flac"].error.path.endswith("4.flac")
    assert "three times" in str(found["4.flac"].error)


@pytest.mark.nightly
def test_actors_that_never_work_end_the_job(ray, sources, tiny_folder, monkeypatch):
    extractor = cluster.ClusterExtractor(tiny_folder)
    monkeypatch.setattr(cluster, "EmbeddingActor", killer(None, "", ValueError("always")))
    with pytest.raises(ClusterError, match=f"not one of {N_SONGS + 2} files came back"):
        list(extractor.results(sources))
    monkeypatch.undo()
    monkeypatch.setattr(cluster, "VERSION", "0.0.1")
    with pytest.raises(ClusterError, match="install the same version on all nodes"):
        list(extractor.results(sources))


def start(library, model, out):
    words = [sys.executable, "-m", "artist_features.cli.main", "extract", library, "-o", out]
    return subprocess.Popen(
        [str(word) for word in [*words, "--model", model, "--workers", "1", "--ray"]],
        text=True,
        start_new_session=True,
        stderr=subprocess.PIPE,
    )


@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_job_that_was_ended_goes_on(number, library, tiny_folder, tmp_path, expected):
    """A cluster of the command's own: it ends with the job, in order or not."""
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    out = tmp_path / "out"
    process = start(library, tiny_folder, out)
    deadline = time.monotonic() + 1600
    while not (out / ".journal").exists() or not (out / ".journal").stat().st_size:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=240)
    assert process.returncode in (-number, 128 + number), said
    assert "Traceback" not in said
    n_kept = len(rows(out))
    process = start(library, tiny_folder, out)
    _, said = process.communicate(timeout=1600)
    assert process.returncode == 1, said
    if number != signal.SIGKILL:
        assert 0 < n_kept < N_SONGS + 2
        assert f"{n_kept} already there" in said
    found = {os.path.basename(path): row for (path, _), row in rows(out).items()}
    assert set(found) == set(expected)
    for name, row in found.items():
        assert row["status"] == expected[name].status
        if row["embedding"] is not None:
            np.testing.assert_allclose(row["embedding"], expected[name].embedding, atol=1e-6)


@pytest.mark.nightly
def test_uris_of_a_server_are_read_by_the_actors(ray, library, tiny_folder, expected):
    import functools
    import http.server
    import threading

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(library))
    handler.log_message = None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        uris = [f"{root}/3.flac", f"{root}/gone.mp3", f"{root}/bad.mp3"]
        extractor = cluster.ClusterExtractor(tiny_folder)
        found = by_name(extractor.results(Source(uri) for uri in uris))
        server.shutdown()
    np.testing.assert_allclose(found["3.flac"].embedding, expected["3.flac"].embedding, atol=1e-6)
    assert {name: result.status for name, result in found.items() if result.error} == {
        "gone.mp3": "not_found",
        "bad.mp3": expected["bad.mp3"].status,
    }
    assert isinstance(found["gone.mp3"].error, AudioError)
    assert found["gone.mp3"].error.path == f"{root}/gone.mp3"
