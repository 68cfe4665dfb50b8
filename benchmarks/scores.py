"""How far scores can be trusted: the artist that `who` names, and the bound of a copy.

    python benchmarks/scores.py VECTORS... --manifest CSV...

VECTORS are what `artist-features extract` wrote. Every track is asked about twice: among all
others, and without any of its artist. The tables name the constants that are chosen by them.
"""

import argparse

import numpy as np

from artist_features.search import Index, result_filter
from artist_features.search.embedding_tables import join_manifest, read_embeddings
from artist_features.search.lookup import MARGIN, MIN_TRACKS

MARGINS = (0, 0.02, 0.04, 0.05, 0.06, 0.08, 0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", nargs="+")
    parser.add_argument("--manifest", nargs="+", required=True)
    args = parser.parse_args()
    found = read_embeddings(args.vectors)
    tracks = found.tracks
    for manifest in args.manifest:
        tracks, _ = join_manifest(tracks, manifest)
    index = Index.build(found.vectors, tracks, found.made_with)
    print_artists(*answers(index))
    print_copies(index)


def answers(index):
    """Return two arrays of (right, margin, n_tracks): artists in the index, and not in it."""
    known, unknown = [], []
    for row in range(len(index)):
        artist = index.track(row).artist
        if not artist:
            continue
        if len(index.rows_of_artist(artist)) > 1:
            known.append(answer(index, row, artist, exclude_rows=[row]))
        unknown.append(answer(index, row, artist, exclude_artists=[artist]))
    return np.array(known), np.array(unknown)


def answer(index, row, artist, **options):
    first, second = index.query_artists(index.vector(row), 2, **options)
    return first.artist == artist, first.similarity - second.similarity, first.n_tracks


def print_artists(known, unknown):
    print(f"{len(known)} queries by artists of the index, {len(unknown)} by others; ours: margin ")
    print(f"{MARGIN}, {MIN_TRACKS} tracks\n")
    print("| tracks | margin | identified, of the index | of them right | identified, of others |")
    print("|---|---|---|---|---|")
    for n_tracks in (1, 2, MIN_TRACKS):
        for margin in MARGINS:
            said, wrong = (
                rows[(rows[:, 1] >= margin) & (rows[:, 2] >= n_tracks)] for rows in (known, unknown)
            )
            print(
                f"| {n_tracks} | {margin} | {len(said)} ({len(said) / len(known):.1%}) | "
                f"{int(said[:, 0].sum())} ({said[:, 0].mean():.0%}) | "
                f"{len(wrong)} ({len(wrong) / len(unknown):.1%}) |"
            )


def print_copies(index):
    """Print the pairs of tracks that are as similar as a copy, by the bound and their lengths."""
    whitened = index.whitened(index.vectors)
    plain, cosines = index.vectors @ index.vectors.T, whitened @ whitened.T
    durations_s = np.array([index.track(row).duration_s for row in range(len(index))])
    apart_s = np.abs(durations_s[:, None] - durations_s)
    same_length = apart_s <= 1
    like_length = apart_s <= result_filter.LENGTHS_APART_S
    every = np.triu(np.ones(cosines.shape, bool), 1)
    pair = every & (plain >= result_filter.LEAST_COSINE)
    # excerpts of equal length say nothing of lengths: those that more than five tracks have
    _, number, count = np.unique(durations_s.round(1), return_inverse=True, return_counts=True)
    own = count[number] <= 5
    whole = same_length & own[:, None] & own
    print(
        f"\n{every.sum()} pairs, {pair.sum()} with a cosine of "
        f"{result_filter.LEAST_COSINE} or more; ours: "
        f"{result_filter.COPY_COSINES[1]} whitened, lengths up to "
        f"{result_filter.LENGTHS_APART_S} s apart, {result_filter.COPY_COSINES_ALONE[1]} if one is "
        "unknown\n"
    )
    print(
        "| whitened cosine | pairs | lengths within 11.5 s | of one length | "
        "and not the length of more than five |"
    )
    print("|---|---|---|---|---|")
    for bound in (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        similar = pair & (cosines >= bound)
        counts = [int((similar & part).sum()) for part in (pair, like_length, same_length, whole)]
        print(f"| {bound} | {' | '.join(map(str, counts))} |")
    print(f"\n{(every & whole).sum()} pairs are of one length that no more than five tracks have")
    elsewhere = every & like_length & ~same_length
    similar = int((elsewhere & pair & (cosines >= result_filter.COPY_COSINES[1])).sum())
    print(f"{similar} of the {elsewhere.sum()} with lengths more than 1 s apart are similar enough")


if __name__ == "__main__":
    main()
