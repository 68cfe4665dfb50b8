"""`artist-features map`: what is joined, what is refused, and that the page is harmless."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from map_data import clusters, write_embeddings

from artist_features.cli.main import main
from artist_features.maps import map as maps
from artist_features.maps.page import PALETTE, PALETTE_DARK, build_page
from artist_features.search import IndexedTrack
from artist_features.search.embedding_tables import join_manifest

HOSTILE = [
    "</script><script>document.title='gone'</script>",
    "\"quotes\" & 'more' <b>bold</b>",
    "\U0001f3b8 \u05e9\u05d9\u05e8 \u202e\u0647\u0630\u0627",
    "<!-- <script> \u2028 @@DATA@@",
    "\\u003c ${alert(1)} `",
]


def page_data(page):
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1]
    return json.loads(text)


@pytest.fixture
def library(tmp_path):
    """Twelve files of which ten are in a manifest and one failed."""
    paths = [tmp_path / f"{number}.mp3" for number in range(12)]
    vectors = [*clusters(11), None]
    write_embeddings(tmp_path / "e.npz", paths, vectors)
    lines = ["file,artist,title,genre"]
    for number in range(10):
        title = HOSTILE[number].replace('"', '""') if number < 5 else f"song {number}"
        artist = "abb-"[number % 4].replace("-", "")
        lines.append(f'{number}.mp3,{artist},"{title}",{"rock" if number % 2 else ""}')
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def draw(library, *arguments, out="map.html"):
    return main(["map", str(library / "e.npz"), "-o", str(library / out), *map(str, arguments)])


def test_command_writes_a_page_and_says_what_is_missing(library, capsys):
    assert draw(library, "--manifest", library / "m.csv") == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "1 of 11 tracks are not in" in stderr
    assert "1 recording without an embedding is left out" in stderr
    page = (library / "map.html").read_text()
    data = page_data(page)
    assert (data["n"], data["n_neighbours"], data["color"]) == (11, 10, "artist")
    assert data["groups"] == ["b", "a"]  # the larger one first
    assert data["title"]["ends"][10] == "10"  # not in the manifest: the file's name
    assert [data["title"]["start"] + t for t in data["title"]["ends"]][:3] == [
        HOSTILE[0],
        HOSTILE[1],
        " ".join(HOSTILE[2].split()),
    ]
    assert "11 tracks by sound" in page
    assert "model toy" in page


def test_page_refers_to_nothing_else_and_titles_are_no_markup(library):
    draw(library, "--manifest", library / "m.csv")
    page = (library / "map.html").read_text()
    markup = re.sub(r"(?s)(<script[^>]*>|<style>).*?(</script>|</style>)", r"\1\2", page)
    assert not re.search(r"\b(src|href|srcset|action|data)\s*=", markup)
    styles = re.search(r"(?s)<style>(.*?)</style>", page)[1]
    assert not re.search(r"url\(|@import|https?:", styles)
    assert len(re.findall("<script", page)) == len(re.findall("</script>", page)) == 9
    assert "@@" not in page.replace("@@DATA@@", "", 1)
    assert "default-src 'none'" in page
    assert "document.title='gone'</script>" not in page


def test_the_same_seed_writes_the_same_page(library):
    draw(library, out="a.html")
    draw(library, out="b.html")
    assert (library / "a.html").read_bytes() == (library / "b.html").read_bytes()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_tracks(tmp_path, n, capsys):
    write_embeddings(tmp_path / "e.npz", [f"{i}.mp3" for i in range(n)], list(clusters(n)))
    assert draw(tmp_path) == 0
    assert "no groups to colour by" in capsys.readouterr().err
    data = page_data((tmp_path / "map.html").read_text())
    assert (data["n"], data["n_neighbours"]) == (n, n - 1)


def test_no_track_at_all(tmp_path, capsys):
    write_embeddings(tmp_path / "e.npz", ["a", "b"], [None, clusters(1)[0]])
    assert draw(tmp_path) == 0
    from artist_features.library import tables

    rows, made_with = tables.from_npz(tmp_path / "e.npz")
    (tmp_path / "e.npz").write_bytes(tables.to_npz(rows[:1], 8, made_with))
    assert draw(tmp_path, "--force") == 2
    assert "no vectors in it (1 recording failed)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--color", "genre"], "--color genre needs --manifest"),
        (["--manifest", "M", "--color", "mood"], "column 'mood' is missing; --color can be artist"),
        (["--audio-base", "javascript:alert(1)"], "allowed are http:, https: and file:"),
        (["--seed", "-1"], "--seed -1; allowed is 0 or more"),
        (["-o", "map.txt"], "ending '.txt'; allowed is .html"),
        (["-o", "no/such/map.html"], "its folder does not exist"),
        (["-o", "m.html"], "exists; --force replaces"),
    ],
)
def test_wrong_usage(library, monkeypatch, capsys, arguments, text):
    monkeypatch.chdir(library)
    (library / "m.html").write_text("mine")
    arguments = ["m.csv" if argument == "M" else argument for argument in arguments]
    assert draw(library, *arguments) == 2
    assert text in capsys.readouterr().err
    assert (library / "m.html").read_text() == "mine"
    assert not (library / "map.html").exists()


def test_without_opentsne_it_says_so(library, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    assert draw(library) == 2
    assert "pip install 'artist-features[map]'" in capsys.readouterr().err


def test_titles_and_groups_from_columns_and_folders(library):
    paths = [str(library / f"{number}.mp3") for number in range(11)]
    tracks, _ = join_manifest([IndexedTrack(path) for path in paths], library / "m.csv")
    assert maps.colour_groups(tracks, "genre") == ["", "rock"] * 5 + [""]
    assert maps.colour_groups(tracks, None) == [""] * 11
    assert maps.titles(tracks)[9:] == ["song 9", "10"]
    tracks = [IndexedTrack("/music/ann/1.mp3"), IndexedTrack("s3://b/bob/2.mp3")]
    assert maps.colour_groups(tracks, "folder") == ["ann", "bob"]
    assert maps.titles(tracks) == ["1", "2"]


def test_links_lead_to_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = ["a/1 #?.mp3", "a/b/\udcff.mp3", "https://host/2.mp3", "s3://bucket/3.mp3"]
    web = ["https://host/2.mp3", ""]
    found = maps.audio_links(paths, "maps/m.html", None, "/")
    assert found == ["../a/1%20%23%3F.mp3", "../a/b/%FF.mp3", *web]
    # the base stands for a folder, such as the deepest that holds all
    folder = maps.common_folder(paths)
    assert folder == str(tmp_path / "a")
    found = maps.audio_links(paths, "m.html", "http://host/music/", folder)
    assert found == ["http://host/music/1%20%23%3F.mp3", "http://host/music/b/%FF.mp3", *web]
    found = maps.audio_links(paths[:1], "m.html", "file:///music", str(tmp_path))
    assert found == ["file:///music/a/1%20%23%3F.mp3"]


def test_more_groups_than_colours_are_grey():
    n = len(PALETTE) + 2
    names = [str(number) for number in range(n)]
    columns = dict.fromkeys(("path", "title", "artist", "group", "link"), names)
    none, places = np.zeros((n, 0)), np.zeros((n, 2), np.float32)
    page = build_page(places, none, none, columns, title="<t>", about=[], color="genre")
    data = page_data(page)
    assert len(data["groups"]) == n
    assert data["palette"] == list(PALETTE)
    assert data["palette_dark"] == list(PALETTE_DARK)
    assert len(data["label_at"]) == len(PALETTE)
    assert "<title>&lt;t&gt;</title>" in page


def test_write_map_from_python(library):
    out = library / "map.html"
    assert maps.write_map(library / "e.npz", out, color="folder", title="Mine & <yours>") == 1
    assert page_data(out.read_text())["groups"] == [library.name]
    assert "<title>Mine &amp; &lt;yours&gt;</title>" in out.read_text()


def test_help_and_drawing_load_no_tensorflow(library):
    code = (
        "import sys; from artist_features.cli.main import main; main(sys.argv[1:]);"
        "print('tensorflow' in sys.modules)"
    )
    arguments = ["map", library / "e.npz", "-o", library / "map.html"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr
