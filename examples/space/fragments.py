"""Results as HTML. Every text that comes from a tag, a name or an error passes `shown`.

Fragments are one line each: they go through Gradio's Markdown, which takes a line that
starts with a tag as it is (its HTML component would need `eval`).
"""

import unicodedata
from html import escape

COLOURS = ("#0072b2", "#d55e00", "#009e73")  # Okabe and Ito, 2008; with white text on them
GREY = "#a3a8ae"
_LONGEST, _LONGEST_NOTICE = 160, 1000  # characters of one text; a notice names paths
_MOST_POINTS = 5000  # on the map; of more tracks, an even sample
_SIZE = 640.0  # of the map
_DOT, _NEAR = 4.0, 13.0  # radius


def shown(text, longest=_LONGEST):
    """Return text as HTML that shows it and does nothing else.

    Control characters, those that turn the direction of writing among them, are left out.

    Example:
        >>> shown("<script>\\u202egnp.exe")
        '&lt;script&gt;gnp.exe'
    """
    text = " ".join(str(text).split())
    kept = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))
    return escape(kept if len(kept) <= longest else f"{kept[: longest - 1]}…")


def notice(text):
    """Return a remark that stands out."""
    return f'<div class="notice" role="status">{shown(text, _LONGEST_NOTICE)}</div>' if text else ""


def tracks(matches, preview_of):
    """Return the nearest tracks as a list with players.

    Args:
        matches: list of `Match`.
        preview_of: function of a row: name of its preview, or None.
    """
    rows = [_track(number, match, preview_of) for number, match in enumerate(matches, 1)]
    return f'<ol class="tracks">{"".join(rows)}</ol>'


def artists(matches):
    """Return the most likely artists; the first have the colours that the map gives them."""
    rows = []
    for number, match in enumerate(matches):
        colour = COLOURS[number] if number < len(COLOURS) else GREY
        width = 100 * max(match.similarity, 0)
        n_tracks = f"{match.n_tracks} track{'' if match.n_tracks == 1 else 's'}"
        rows.append(
            f'<li><span class="swatch" style="background:{colour}"></span>'
            f"<bdi>{shown(match.artist)}</bdi> <small>{n_tracks}</small>"
            f'<span class="bar"><span style="width:{width:.0f}%;background:{colour}"></span></span>'
            f"<output>{match.similarity:.3f}</output></li>"
        )
    return f'<ul class="artists">{"".join(rows)}</ul>'


def plan(library, found):
    """Return the map as SVG: all tracks, the artists' in colour, the nearest numbered, the clip.

    Args:
        library: `Library`.
        found: `Found` of it.
    """
    index, places = library.index, library.places
    colour_of = {}
    for match, colour in zip(found.artists, COLOURS, strict=False):
        colour_of |= dict.fromkeys(index.rows_of_artist(match.artist).tolist(), colour)
    near = [match.row for match in found.tracks]
    step = -(-len(index) // _MOST_POINTS)
    others = sorted(
        {*range(0, len(index), step), *colour_of} - set(near), key=colour_of.__contains__
    )
    points = [_point(index, places, row, colour_of.get(row, GREY)) for row in others]
    for number, row in reversed(list(enumerate(near, 1))):  # the nearest on top
        points.append(_numbered(index, places, row, number, colour_of.get(row, "#5b6470")))
    x, y = _xy(found.place)
    clip = (
        f'<g id="clip-on-map"><title>your clip</title><circle cx="{x}" cy="{y}" r="18" '
        f'class="halo"/><circle cx="{x}" cy="{y}" r="7" class="clip"/></g>'
    )
    return (
        f'<svg id="map" viewBox="0 0 {_SIZE:g} {_SIZE:g}" role="img" aria-label="Map of '
        f'{len(index):,} tracks; the clip lies among its nearest">{"".join(points)}{clip}</svg>'
    )


def _track(number, match, preview_of):
    track = match.track
    title = track.title or track.label
    credits = [
        track.extra[name] for name in ("licence", "license", "source") if track.extra.get(name)
    ]
    name = preview_of(match.row)
    player = '<small class="none">no preview</small>'
    if name is not None:
        player = (
            f'<audio controls preload="none" src="previews/{name}" '
            f'aria-label="{shown(track.label)}"></audio>'
        )
    return (
        f'<li><span class="number">{number}</span><span class="what"><bdi>{shown(title)}</bdi>'
        f"<br><small><bdi>{shown(track.artist or 'unknown artist')}</bdi>"
        f"{''.join(f' · <bdi>{shown(text)}</bdi>' for text in credits)}</small></span>"
        f"<output>{match.similarity:.3f}</output>{player}</li>"
    )


def _point(index, places, row, colour):
    x, y = _xy(places[row])
    title = shown(index.track(row).label)
    return f'<circle cx="{x}" cy="{y}" r="{_DOT}" fill="{colour}"><title>{title}</title></circle>'


def _numbered(index, places, row, number, colour):
    x, y = _xy(places[row])
    title = shown(index.track(row).label)
    return (
        f'<g class="near"><title>{title}</title><circle cx="{x}" cy="{y}" r="{_NEAR}" '
        f'fill="{colour}"/><text x="{x}" y="{y}" dy="0.35em">{number}</text></g>'
    )


def _xy(place):
    """Return a place of the map in the picture's units, y downwards."""
    x, y = float(place[0]), float(place[1])
    return round((1 + x) * _SIZE / 2, 1), round((1 - y) * _SIZE / 2, 1)
