"""The documentation site: built strictly, complete, and it loads nothing from the network."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import artist_features
from artist_features.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))
try:
    import command_reference
    import draw_figures
finally:
    sys.path.pop(0)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    pytest.importorskip("mkdocs", reason="of the extra [docs]")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def pages(site):
    found = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert len(found) > 12
    return found


# what a browser fetches by itself, unlike a link that somebody clicks
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|audio|video|embed|object)\b[^>]*?\b(?:src|data)=["']?([^"'\s>]+)"""
    r"""|<link\b(?![^>]*\brel=["']?canonical)[^>]*?\bhref=["']?([^"'\s>]+)"""
    r"""|url\(["']?([^"')]+)|@import\s+["']([^"']+)"""
)


def test_nothing_is_loaded_from_the_network(site):
    sources = list(pages(site).items())
    sources += [(path, path.read_text(encoding="utf-8")) for path in site.rglob("*.css")]
    n_loaded = 0
    for path, text in sources:
        for match in LOADED.finditer(text):
            address = next(filter(None, match.groups()))
            n_loaded += 1
            if address.startswith("data:"):
                continue
            assert not re.match(r"(?:\w+:)?//", address), f"{path.name} loads {address}"
            # 404.html may be shown at any address: its own are from the root
            root = site if address.startswith("/") else path.parent
            file = root / re.split(r"[?#]", address)[0].lstrip("/")
            assert file.exists(), f"{path.name} loads {address}, which is not there"
    assert n_loaded > 50
    assert all("mermaid" not in text for text in pages(site).values())  # fetched by the theme


def test_every_public_name_has_an_entry(site):
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in set(artist_features.__all__) - {"models"}:
        assert re.search(rf'id="artist_features\.[\w.]*\b{name}"', text), name
    for module, file in (("metrics", "metrics.py"), ("search", "search/__init__.py")):
        tree = ast.parse((ROOT / "artist_features" / file).read_text())
        (names,) = [
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
        ]
        for name in set(names):
            assert f'id="artist_features.{module}.{name}"' in text, name
    assert "float32" in text
    assert "22,050 Hz" in text


def test_every_command_and_option_is_in_the_reference(site, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")  # no name is cut by the end of a line
    text = (site / "cli.html").read_text(encoding="utf-8")
    n_options = 0
    for parser in command_reference.commands(build_parser()):
        name = parser.prog.removeprefix("artist-features ")
        assert f'id="{name.replace(" ", "-")}"' in text
        section = text.partition(f'id="{name.replace(" ", "-")}"')[2].partition("<h2")[0]
        for option in re.findall(r"(?<!\S)--?[a-z][\w-]*", parser.format_help()):
            if option not in ("-h", "--help"):
                assert f"<code>{option}</code>" in section, f"{name} {option}"
                n_options += 1
    assert n_options > 80


def test_pictures_are_those_of_the_numbers():
    figures = draw_figures.figures()
    assert len(figures) == 2
    for name, text in figures.items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, name
