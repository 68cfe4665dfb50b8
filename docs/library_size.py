"""How often the nearest track is of the same artist, by size of the library: docs/library_size.md.

    python docs/library_size.py MANIFEST [MANIFEST ...]

Those who ask are the tracks of the test part (column split, or the split by artist of seed 0),
whose artists the bundled weights never heard, where an artist has two or more of them; the rest of
the library is drawn from all other tracks of the manifests, anew for each of the draws.
"""

import argparse
import datetime
from collections import Counter
from pathlib import Path

import numpy as np

from artist_features import Extractor
from artist_features.metrics import unit_vectors
from artist_features.training.inputs import read_splits

PAGE = Path(__file__).resolve().with_suffix(".md")
MODELS = ("siamese", "basic")
SIZES = (100, 500, 1000)
N_DRAWS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST")
    args = parser.parse_args()
    found = read_splits(args.manifests)
    artists = np.array([track.artist for track in found.tracks])
    held_out = Counter(
        track.artist
        for track, split in zip(found.tracks, found.splits, strict=True)
        if split == "test"
    )
    asks = np.array([held_out[name] > 1 and name != "" for name in artists])
    sizes = [size for size in SIZES if size <= len(artists)]
    lines = [
        "# What to expect by size of the library",
        "",
        f"Written by `python docs/library_size.py` with {len(args.manifests)} manifests (sha256 "
        f"{found.sha256[:12]}) on {datetime.date.today()}: {len(artists)} tracks, of which "
        f"{asks.sum()}, of {len(set(artists[asks]))} artists that no run has heard, ask. P@1: "
        "share of them whose nearest track is of the same artist; mean of "
        f"{N_DRAWS} draws of the library.",
        "",
        "| model | " + " | ".join(f"P@1 of {size} tracks" for size in sizes) + " |",
        "|---|" + "---|" * len(sizes),
    ]
    for model in MODELS:
        extractor = Extractor(model)
        paths = [track.path for track in found.tracks]
        vectors = unit_vectors(extractor.extract(paths, progress=True))
        shares = [precision_at_1(vectors, artists, asks, size) for size in sizes]
        lines.append(f"| `{model}` | " + " | ".join(f"{share:.2f}" for share in shares) + " |")
    shares = [precision_at_1(None, artists, asks, size) for size in sizes]
    lines.append("| chance | " + " | ".join(f"{share:.2f}" for share in shares) + " |")
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


def precision_at_1(
    vectors: np.ndarray | None, artists: np.ndarray, asks: np.ndarray, size: int
) -> float:
    """Return the share of queries whose nearest track is of their artist, over all draws.

    Args:
        vectors: of length 1, float32 `(n, dim)`, or None for neighbours by chance.
        artists: name of each track.
        asks: bool `(n,)`, which tracks are queries.
        size: tracks in the library, the queries among them.
    """
    rng, hits = np.random.default_rng(0), []
    for _ in range(N_DRAWS):
        queries = rng.permutation(np.flatnonzero(asks))[:size]
        others = rng.permutation(np.flatnonzero(~asks))[: size - len(queries)]
        library = np.concatenate([queries, others])
        if vectors is None:
            likeness = rng.random((len(queries), size))
        else:
            likeness = vectors[queries] @ vectors[library].T
        likeness[np.arange(len(queries)), np.arange(len(queries))] = -np.inf  # itself
        hits.append(artists[library[likeness.argmax(1)]] == artists[queries])
    return np.concatenate(hits).mean()


if __name__ == "__main__":
    main()
