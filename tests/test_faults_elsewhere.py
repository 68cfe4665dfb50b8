"""Faults that users reported of other packages, and that this one had."""

import csv
import json
import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import processes
import pytest
import soundfile
from conftest import music, read_audio, write_audio
from fault_bytes import encode, encode_av, id3_tag, xing

import artist_features as af
from artist_features import AudioError
from artist_features.audio.decoders import Span
from artist_features.cli.main import main
from artist_features.search import Index
from artist_features.search.embedding_tables import read_embeddings
from artist_features.search.lookup import find_query

NO_CACHE = """
import numba.core.caching as caching
for kind in vars(caching).values():
    if isinstance(kind, type) and hasattr(kind, "_locator_classes"):
        kind._locator_classes = []  # as where neither the installation nor the home is writable
"""


def test_dates_that_tables_cannot_hold_are_clamped(tiny_folder, tmp_path):
    (tmp_path / "music").mkdir()
    for year in (1902, 2300, 2400):
        path = write_audio(tmp_path / "music" / f"{year}.wav", music(4, 22050, 1), 22050)
        seconds = (year - 1970) * 31556952
        os.utime(path, (seconds, seconds))
        if os.stat(path).st_mtime != seconds:
            pytest.skip("this file system has no such date")
    for out in ("o.npz", "o.parquet", "folder"):
        words = ["extract", str(tmp_path / "music"), "-o", str(tmp_path / out)]
        assert main([*words, "--model", str(tiny_folder)]) == 0
        assert main([*words, "--model", str(tiny_folder)]) == 0  # reads its own table
    with np.load(tmp_path / "o.npz") as table:
        assert table["status"].tolist() == ["ok"] * 3


