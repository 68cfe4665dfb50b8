"""The HTML page of a map, self-contained: scripts, styles and data are inside."""

import base64
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files as files_of
from typing import Any

import numpy as np
import numpy.typing as npt

from artist_features.search.ranking import Floats, Rows

# Okabe and Ito, "Color Universal Design", 2008, without its yellow, too pale on white; in
# the order in which groups get them. The rest is grey.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
# the same hues, as light as a dark ground needs
PALETTE_DARK = ("#4a9ee0", "#f2803a", "#21c79a", "#e39cc4", "#f0b73a", "#8fd3f7", "#f4f4f4")
_LABEL_SAMPLE = 500  # members of a group among which the place of its name is sought
_LABEL_RADIUS = 0.1  # of the map's half width
_SIMILARITY_STEPS = 10000  # similarities are stored as int16
# in the order in which they need each other
SCRIPTS = (
    *("data.js", "theme.js", "points.js", "plot.js"),
    *("player.js", "legend.js", "search.js", "panel.js"),
)
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src * file: data: blob:; base-uri 'none'; form-action 'none'"
)


def build_page(
    places: Floats,
    indices: Rows,
    similarities: Floats,
    columns: Mapping[str, Sequence[str]],
    *,
    title: str,
    about: Sequence[str],
    color: str,
) -> str:
    """Return the HTML of a map.

    Args:
        places, indices, similarities, columns, color: see `page_data`.
        title: of the page.
        about: remarks beside the title.
    """
    head = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    return fill_page(
        page_data(places, indices, similarities, columns, color),
        title,
        about,
        head=f"{head}\n<style>\n{read_part('page.css')}\n</style>",
        scripts="\n".join(f"<script>{read_part(name)}</script>" for name in SCRIPTS),
    )


def page_data(
    places: Floats,
    indices: Rows,
    similarities: Floats,
    columns: Mapping[str, Sequence[str]],
    color: str,
) -> dict[str, Any]:
    """Encode the map's data for `data.js`, as a dict for JSON.

    Args:
        places: float32 `(n, 2)` in [-1, 1].
        indices, similarities: `(n, k)`, the neighbours of each track, nearest first.
        columns: lists of n texts: `path`, `title`, `artist`, `group`, `link`, and maybe
            `licence` and `source`. They are data in the page, never markup.
        color: what the groups are, "" for none.
    """
    names, members = _groups(columns["group"])
    return {
        "n": len(places),
        "n_neighbours": indices.shape[1],
        "places": _encode(places, "<f4"),
        "neighbours": _encode(indices, "<u4"),
        "similarities": _encode(np.rint(similarities * _SIMILARITY_STEPS), "<i2"),
        "similarity_steps": _SIMILARITY_STEPS,
        "groups": names,
        "group_of": _encode(members, "<u4"),
        "label_at": [
            _label_place(places, np.flatnonzero(members == group))
            for group in range(min(len(PALETTE), len(names)))
        ],
        "palette": PALETTE,
        "palette_dark": PALETTE_DARK,
        "color": color,
        **{name: _pack(texts) for name, texts in columns.items() if name != "group"},
    }


def fill_page(
    data: Mapping[str, Any],
    title: str,
    about: Sequence[str],
    *,
    head: str,
    scripts: str,
    files: str = "",
    licences: str = "",
) -> str:
    """Return page.html with its gaps filled: markup of ours, and texts, which are escaped.

    Args:
        data: from `page_data`.
        title, about: see `build_page`.
        head, scripts, files, licences: markup: policy and styles, scripts, a section above
            the search, licences of what travels with the page.
    """
    # inside <script> only `<` can end it; ASCII keeps every other character harmless
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "HEAD": head,
        "TITLE": escape(title),
        "ABOUT": escape(" · ".join(about)),
        "FILES": files,
        "LICENCES": licences,
        "DATA": text,
        "SCRIPTS": scripts,
    }
    page = read_part("page.html").split("@@")  # text, name, text, name, ...
    page[1::2] = [parts[name] for name in page[1::2]]
    return "".join(page)


def read_part(name: str) -> str:
    """Return the text of a file of page_files/."""
    return (files_of(__package__) / "page_files" / name).read_text(encoding="utf-8")


def _groups(values: Sequence[str]) -> tuple[list[str], npt.NDArray[np.uint32]]:
    """Return (names, uint32 `(n,)`): groups by size, then name; members without one last."""
    counts = Counter(value for value in values if value)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    number = {name: place for place, name in enumerate(names)}
    return names, np.array([number.get(value, len(names)) for value in values], np.uint32)


def _label_place(places: Floats, members: Rows) -> int:
    """Return the member with the most others around it, where the group's name is written."""
    sample = members[:: max(1, len(members) // _LABEL_SAMPLE)]
    gaps = np.linalg.norm(places[sample][:, None] - places[sample][None], axis=2)
    return int(sample[(gaps < _LABEL_RADIUS).sum(axis=1).argmax()])


def _encode(array: npt.ArrayLike, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode()


def _pack(texts: Sequence[str]) -> dict[str, Any]:
    """Split off the prefix that all texts share, to make paths shorter."""
    start = os.path.commonprefix(list(texts))  # noqa: RUF071 - by characters is what is intended
    return {"start": start, "ends": [text[len(start) :] for text in texts]}
