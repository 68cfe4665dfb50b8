"""How well do the embeddings tell genres apart? A scikit-learn pipeline on your own music.

    python examples/genre_transfer.py ~/Music/by_genre
    python examples/genre_transfer.py manifest.csv --label genre --predict new.mp3

A folder has one sub-folder for each genre; a manifest has the columns file, artist, title
and one of genres. With artists known, no fold tests on an artist that it trained on.
`artist-features evaluate genre` compares several models and classifiers, and chooses their C.
"""

import argparse

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from artist_features.datasets.manifest import read_labelled
from artist_features.metrics import bootstrap_interval, correct
from artist_features.sklearn import Embedder


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("music", help="folder of genre folders, or a manifest CSV")
    parser.add_argument("--label", default="genre", help="column of the manifest")
    parser.add_argument("--model", default="siamese")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--predict", nargs="+", default=[], help="files to name the genre of")
    args = parser.parse_args(argv)

    music = read_labelled(args.music, args.label)
    paths = [str(track.path) for track in music.tracks]
    genres = np.array([music.labels[track.path] for track in music.tracks])
    artists = [track.artist or track.path for track in music.tracks]
    classifier = LogisticRegression(C=0.1, max_iter=10_000)
    pipeline = make_pipeline(Embedder(args.model), StandardScaler(), classifier)

    vectors = pipeline[:1].fit_transform(paths)  # once for all folds: nothing is learned here
    print(f"{len(genres)} tracks of {len(set(genres))} genres, vectors {vectors.shape}")
    folds = StratifiedGroupKFold(args.folds, shuffle=True, random_state=0)
    predicted = cross_val_predict(pipeline[1:], vectors, genres, groups=artists, cv=folds)
    right = bootstrap_interval(correct(predicted, genres), artists)
    print(f"accuracy: {right.estimate:.3f} ({right.low:.3f} to {right.high:.3f})")
    for genre in sorted(set(genres)):
        print(f"  {genre}: {np.mean(predicted[genres == genre] == genre):.2f}")

    if args.predict:
        pipeline[1:].fit(vectors, genres)  # the steps are those of the whole pipeline
        for path, genre in zip(args.predict, pipeline.predict(args.predict), strict=True):
            print(f"{path}: {genre}")


if __name__ == "__main__":
    main()
