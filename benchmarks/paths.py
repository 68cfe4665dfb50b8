"""Largest step of a path through an index, beside that of a random walk between the same ends.

    python benchmarks/paths.py VECTORS...     # what `artist-features extract` wrote
    python benchmarks/paths.py VECTORS... -n 20

A step is 1 - cosine of two tracks that follow each other.
"""

import argparse

import numpy as np

from artist_features.search import Index
from artist_features.search.embedding_tables import read_embeddings
from artist_features.search.playlist import find_path

N_PAIRS = 100


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", nargs="+")
    parser.add_argument("-n", type=int, default=10, help="tracks of a path")
    args = parser.parse_args()
    found = read_embeddings(args.vectors)
    index = Index.build(found.vectors, found.tracks, found.made_with)
    rng = np.random.default_rng(0)
    walks = [rng.choice(len(index), args.n, replace=False) for _ in range(N_PAIRS)]
    paths = [find_path(index, int(walk[0]), int(walk[-1]), args.n) for walk in walks]
    walked, found = (np.array([steps(index, rows) for rows in way]) for way in (walks, paths))
    ratios = found.max(axis=1) / walked.max(axis=1)
    print(f"{len(index)} tracks, {N_PAIRS} pairs, {args.n} tracks each\n")
    print("| largest step: random walk | path | ratio: mean | largest | mean step of a path |")
    print("|---|---|---|---|---|")
    print(
        f"| {walked.max(axis=1).mean():.3f} | {found.max(axis=1).mean():.3f} | "
        f"{ratios.mean():.2f} | {ratios.max():.2f} | {found.mean():.3f} |"
    )


def steps(index, rows):
    vectors = index.vectors[rows]
    return 1 - (vectors[:-1] * vectors[1:]).sum(axis=1)


if __name__ == "__main__":
    main()
