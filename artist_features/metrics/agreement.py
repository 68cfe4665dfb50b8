"""Agreement of a student's embeddings with those of its teachers, on the same crops."""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.floating]

_RIDGE = 10.0  # penalty for standardised vectors; 1 to 100 gave the same to 0.005
_N_FOLDS = 5
_CONSTANT = 1e-6  # deviation under which a dimension does not vary


def agreement(student: Vectors, teachers: Mapping[str, Vectors]) -> dict[str, float]:
    """Measure how far a student finds alike what its teachers find alike.

    Every dimension is standardised over the crops; teachers side by side weigh the same.

    Args:
        student: `(n, dim)`, n >= 10.
        teachers: {name: `(n, k)`}, rows of the same crops.

    Returns:
        dict: each teacher's name, and "both" for all side by side: Pearson correlation, over
        all pairs of crops, of the student's cosine similarities with the teacher's; and
        "r2_NAME": share of the teacher's variance that ridge regression finds in the student's
        vectors, cross-validated in 5 folds.

    Raises:
        ValueError: too few rows, or another number of them.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 3))
        >>> found = agreement(x, {"same": x @ np.diag([1.0, 2.0, 3.0])})
        >>> round(found["same"], 3), round(found["r2_same"], 1)
        (1.0, 1.0)
    """
    n = len(student)
    if n < 2 * _N_FOLDS:
        raise ValueError(f"{n} crops; agreement needs {2 * _N_FOLDS} or more.")
    if odd := {name for name, rows in teachers.items() if len(rows) != n}:
        raise ValueError(f"teacher {min(odd)!r}: {len(teachers[min(odd)])} rows, student {n}.")
    standard = standardised(student)
    similarity = _similarities(standard)
    known = {name: standardised(rows) for name, rows in teachers.items()}
    found = {name: _correlation(similarity, _similarities(rows)) for name, rows in known.items()}
    found["both"] = _correlation(similarity, _similarities(side_by_side(known.values())))
    return found | {f"r2_{name}": _ridge_r2(standard, rows) for name, rows in known.items()}


def standardised(rows: Vectors) -> npt.NDArray[np.float64]:
    """Scale each dimension to mean 0 and deviation 1; 0 where it does not vary."""
    rows = np.asarray(rows, np.float64)
    deviation = rows.std(axis=0)
    varies = deviation > _CONSTANT
    return (rows - rows.mean(axis=0)) / np.where(varies, deviation, 1) * varies


def side_by_side(teachers: Iterable[Vectors]) -> npt.NDArray[np.float64]:
    """Join standardised vectors `(n, k)`, each divided by the root of k.

    Numbers that never vary count in k: of musicnn's 753 some 540 are constant.
    """
    return np.concatenate([rows / np.sqrt(rows.shape[1]) for rows in teachers], axis=1)


def _similarities(rows: Vectors) -> npt.NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.maximum(lengths, 1e-12)
    return (rows @ rows.T)[np.triu_indices(len(rows), 1)]


def _correlation(a: Vectors, b: Vectors) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def _ridge_r2(student: Vectors, teacher: Vectors) -> float:
    fold = np.arange(len(student)) % _N_FOLDS
    residual = np.empty_like(teacher)
    penalty = _RIDGE * np.eye(student.shape[1])
    for number in range(_N_FOLDS):
        own = fold == number
        known, wanted = student[~own], teacher[~own]
        weights = np.linalg.solve(known.T @ known + penalty, known.T @ wanted)
        residual[own] = teacher[own] - student[own] @ weights
    total = float(np.sum(teacher**2))
    return 1 - float(np.sum(residual**2)) / total if total else 0.0
