"""Draw the pictures of docs/how_it_works.md from the numbers of `artist_features.config`.

python docs/draw_figures.py
"""

import math
from html import escape
from pathlib import Path

from artist_features.config import FrontEnd, Network

DOCS = Path(__file__).resolve().parent
INK, SOFT, BLUE, RED = "#1f2933", "#5b6875", "#dbe7f6", "#fbe3d9"


def signal_chain(front_end):
    """Return the SVG of the way from a file to a vector."""
    samples, hop = front_end.segment_samples, front_end.segment_hop_samples
    outside = [
        ("decode", ["wav, flac, ogg, mp3, ...", "float32 in [-1, 1]"]),
        ("mix and resample", ["mean of the channels", f"{front_end.sample_rate:,} Hz, soxr HQ"]),
        ("pad", [f"{front_end.pad_samples} samples of reflection", "at either end of the clip"]),
        ("cut", [f"{samples:,} samples a piece,", f"each {hop:,} ({_s(front_end)} s)"]),
    ]
    inside = [
        ("STFT, magnitude", [f"Hann window of {front_end.n_fft}", f"hop {front_end.hop_length}"]),
        (
            "mel",
            [
                f"{front_end.n_mels} bands, Slaney",
                f"{front_end.f_min_hz:g} to {front_end.f_max_hz:,.0f} Hz",
            ],
        ),
        (
            f"log10(1 + {front_end.log_scale:g} x)",
            [f"(x - {front_end.mean:.3f})", f"/ {front_end.std:.3f}"],
        ),
        ("network", [f"{Network().embedding_dim} numbers", "for each segment"]),
    ]
    parts = [_label(20, 26, "in the package: NumPy, libsndfile, FFmpeg, soxr")]
    parts += _boxes(outside, 40, BLUE)
    parts += [_label(20, 186, "in the Keras model: layers of Kapre, two of our own, convolutions")]
    parts += _boxes(inside, 200, RED)
    parts += [_turn(880, 85, 20, 245)]
    parts += [_text(450, 330, "mean over the segments: one vector a recording", INK, 15)]
    parts += [_arrow(786, 292, 640, 325)]
    return _svg(900, 350, parts, "From a file to a vector")


def network(front_end, network):
    """Return the SVG of the backbone: each block's output, and the heads that train it."""
    length, parts = front_end.segment_frames, []
    maps = [("log-mel", length, front_end.n_mels, ["input"])]
    blocks = zip(network.filters, network.kernel_sizes, network.pool_sizes, strict=True)
    for number, (filters, kernel, pool) in enumerate(blocks, start=1):
        length //= pool
        how = [f"conv {kernel}, {filters}", "norm, ReLU", f"max of {pool}" if pool > 1 else ""]
        maps.append((f"block {number}", length, filters, how))
    maps.append(("embedding", 1, network.embedding_dim, ["mean over time"]))
    for number, (name, frames, channels, how) in enumerate(maps):
        middle = 70 + 127 * number
        height, width = 14 + 20 * math.log2(frames), channels / 3.2
        top = 190 - height
        fill = RED if number in (0, len(maps) - 1) else BLUE
        parts.append(_rect(middle - width / 2, top, width, height, fill))
        parts.append(_text(middle, top - 9, f"{frames} x {channels}", INK, 13))
        parts.append(_text(middle, 214, name, INK, 14, "bold"))
        parts += [_text(middle, 232 + 16 * row, line, SOFT, 12) for row, line in enumerate(how)]
        if number:
            parts.append(_arrow(middle - 83, 180, middle - 47, 180))
    parts.append(_label(20, 310, "heads, for training only"))
    parts += _boxes(
        [
            ("basic", ["softmax over the artists", "cross-entropy"]),
            ("siamese", ["cosine to the positive over", "that to negatives: hinge"]),
        ],
        322,
        "#e6f0e2",
        arrows=False,
    )
    return _svg(910, 430, parts, "The network, frames x channels")


def _s(front_end):
    return f"{front_end.segment_hop_s:.3f}"


def _boxes(steps, top, fill, arrows=True):
    width, gap = 190, 30
    for number, (name, lines) in enumerate(steps):
        left = 20 + number * (width + gap)
        yield _rect(left, top, width, 90, fill)
        yield _text(left + width / 2, top + 27, name, INK, 15, "bold")
        for row, line in enumerate(lines):
            yield _text(left + width / 2, top + 52 + 19 * row, line, SOFT, 13)
        if arrows and number:
            yield _arrow(left - gap + 3, top + 45, left - 3, top + 45)


def _rect(x, y, width, height, fill):
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="4" '
        f'fill="{fill}" stroke="{SOFT}"/>'
    )


def _text(x, y, text, colour, size, weight="normal", anchor="middle"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _label(x, y, text):
    return _text(x, y, text, SOFT, 14, anchor="start")


def _arrow(x1, y1, x2, y2):
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{INK}" '
        'stroke-width="1.5" marker-end="url(#head)"/>'
    )


def _turn(x, y, left, below):
    """Return the line from the end of one row to the start of the next."""
    return (
        f'<polyline points="{x - 8},{y} {x + 8},{y} {x + 8},{y + 75} {left - 12},{y + 75} '
        f'{left - 12},{below} {left - 2},{below}" fill="none" stroke="{INK}" '
        'stroke-width="1.5" marker-end="url(#head)"/>'
    )


def _svg(width, height, parts, title):
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'font-family="system-ui, sans-serif">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{INK}"/></marker>',
            "</defs>",
            f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def figures():
    """Return {file name: text} of all pictures."""
    return {
        "signal_chain.svg": signal_chain(FrontEnd()),
        "network.svg": network(FrontEnd(), Network()),
    }


if __name__ == "__main__":
    for name, text in figures().items():
        (DOCS / name).write_text(text, encoding="utf-8")