@pytest.mark.slow
def test_without_a_home_or_a_cache_it_works_and_says_nothing(tiny_folder, tmp_path):
    """Neither of numba's cache, nor of Matplotlib's, nor what TensorFlow says by itself."""
    path = write_audio(tmp_path / "a.wav", music(4, 22050, 1), 22050)
    code = NO_CACHE + (
        "import artist_features, sys\n"
        "print(artist_features.extract(sys.argv[1], model=sys.argv[2]).shape)\n"
        "import numba; assert not numba.config.DISABLE_JIT\n"
    )
    env = {n: v for n, v in os.environ.items() if n not in ("MPLCONFIGDIR", "TF_CPP_MIN_LOG_LEVEL")}
    done = processes.run(code, path, tiny_folder, env=env | {"HOME": "/dev/null/no"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "(8,)\n", "")


LOOP = """
import gc, os, sys
import numpy as np
import artist_features as af
from artist_features.extraction.decode import Source
path, model = sys.argv[1:]
extractor = af.Extractor(model)
samples = np.random.default_rng(0).uniform(-0.1, 0.1, 22050 * 4).astype("float32")

def error():
    try:
        af.extract(path + ".no", model=model)
    except af.AudioError:
        pass

def given_up():
    for _ in extractor.results([Source(path) for _ in range(3)], n_sources=3):
        break

def state():
    gc.collect()
    with open("/proc/self/statm") as file:
        memory = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return memory, len(os.listdir("/proc/self/fd"))

for name, n, call in (
    ("file", 40, lambda: af.extract(path, model=model)),
    ("array", 40, lambda: af.extract(samples, sample_rate=22050, model=model)),
    ("list", 12, lambda: extractor.extract([path] * 8)),
    ("segments", 40, lambda: extractor.extract(path, pool=None)),
    ("error", 40, error),
    ("given up", 40, given_up),
):
    for number in range(n):
        call()
        if number == n // 2:
            before = state()
    print(name, *(b - a for a, b in zip(before, state())), sep=",")
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux' /proc")
def test_a_loop_of_calls_keeps_neither_memory_nor_descriptors(tiny_folder, tmp_path):
    path = write_audio(tmp_path / "a.wav", music(8, 22050, 1), 22050)
    done = processes.run(LOOP, path, tiny_folder)
    assert done.returncode == 0, done.stderr
    kept = {name: (float(mb), int(n)) for name, mb, n in csv.reader(done.stdout.splitlines())}
    assert len(kept) == 6
    # from_generator kept 0.7 MB a call of this length: 13 MB, for the list 28 MB
    assert all(megabytes < 10 and descriptors <= 0 for megabytes, descriptors in kept.values()), (
        kept
    )


SETTINGS = """
import json, os, sys
folder, model = sys.argv[1:]
with open(os.path.join(folder, "keras.json"), "w") as file:
    json.dump({"image_data_format": "channels_first", "floatx": "float64"}, file)
os.environ["KERAS_HOME"] = folder
os.environ.pop("KERAS_BACKEND", None)
import numpy as np
import artist_features as af
import keras
from artist_features.extraction import extractor
wave = np.sin(np.arange(22050 * 4) / 9).astype("float32") / 2
rows = []
for image, floatx, policy in (
    ("channels_first", "float64", None),  # by the file
    ("channels_last", "float16", "float16"),
    ("channels_last", "float32", "mixed_float16"),
):
    if policy:
        keras.config.set_image_data_format(image)
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
    assert keras.config.image_data_format() == image, image
    assert keras.config.floatx() == floatx, floatx
    extractor._BUILT.clear()
    rows.append(af.extract(wave, sample_rate=22050, model=model))
    assert rows[-1].dtype == np.float32
    backbone = af.models.backbone()
    assert backbone.count_params() == 265984 and backbone.output_shape == (None, 256)
    assert keras.config.dtype_policy().name == (policy or "float64")
loaded = af.load_model(model)
assert loaded.get_layer("block1_conv").compute_dtype == "float16"
assert loaded.get_layer("stft").compute_dtype == "float32"
assert keras.config.dtype_policy().name == "mixed_float16"
np.save(os.path.join(folder, "rows.npy"), rows)
"""


@pytest.mark.slow
def test_settings_of_the_users_keras_change_no_vector(tiny_folder, tmp_path):
    wave = np.sin(np.arange(22050 * 4) / 9).astype("float32") / 2
    expected = af.extract(wave, sample_rate=22050, model=tiny_folder)
    done = processes.run(SETTINGS, tmp_path, tiny_folder)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "rows.npy"), [expected] * 3, atol=1e-5)


@pytest.mark.parametrize("by", ["variable", "file"])
def test_another_backend_is_named_at_once(by, tmp_path):
    env = {**os.environ, "KERAS_HOME": str(tmp_path)}
    env.pop("KERAS_BACKEND", None)
    if by == "file":
        (tmp_path / "keras.json").write_text('{"backend": "jax"}')
        named = "keras.json says backend 'jax'"
    else:
        env["KERAS_BACKEND"] = "torch"
        named = "the variable KERAS_BACKEND says backend 'torch'"
    write_audio(tmp_path / "a.wav", music(4, 22050, 1), 22050)
    words = ("extract", "a.wav", "--runtime", "tensorflow")
    done = processes.run(processes.COMMAND, *words, env=env, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Set KERAS_BACKEND=tensorflow" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "before",
    [
        "af.extract(wave, 22050, model=sys.argv[1])",
        "af.models.backbone()(np.zeros((1, 66560, 1), 'float32'))",
        "import tensorflow as tf; tf.reduce_sum(tf.ones(3))",
    ],
    ids=["extract", "network", "tensorflow"],
)
def test_a_forked_child_is_refused(tiny_folder, before):
    code = f"""
import os, sys, numpy as np, artist_features as af
wave = np.zeros(22050 * 4, "float32")
{before}
child = os.fork()
if not child:
    try:
        af.extract(wave, 22050, model=sys.argv[1])
    except RuntimeError as error:
        os.write(1, str(error).encode())
    os._exit(0)
os.waitpid(child, 0)
"""
    done = processes.run(code, tiny_folder)
    assert "was forked from" in done.stdout, done.stderr
    assert "spawn" in done.stdout


@pytest.mark.parametrize("out", ["o.npz", "o.parquet", "folder"])
def test_a_model_that_cannot_be_built_writes_nothing(
    out, tiny_folder, tmp_path, monkeypatch, capsys
):
    from artist_features.zoo import folder

    def broken(card, weights):
        raise MemoryError("no more of it")

    monkeypatch.setattr(folder, "build", broken)
    monkeypatch.setattr("artist_features.extraction.extractor._BUILT", {})
    path = write_audio(tmp_path / "a.wav", music(4, 22050, 1), 22050)
    words = ["extract", str(path), "-o", str(tmp_path / out), "--model", str(tiny_folder)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "cannot be built by this TensorFlow and Keras (MemoryError: no more of it)" in said
    assert "embedded" not in said
    assert not [
        p for p in tmp_path.rglob("*") if p.is_file() and "lock" not in p.name and p != path
    ]


def test_companions_of_desktops_are_passed_over_and_counted(tiny_folder, tmp_path, capsys):
    lib = tmp_path / "lib"
    for name in ("", ".AppleDouble", "@eaDir/a.wav", ".Trash-1000", "$RECYCLE.BIN", "album"):
        (lib / name).mkdir(parents=True, exist_ok=True)
    song = write_audio(tmp_path / "song.wav", music(4, 22050, 1), 22050).read_bytes()
    for name in ("a.wav", "._a.wav", "album/b.wav", ".AppleDouble/a.wav", "@eaDir/a.wav/x.mp3"):
        (lib / name).write_bytes(song)
    for name in (".Trash-1000/c.wav", "$RECYCLE.BIN/d.wav", "Thumbs.db", "c.dsf", "d.DSF", "e.mkv"):
        (lib / name).write_bytes(song)
    words = ["--model", str(tiny_folder), "-o", str(tmp_path / "o.npz")]
    assert main(["extract", str(lib), *words]) == 0
    said = capsys.readouterr().err
    assert "passed over: 2 .dsf, 1 .mkv, 5 companion files and folders of the system" in said
    with np.load(tmp_path / "o.npz") as table:
        names = [os.path.relpath(path, lib) for path in table["path"].tolist()]
    assert names == ["a.wav", "album/b.wav"]
    # named by hand they are read
    words = ["--model", str(tiny_folder), "-o", str(tmp_path / "named.npz")]
    assert main(["extract", str(lib / "._a.wav"), str(lib / ".Trash-1000"), *words]) == 0
    with np.load(tmp_path / "named.npz") as table:
        assert len(table["path"]) == 2


def durations(path):
    """Return (seconds decoded, flaws) of a file."""
    samples, stream = read_audio(path)
    return len(samples) / 22050, [code for code, _ in stream.flaws]


@pytest.mark.parametrize("n_junk", [100_000, 600_000, 3_000_000])
def test_mp3s_joined_with_covers_between_are_read_to_the_end(tmp_path, n_junk):
    first, second = (encode(music(6, seed=seed), "MP3") for seed in (1, 2))
    path = tmp_path / "joined.mp3"
    path.write_bytes(id3_tag(n_junk) + first + id3_tag(n_junk) + second)
    assert durations(path) == (pytest.approx(12, abs=0.3), [])


def test_a_wav_over_4_gib_whose_size_wrapped(tmp_path):
    """Six hours of a file with holes: on the disk are the header, and sound where it ends."""
    path = tmp_path / "long.wav"
    n_samples = (1 << 32) // 4 + 44100 * 10
    size = n_samples * 4
    head = b"RIFF" + ((36 + size) % (1 << 32)).to_bytes(4, "little") + b"WAVEfmt "
    head += bytes.fromhex("10000000 01000200 44ac0000 10b10200 0400 1000")
    head += b"data" + (size % (1 << 32)).to_bytes(4, "little")
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(44 + size)
        file.seek(44 + size % (1 << 32))
        file.write(np.full(44100 * 2, 9000, "<i2").tobytes())
    if os.stat(path).st_blocks * 512 > 1 << 30:
        pytest.skip("this file system keeps no holes")
    span = Span(24346.0, None)  # libsndfile ends after 2^32 bytes, at 24347.9 s
    samples, stream = read_audio(path, 44100, span=span)
    assert len(samples) == pytest.approx(1.9 * 44100, abs=4410)
    assert f"of {44 + size} bytes were not read" in dict(stream.flaws)["truncated"]


def test_a_typo_is_told_before_anything_heavy_is_loaded(tmp_path):
    code = """
import sys, artist_features as af
from artist_features.cli.main import main
for words in (
    *(["extract", name, "-o", "o.npz"] for name in ("no.mp3", "~/no.mp3", "no*.mp3")),
    ["map", "nope.npz", "-o", "o.html"],
    ["train", "siamese", "nope.csv", "-o", "run"],
    ["index", "build", "nope", "-o", "o.index"],
):
    assert main(words) == 2
    if words[0] == "extract":
        try:
            af.extract(words[1])
        except af.AudioError as error:
            assert error.code == "not_found"
    assert not {"tensorflow", "keras", "openTSNE", "sklearn"} & set(sys.modules), words
"""
    done = processes.run(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for hint in ("no such file or folder", "has not replaced '~'", "this pattern"):
        assert hint in done.stderr
    for name in ("nope.npz", "nope.csv", "nope"):
        assert re.search(rf"\b{name}: .*no such file", done.stderr, re.IGNORECASE), done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_of_vectors_may_hold_music_too(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path, out = write_audio(tmp_path / "a.wav", music(4, 22050, 1), 22050), tmp_path / "out"
    words = ["extract", str(path), "-o", str(out), "--model", str(tiny_folder)]
    assert main(words) == 0
    path.rename(out / "a.wav")
    words[1] = str(out)
    assert main(words) == 0


def test_python_runs_the_package():
    words = [sys.executable, "-m", "artist_features", "--version"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout[:2]) == (0, "0.")


@pytest.fixture(scope="module")
def behind_tags():
    """{name: (bytes with something in front, the same without)}."""
    samples = music(8, 22050, 1)[:, 0]
    aac = encode_av(samples, "adts", "aac", 22050)
    halves = [encode_av(part, "adts", "aac", 22050) for part in np.split(samples, 2)]
    found = {"aac": (id3_tag(300) + aac, aac)}
    found["aac of a stream, from the middle of a frame"] = (aac[900:], aac)
    found["aac in pieces, each with a tag"] = (
        b"".join(id3_tag(60) + half for half in halves),
        b"".join(halves),
    )
    for name in ("flac", "wav", "ogg", "mp3", "aiff"):
        data = encode(samples, name.upper(), 22050)
        found[name] = (id3_tag(300) + bytes(5000) + data, data)
        found[f"{name}, two tags"] = (id3_tag(10) + id3_tag(700) + bytes(3) + data, data)
    return found


NAMES = ("flac", "wav", "ogg", "mp3", "aiff")


@pytest.mark.parametrize(
    "name",
    [
        *NAMES,
        *(f"{name}, two tags" for name in NAMES),
        "aac",
        "aac in pieces, each with a tag",
        "aac of a stream, from the middle of a frame",
    ],
)
def test_row_100_tags_in_front_of_any_container(name, behind_tags, tmp_path):
    tagged, plain = behind_tags[name]
    clips = []
    for number, data in enumerate((tagged, plain)):
        path = tmp_path / f"{number}.mp3"
        path.write_bytes(data)
        clips.append(read_audio(path))
    (found, stream), (wanted, _) = clips
    assert stream.container == name.split(",")[0].split()[0]
    assert not stream.flaws
    if "middle" in name:
        assert len(wanted) - 3 * 1024 <= len(found) < len(wanted)
    else:
        np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_row_100_an_mp4_may_begin_with_any_box_or_a_tag(tmp_path):
    """The first bytes of a box are zeros, as padding is; in fragments no position changes."""
    samples = music(4, 22050, 1)[:, 0]
    data = encode_av(samples, "mp4", "aac", 22050)
    size = int.from_bytes(data[:4], "big")
    assert data[4:8] == b"ftyp"
    # in the place of ftyp, so that the offsets in moov stay true
    boxes = (b"free", b"skip", b"wide", b"uuid")
    files = [data[:4] + box + bytes(size - 8) + data[size:] for box in boxes]
    options = {"movflags": "frag_keyframe+empty_moov"}
    data = encode_av(samples, "mp4", "aac", 22050, container_options=options)
    for tag in (b"", id3_tag(300), id3_tag(300) + bytes(5000), id3_tag(20) + id3_tag(30)):
        files.append(tag + data)
    for data in files:
        path = tmp_path / "a.m4a"
        path.write_bytes(data)
        samples, stream = read_audio(path)
        assert stream.container == "mp4"
        assert len(samples) / 22050 == pytest.approx(4, abs=0.2)


@pytest.mark.parametrize(("kind", "codec"), [("mpegts", "aac"), ("ac3", "ac3"), ("eac3", "eac3")])
def test_row_109_streams_of_broadcasts(tmp_path, kind, codec):
    data = encode_av(music(8, 48000, 1)[:, 0], kind, codec, 48000)
    for name, start in (("a.ts", b""), ("b.mp3", id3_tag(300))):
        path = tmp_path / name
        path.write_bytes(start + data)
        samples, stream = read_audio(path)
        assert stream.container == kind
        assert len(samples) / 22050 == pytest.approx(8, abs=0.2)


def test_row_100_damage_is_seen_after_a_tag(behind_tags, tmp_path):
    for name, n_lost in (("wav", 40_000), ("aiff", 40_000), ("ogg", 2000)):
        tagged, _ = behind_tags[name]
        path = tmp_path / name
        path.write_bytes(tagged[:-n_lost])
        assert durations(path)[1] == ["truncated"], name
    data = bytearray(behind_tags["wav"][1])
    place = data.find(b"data") + 4
    data[place : place + 4] = (len(data) // 4).to_bytes(4, "little")
    path.write_bytes(id3_tag(20) + data)  # a stale size behind a tag is mended as in front
    assert durations(path)[0] == 8
    path.write_bytes(b"The free text of a letter. " * 500)
    with pytest.raises(AudioError, match="no known audio format"):
        read_audio(path)
    path.write_bytes(id3_tag(20) + b"MPCK\x96\x0f" + bytes(range(256)) * 40)
    with pytest.raises(AudioError, match=r"no known audio format; the file starts with 'MPCK"):
        read_audio(path)
    started = time.process_time()
    path.write_bytes(id3_tag(0) * 300_000)
    with pytest.raises(AudioError):
        read_audio(path)
    with open(path, "wb") as file:
        file.write(id3_tag(10))
        file.truncate(1 << 30)
    with pytest.raises(AudioError):
        read_audio(path)
    assert time.process_time() - started < 3
    path.write_bytes(id3_tag(20) + bytes(9000))
    with pytest.raises(AudioError, match="an ID3 tag and no audio"):
        read_audio(path)


@pytest.mark.parametrize("out", ["t.npz", "t.parquet", "folder"])
def test_row_102_one_file_has_one_row_whatever_it_is_called(
    tiny_folder, tmp_path, out, monkeypatch
):
    lib = tmp_path / "lib"
    lib.mkdir()
    song = write_audio(lib / "a.wav", music(4, 22050, 1), 22050)
    (tmp_path / "link").symlink_to(lib)
    (lib.parent / "b.wav").symlink_to(song)
    monkeypatch.chdir(tmp_path)
    names = ["lib", "./lib", str(lib), "link", "lib/../lib/a.wav", "b.wav"]
    for words in (names, names[::-1], ["link/a.wav"]):
        assert main(["extract", *words, "-o", out, "--model", str(tiny_folder)]) == 0
    monkeypatch.chdir(tmp_path.parent)  # the table means the same from everywhere
    found = read_embeddings([str(tmp_path / out)])
    assert [track.path for track in found.tracks] == [os.path.realpath(song)]
    index = Index.build(found.vectors, found.tracks, found.made_with)
    for name in ("lib/a.wav", "link/a.wav", "b.wav"):
        assert find_query(index, str(tmp_path / name)).row == 0
    if out == "t.npz":
        with np.load(tmp_path / out) as table:
            assert table["name"].tolist() == ["lib/a.wav"]
            assert {"path", "embedding", "start_s"} <= set(table.files)


def test_row_102_failed_rows_are_named_as_given(tiny_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    assert main(["extract", "bad.wav", "gone.wav", "--model", str(tiny_folder)]) == 1
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["name"] for row in rows} == {"bad.wav", "gone.wav"}
    assert {row["path"] for row in rows} == {os.path.realpath(n) for n in ("bad.wav", "gone.wav")}
    assert "\nbad.wav: empty" in f"\n{err}"


def with_header(data, name, frames):
    """Return a VBR mp3 whose first frame states another number of frames."""
    if name == "Xing":
        return xing(data, frames)
    data = bytearray(data)
    at = max(data[:400].find(b"Xing"), data[:400].find(b"Info"))
    n_bytes = len(data)
    first = data.rfind(b"\xff", 0, at)
    data[at : at + 120] = bytes(120)  # LAME's part goes as well
    place = first + 36  # always 32 bytes after the frame's header
    fields = (b"VBRI", b"\0\1", b"\0\0", b"\0\x4b", n_bytes.to_bytes(4, "big"))
    vbri = b"".join(fields) + frames.to_bytes(4, "big") + bytes(12)
    data[place : place + len(vbri)] = vbri
    return bytes(data)


@pytest.mark.parametrize("name", ["Xing", "VBRI"])
@pytest.mark.parametrize("share", [0, 0.3, 1, 12], ids=lambda share: f"{share} of the frames")
def test_row_103_what_an_mp3_says_of_its_length(name, share, tmp_path):
    """Reported of mp3-duration (#16), Navidrome (#6047) and media3 (#1376): 0 s, or an hour."""
    seconds = 6
    path = tmp_path / "a.mp3"
    with soundfile.SoundFile(
        path, "w", 44100, 1, format="MP3", bitrate_mode="VARIABLE", compression_level=0.4
    ) as file:
        file.write(music(seconds, 44100, 1)[:, 0])
    plain = path.read_bytes()
    n_frames = int(seconds * 44100 / 1152) + 2
    path.write_bytes(with_header(plain, name, int(share * n_frames)))
    samples, stream = read_audio(path, 44100)
    assert len(samples) / 44100 == pytest.approx(seconds, abs=0.15)
    # more frames promised than there are: the end is missing, as far as anyone can know
    assert [code for code, _ in stream.flaws] == (["truncated"] if share > 1 else [])


@pytest.mark.parametrize(("bits", "container"), [(24, 32), (20, 24), (12, 16)])
def test_row_103_fewer_bits_than_their_container(bits, container, tmp_path):
    """Reported of wavefile (#11) and wav (#17): too soft by 2 to the 8, or not read at all."""
    n_bytes = container // 8
    samples = music(4, 22050, 1)[:, 0]
    scaled = (samples * (2 ** (bits - 1) - 1)).astype(np.int64) << (container - bits)
    data = scaled.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :n_bytes].tobytes()
    rate, guid = 22050, bytes.fromhex("0100000000001000800000aa00389b71")
    head = struct.pack(
        "<HHIIHHHHI", 0xFFFE, 1, rate, rate * n_bytes, n_bytes, container, 22, bits, 4
    )
    chunks = b"fmt " + struct.pack("<I", 40) + head + guid
    chunks += b"data" + struct.pack("<I", len(data)) + data
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    found, _ = read_audio(path)
    np.testing.assert_allclose(found, samples, atol=2.0 ** (2 - bits))


@pytest.mark.parametrize("name", ["Artist/Album/a.mp3", "a.dsf"])
def test_a_music_folder_is_no_place_for_vectors(name, tiny_folder, tmp_path, capsys):
    music_file = tmp_path / "music" / name
    music_file.parent.mkdir(parents=True)
    music_file.write_bytes(b"audio")
    path = write_audio(tmp_path / "a.wav", music(4, 22050, 1), 22050)
    words = ["extract", str(path), "-o", str(tmp_path / "music"), "--model", str(tiny_folder)]
    assert main(words) == 2
    assert f"holds audio ({'files .' * (name == 'a.dsf')}" in capsys.readouterr().err
    assert [p for p in (tmp_path / "music").rglob("*") if p.is_file()] == [music_file]


@pytest.mark.parametrize(
    ("name", "lines", "expected"),
    [
        ("@list", "no.mp3\nnor.mp3\n", "no.mp3: no such file or folder. Nothing else that @list"),
        ("@list", "path,artist\na.wav,A\n", "is a table with a header"),
        ("@list", '"file", "artist"\na.wav,A\n', "is a table with a header"),
        ("file:///no/such.wav", "", "no such file or folder"),
        ("htps://x.y/a.mp3", "", "no such scheme"),
        ("a" * 6000, "", "no such file or folder"),
    ],
)
def test_what_names_nothing_leaves_no_table(name, lines, expected, tmp_path, monkeypatch, capsys):
    pytest.importorskip("fsspec")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list").write_text(lines)
    assert main(["extract", name, "-o", "o.npz"]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert len(said) < 400
    assert [path.name for path in tmp_path.iterdir()] == ["list"]


def test_one_file_that_is_there_keeps_the_rows_of_others(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "a.wav", music(4, 22050, 1), 22050)
    (tmp_path / "list").write_text("no.wav\na.wav\n")
    assert main(["extract", "@list", "-o", "o.npz", "--model", str(tiny_folder)]) == 1
    assert list(np.load("o.npz")["status"]) == ["not_found", "ok"]


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan")])
def test_a_missing_value_in_a_list_costs_itself_alone(missing, tiny_folder, tmp_path):
    path = tmp_path / "a.wav"
    write_audio(path, music(4, 22050, 1), 22050)
    alone = af.extract(path, model=tiny_folder)
    with pytest.warns(af.AudioWarning, match="missing value"):
        rows = af.extract([path, missing, path], model=tiny_folder, on_error="nan")
    np.testing.assert_allclose(rows[[0, 2]], [alone, alone], atol=1e-6)
    assert np.isnan(rows[1]).all()
    with pytest.warns(af.AudioWarning, match="missing value"):
        assert len(af.extract([missing, path], model=tiny_folder, on_error="skip")) == 1
    with pytest.raises((TypeError, ValueError), match="recording 0: "):
        af.extract([missing, path], model=tiny_folder)


def test_missing_values_of_pandas_and_columns_of_pyarrow(tiny_folder, tmp_path):
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    path = str(tmp_path / "a.wav")
    write_audio(path, music(4, 22050, 1), 22050)
    for column in (pandas.Series([path, None], dtype="string"), pyarrow.array([path, None])):
        with pytest.warns(af.AudioWarning, match="missing value"):
            assert len(af.extract(column, model=tiny_folder, on_error="skip")) == 1


def test_sample_rate_may_come_second_and_never_first(tiny_folder):
    wave = np.sin(np.arange(44100 * 4) / 9).astype("float32") / 2
    expected = af.extract(wave, sample_rate=44100, model=tiny_folder)
    np.testing.assert_array_equal(af.extract(wave, 44100, model=tiny_folder), expected)
    with pytest.raises(TypeError, match="turn it round"):
        af.extract((44100, wave), model=tiny_folder)


def test_a_file_uri_is_its_path(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_audio(tmp_path / "a.wav", music(4, 22050, 1), 22050)
    names = [f"file://{path}", f"file://localhost{path}", f"FILE://{path}", "file://a.wav", "a.wav"]
    assert main(["extract", *names, "-o", "o.npz", "--model", str(tiny_folder)]) == 0
    assert list(np.load("o.npz")["path"]) == [str(path)]
    assert np.isfinite(af.extract(f"file://localhost{path}", model=tiny_folder)).all()


def test_a_table_behind_a_link_is_written_not_the_link(tiny_folder, tmp_path):
    path = write_audio(tmp_path / "a.wav", music(4, 22050, 1), 22050)
    (tmp_path / "link.npz").symlink_to(tmp_path / "real.npz")
    (tmp_path / "lost.npz").symlink_to(tmp_path / "none" / "real.npz")
    words = ["extract", str(path), "-o", str(tmp_path / "link.npz"), "--model", str(tiny_folder)]
    assert main(words) == 0
    assert (tmp_path / "link.npz").is_symlink()
    assert list(np.load(tmp_path / "real.npz")["path"]) == [str(path)]
    assert main([*words[:3], str(tmp_path / "lost.npz"), *words[4:]]) == 2


def test_16_bit_samples_in_32_bits_are_refused(tiny_folder):
    samples = np.int16(10_000 * music(4, 22050, 1)[:, 0])
    with pytest.raises(AudioError, match="Give them as int16") as error:
        af.extract(samples.astype(np.int32), 22050, model=tiny_folder)
    assert error.value.code == "out_of_range"
    alone = af.extract(samples, 22050, model=tiny_folder)
    shifted = af.extract(np.int32(samples) << 16, 22050, model=tiny_folder)
    np.testing.assert_allclose(shifted, alone, atol=1e-5)
    soft = np.int32(np.int32(samples) // 100 * 256)  # 24 bits, under -96 dB
    assert np.abs(soft).max() < 1 << 15
    assert np.isfinite(af.extract(soft, 22050, model=tiny_folder)).all()
    pair = af.extract((samples, np.array(22050)), model=tiny_folder)
    np.testing.assert_allclose(pair, alone, atol=1e-6)
    with pytest.raises(TypeError, match="turn it round"):
        af.extract([(22050, samples)], model=tiny_folder)
