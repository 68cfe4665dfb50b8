"""How well do the embeddings tell genres apart? Cross-validated accuracy on your own music.

    python examples/genre_transfer.py ~/Music/by_genre
    python examples/genre_transfer.py manifest.csv --label genre

A folder has one sub-folder for each genre; a manifest has the columns file, artist, title
and one of genres. With artists known, no fold tests on an artist that it trained on.
`artist-features evaluate genre` does the same for several models, with intervals.
"""

import argparse

import numpy as np

from artist_features import extract
from artist_features.datasets.manifest import read_labelled
from artist_features.evaluation.crossvalidation import cross_validate


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("music", help="folder of genre folders, or a manifest CSV")
    parser.add_argument("--label", default="genre", help="column of the manifest")
    parser.add_argument("--model", default="siamese")
    parser.add_argument("--folds", type=int, default=5)
    args = parser.parse_args(argv)

    music = read_labelled(args.music, args.label)
    genres = [music.labels[track.path] for track in music.tracks]
    artists = [track.artist for track in music.tracks]
    vectors = extract([track.path for track in music.tracks], model=args.model)
    print(f"{len(genres)} tracks of {len(set(genres))} genres, vectors {vectors.shape}")

    for scores in cross_validate({args.model: vectors}, genres, artists, n_folds=args.folds):
        right = scores.accuracy
        print(f"{scores.classifier}: {right.estimate:.3f} ({right.low:.3f} to {right.high:.3f})")
        for genre in sorted(set(genres)):
            own = np.array(genres) == genre
            print(f"  {genre}: {np.mean(scores.predicted[own] == genre):.2f}")


if __name__ == "__main__":
    main()
