"""Cross-validated classifiers on the vectors: logistic regression and a support vector machine.

Folds are stratified by class and keep every artist whole, in the outer folds that score and
in the inner ones that choose C: a classifier that recognises the artist or the record gains
nothing by it. Standardising is fitted with the classifier, on the training side of each fold.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from artist_features.errors import display_path
from artist_features.evaluation import report
from artist_features.metrics import Interval, correct

CLASSIFIERS = ("logistic regression", "SVM")
C_GRID = tuple(10.0**power for power in range(-3, 3))  # own choice: what the data may ask for
N_FOLDS = 5
N_INNER_FOLDS = 3  # where the classes have that many artists left, else 2
_MAX_ITERATIONS = 10000

logger = logging.getLogger(__name__)

_Fold: TypeAlias = tuple[np.ndarray, np.ndarray]  # int64 rows to train on, and held out


@dataclass(frozen=True)
class ClassifierScores(report.Scores):
    """Scores of one classifier on one model's vectors.

    Attributes:
        classifier: of `CLASSIFIERS`.
        accuracy: `Interval` over artists.
        chosen_c: C of each outer fold.
        predicted: `(n_tracks,)`, the class of each track, predicted while it was held out.
    """

    classifier: str
    accuracy: Interval
    chosen_c: tuple[float, ...]
    predicted: np.ndarray

    def to_record(self) -> dict[str, Any]:
        return {
            "classifier": self.classifier,
            "accuracy": vars(self.accuracy),
            "c_of_folds": list(self.chosen_c),
            "difference_of_accuracy_to_first": vars(self.difference) if self.difference else None,
        }


def cross_validate(
    vectors_by_name: Mapping[str, npt.ArrayLike],
    labels: Sequence[str],
    artists: Sequence[str],
    *,
    n_folds: int = N_FOLDS,
    seed: int = 0,
) -> list[ClassifierScores]:
    """Score several models by cross-validated classifiers and compare them with the first.

    Args:
        vectors_by_name: {name: float `(n_tracks, dim)`}, the same tracks for each.
        labels: `(n_tracks,)`, class names; 2 or more, each of n_folds artists or more.
        artists: `(n_tracks,)`, artist names; "" is an artist of its own.
        n_folds: outer folds, >= 3.
        seed: of the folds.

    Returns:
        list of `ClassifierScores`: for each model, one for each classifier.

    Raises:
        ValueError: too few classes, or a fold without a class.
    """
    classes = np.asarray(labels)
    groups = group_numbers(artists)
    folds = _folds(classes, groups, n_folds, seed)
    inner = [_inner_folds(classes, groups, train, n_folds, seed) for train, _ in folds]
    scores: list[ClassifierScores] = []
    first: dict[str, np.ndarray] = {}
    for name, rows in vectors_by_name.items():
        vectors = np.asarray(rows, np.float64)
        for classifier in CLASSIFIERS:
            predicted, chosen_c = _predict(classifier, vectors, classes, folds, inner)
            right = correct(predicted, classes)
            interval, difference = report.compare(right, first.get(classifier), groups)
            first.setdefault(classifier, right)
            scores.append(
                ClassifierScores(
                    name=name,
                    dim=vectors.shape[1],
                    classifier=classifier,
                    accuracy=interval,
                    difference=difference,
                    chosen_c=tuple(chosen_c),
                    predicted=predicted,
                )
            )
            logger.info("%s: %s done", display_path(name), classifier)
    return scores


def table(scores: list[ClassifierScores], record: Mapping[str, Any]) -> str:
    """Format cross-validated classifiers.

    The record has `n_classes`, `n_artists`, `n_unknown_artists`, `n_folds` and `bootstrap`.
    """
    n_unknown = record["n_unknown_artists"]
    artists = f"{record['n_artists'] - n_unknown} artists"
    if n_unknown:
        artists += f", {n_unknown} tracks of unknown artist each by itself"
    text = (
        f"{record['n_tracks']} tracks of {record['n_classes']} classes and {artists}, "
        f"{record['n_folds']} folds that keep artists whole, C chosen inside; "
        f"{record['n_left_out']} left out; 95 % bootstrap intervals over "
        f"{record['bootstrap']['over']}; {record['date'][:10]}."
    )
    rows = [(row.classifier, report.shown_interval(row.accuracy)) for row in scores]
    return report.table(("classifier", "accuracy"), "accuracy", scores, rows, text)


def group_numbers(artists: Sequence[str | int]) -> np.ndarray:
    """Return int64 `(n_tracks,)`, equal where the artist is; "" is a group of its own."""
    first: dict[str | int | tuple[int], int] = {}
    keys = [(row,) if artist == "" else artist for row, artist in enumerate(artists)]
    return np.array([first.setdefault(key, len(first)) for key in keys], np.int64)


def artists_by_label(labels: Sequence[str], artists: Sequence[str | int]) -> dict[str, int]:
    """Return {label: number of artists}, sorted by label."""
    pairs = set(zip(labels, group_numbers(artists).tolist(), strict=True))
    return dict(sorted(Counter(label for label, _ in pairs).items()))


def _folds(labels: np.ndarray, groups: np.ndarray, n_folds: int, seed: int) -> list[_Fold]:
    """Return the outer folds, pairs of int64 rows; every class is on every training side."""
    counts = artists_by_label(labels.tolist(), groups.tolist())
    if len(counts) < 2:
        raise ValueError(f"{len(counts)} classes; two or more are needed.")
    if few := {label: n for label, n in counts.items() if n < n_folds}:
        label = next(iter(few))
        raise ValueError(
            f"class {label!r} has tracks of {few[label]} artists, {n_folds} folds need {n_folds} "
            f"({len(few)} of {len(counts)} classes have too few). Leave these out, or take fewer "
            "folds."
        )
    return _split(labels, groups, n_folds, seed)


def _inner_folds(
    labels: np.ndarray, groups: np.ndarray, rows: np.ndarray, n_folds: int, seed: int
) -> list[_Fold]:
    """Return folds of some rows, as positions among them."""
    fewest = min(artists_by_label(labels[rows].tolist(), groups[rows].tolist()).values())
    n_inner = max(2, min(N_INNER_FOLDS, fewest, n_folds - 1))
    return _split(labels[rows], groups[rows], n_inner, seed)


def _split(labels: np.ndarray, groups: np.ndarray, n_folds: int, seed: int) -> list[_Fold]:
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    folds = list(splitter.split(np.arange(len(labels)), labels, groups))
    for train, held_out in folds:
        missing = sorted(set(labels.tolist()) - set(labels[train].tolist()))
        if missing or not len(held_out):
            raise ValueError(
                f"with artists kept whole, a fold has no track of class {missing[0]!r} to train "
                "on; take another number of folds, or leave the class out."
                if missing
                else "a fold is empty: too few artists for the number of folds; take fewer."
            )
    return folds


def _predict(
    classifier: str,
    vectors: np.ndarray,
    labels: np.ndarray,
    folds: list[_Fold],
    inner: list[list[_Fold]],
) -> tuple[np.ndarray, list[float]]:
    """Return the held-out predictions `(n_tracks,)` and the C of each fold."""
    from sklearn.model_selection import GridSearchCV

    predicted, chosen_c = np.empty_like(labels), []
    for (train, held_out), choices in zip(folds, inner, strict=True):
        search = GridSearchCV(_pipeline(classifier), {"classifier__C": C_GRID}, cv=choices)
        search.fit(vectors[train], labels[train])
        predicted[held_out] = search.predict(vectors[held_out])
        chosen_c.append(float(search.best_params_["classifier__C"]))
    return predicted, chosen_c


def _pipeline(classifier: str) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    models = {
        "logistic regression": LogisticRegression(max_iter=_MAX_ITERATIONS),
        "SVM": SVC(),  # radial basis functions, width by the vectors' variance
    }
    return Pipeline([("scaler", StandardScaler()), ("classifier", models[classifier])])
