"""`duplicates` as a user runs it on made copies, and its two steps: candidates and fingerprints."""

import csv
import json
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from conftest import music, write_audio

from artist_features.audio import fingerprint as fingerprints
from artist_features.audio.fingerprint import FRAMES_PER_S, SAMPLE_RATE, bit_agreement, fingerprint
from artist_features.cli.main import main
from artist_features.library.tables import Row, to_npz
from artist_features.search import duplicates, ranking
from artist_features.search.duplicates import candidate_pairs

RATE, LAGS = 44100, np.arange(-400, 401)
# name -> (gain, seconds cut at the start, at the end)
COPIES = {
    "a/best.flac": (0.5, 0, 0),
    "a/copy.mp3": (0.5, 0, 0),
    "a/copy.ogg": (0.5, 0, 0),
    "a/quiet.flac": (0.1, 0.2, 0),
    "a/loud.wav": (1.6, 0.3, 0),
    "a/late.mp3": (0.5, 3.21, 0),
    "cut/short.flac": (0.5, 0, 4),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Copies of one track, one that is 4 s shorter, others, silence twice; one file is gone."""
    folder = tmp_path_factory.mktemp("copies")
    (folder / "a").mkdir()
    (folder / "cut").mkdir()
    rng, rows = np.random.default_rng(0), []

    def add(name, wave):
        path = folder / name
        write_audio(path, np.clip(wave, -1, 1), RATE)
        row = Row(
            str(path), rng.standard_normal(8), 1, len(wave) / RATE, RATE, "soundfile", "ok", ""
        )
        rows.append(row)
        return path

    track = music(12, RATE, 1, seed=1)
    for name, (gain, start_s, end_s) in COPIES.items():
        part = track[round(start_s * RATE) : len(track) - round(end_s * RATE)]
        add(name, gain * part)
    for seed in (2, 3):
        add(f"other{seed}.flac", music(12, RATE, 1, seed=seed))
        add(f"silent{seed}.flac", np.zeros((12 * RATE, 1), np.float32))
    add("gone.flac", track).unlink()
    rows.append(Row(str(folder / "bad.flac"), None, 0, 0.0, 0, "", "damaged", "no music"))
    made_with = json.dumps({"model": "none", "weights_sha256": "0" * 64})
    (folder / "e.npz").write_bytes(to_npz(rows, 8, made_with))
    return folder


def test_command_in_a_process_of_its_own_without_tensorflow(library):
    code = "import sys; from artist_features.cli.main import main; code = main(sys.argv[1:]);"
    code += "assert 'tensorflow' not in sys.modules; sys.exit(code)"
    before = sorted(os.walk(library))
    done = subprocess.run(
        [sys.executable, "-c", code, "duplicates", str(library / "e.npz"), "--json"],
        **{"capture_output": True, "text": True, "timeout": 120},
    )
    assert done.returncode == 1, done.stderr  # one is gone
    assert "gone.flac: no such file" in done.stderr
    assert "left out: 1 recording that failed" in done.stderr
    record = json.loads(done.stdout)
    assert [os.path.basename(e["path"]) for e in record["unreadable"]] == ["gone.flac"]
    (group,) = record["groups"]
    found = {os.path.relpath(copy["path"], library): copy for copy in group}
    assert set(found) == {name for name in COPIES if name != "cut/short.flac"}
    assert [copy["container"] for copy in group] == ["wav", "flac", "flac", "ogg", "mp3", "mp3"]
    late, best = found["a/late.mp3"], group[0]
    assert best["similarity"] == 1
    assert min(copy["similarity"] for copy in group) > 0.78
    assert late["starts_later_s"] - found["a/copy.mp3"]["starts_later_s"] == pytest.approx(
        3.21, abs=0.08
    )
    length_s = late["length_difference_s"] - found["a/copy.mp3"]["length_difference_s"]
    assert length_s == pytest.approx(-3.21, abs=0.05)
    assert sorted(os.walk(library)) == before


def test_within_and_table(library, tmp_path, capsys):
    table = ["duplicates", str(library / "e.npz")]
    out = tmp_path / "out.csv"
    assert main([*table, "--within", "5", "--csv", str(out)]) == 1
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert {os.path.relpath(row["path"], library) for row in rows} == set(COPIES)
    assert main([*table, "--csv", str(out)]) == 2
    assert main([*table, "--within", "-1"]) == 2
    assert "within is -1 s; allowed is 0 s or more" in capsys.readouterr().err
    assert main(table) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(COPIES) - 1
    assert all(line.startswith("1\t") and len(line.split("\t")) == 6 for line in lines)


def test_agreement():
    wave = music(9, SAMPLE_RATE, 1, seed=4)[:, 0]
    whole, late = fingerprint(wave), fingerprint(0.2 * wave[2 * SAMPLE_RATE + 50 :])
    assert bit_agreement(whole, whole, LAGS) == (pytest.approx(1), 0)
    agreed, lag = bit_agreement(whole, late, LAGS)
    assert agreed > 0.9
    assert lag / FRAMES_PER_S == pytest.approx(2, abs=0.05)
    assert bit_agreement(late, whole, LAGS) == (pytest.approx(agreed), -lag)
    assert bit_agreement(whole, late, np.arange(10))[0] < 0.5
    other = fingerprint(music(9, SAMPLE_RATE, 1, seed=5)[:, 0])
    assert bit_agreement(whole, other, LAGS)[0] < 0.5
    for nothing in (np.zeros(len(wave), np.float32), wave[:2000], wave[:0]):
        packed = fingerprint(nothing)
        assert bit_agreement(packed, packed, LAGS)[0] == bit_agreement(whole, packed, LAGS)[0] == 0
    assert fingerprint(wave).shape[1] == 2 * fingerprints._N_BITS // 8


def test_the_end_of_a_fade_out_is_like_no_other():
    """A few bits, from its last audible moment, agree by chance."""
    ends = [np.zeros((n_frames, 4), np.uint8) for n_frames in (131, 88)]
    for end in ends:
        end[:2, 2:] = 255  # 32 bits count
    assert bit_agreement(*ends, LAGS)[0] == 0


def whitened(vectors):
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    centred = units - units.mean(0)
    variances, axes = np.linalg.eigh(np.cov(centred.T, bias=True))
    ridge = max(0.01, 3 / len(vectors))
    white = centred @ (axes / np.sqrt(variances + ridge * variances[-1]))
    return white / np.linalg.norm(white, axis=1, keepdims=True)


@pytest.mark.parametrize("n", [2, 300, 1100])
def test_candidates_are_the_most_similar_of_like_length(n, monkeypatch):
    monkeypatch.setattr(duplicates, "_BLOCK_QUERIES", 64)
    monkeypatch.setattr(duplicates, "_BLOCK_ROWS", 100)
    rng = np.random.default_rng(n)
    vectors = np.maximum(rng.standard_normal((n, 6)) @ rng.standard_normal((6, 6)), 0) + 0.1
    lengths_s = rng.uniform(0, 60, n)
    blocks = list(candidate_pairs(vectors.astype(np.float32), lengths_s, 60.0 if n == 2 else 5.0))
    assert sorted(np.concatenate([rows for rows, _ in blocks])) == list(range(n))
    cosines = whitened(vectors) @ whitened(vectors).T
    found = {}
    for rows, pairs in blocks:
        for a, b in pairs:
            assert a in rows
            found.setdefault(a, []).append(b)
    least = duplicates.LEAST_COSINE if n >= 1000 else -2
    for row in range(n):
        later = (lengths_s > lengths_s[row]) & (lengths_s <= lengths_s[row] + (60 if n == 2 else 5))
        likely = np.sort(cosines[row][later & (cosines[row] > least)])[::-1]
        expected = likely[: duplicates.N_CANDIDATES]
        mine = np.sort(cosines[row][found.get(row, [])])[::-1]
        np.testing.assert_allclose(mine, expected, atol=1e-4)


def test_candidates_take_little_memory(monkeypatch):
    monkeypatch.setattr(duplicates, "_BLOCK_QUERIES", 64)
    monkeypatch.setattr(duplicates, "_BLOCK_ROWS", 128)
    monkeypatch.setattr(ranking, "_BLOCK_WHITENED", 128)
    vectors = np.random.default_rng(0).standard_normal((3000, 128), np.float32)
    tracemalloc.start()
    for _ in candidate_pairs(vectors, np.zeros(len(vectors)), 1.0):
        if tracemalloc.get_traced_memory()[1] > vectors.nbytes:
            break
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < vectors.nbytes, "a copy of the vectors, or similarities to all of them"


def test_the_best_copy_is_lossless_then_of_the_highest_bitrate():
    audio = [
        duplicates._Audio(kind, np.empty((0, 4), np.uint8), 100.0, kind, kbps * 12500)
        for kind, kbps in [("mp3", 320), ("ogg", 400), ("unknown", 100), ("wavpack", 90)]
    ]
    ranked = [one.path for one in sorted(audio, key=lambda one: one.rank)]
    assert ranked == ["wavpack", "ogg", "mp3", "unknown"]


@pytest.mark.parametrize(
    ("further", "groups"),
    [
        ({}, [[1, 0], [2, 3]]),
        ({(1, 2): 0.59}, [[1, 0], [2, 3]]),
        ({(1, 2): 0.61}, [[1, 0, 2, 3]]),  # 3 has no other group
        ({(1, 2): 0.61, (1, 3): 0.7}, [[1, 0, 2, 3]]),
    ],
)
def test_copies_of_copies_are_of_a_group_where_they_agree_with_its_best(further, groups):
    audio = {
        row: duplicates._Audio(f"{row}.mp3", np.empty((0, 4), np.uint8), 100.0, "mp3", kbps * 12500)
        for row, kbps in enumerate((128, 320, 96, 64))
    }

    copies = {0: {1, 2}, 1: {0}, 2: {0, 3}, 3: {2}}

    def agreed(pair):
        return 0.9 if pair[1] in copies[pair[0]] else further.get(pair, 0.0)

    assert list(duplicates._groups(copies, audio, agreed)) == groups
