"""Measures of retrieval and of classification, and their intervals. NumPy only."""

from artist_features.metrics.bootstrap import Interval, bootstrap_interval, mean, paired_bootstrap
from artist_features.metrics.classes import accuracy, accuracy_interval, correct
from artist_features.metrics.queries import Retrieval, retrieval, unit_vectors
from artist_features.metrics.ranked import (
    average_precision,
    ndcg_at_k,
    precision_at_k,
    r_precision,
)

__all__ = [
    "Interval",
    "Retrieval",
    "accuracy",
    "accuracy_interval",
    "average_precision",
    "bootstrap_interval",
    "correct",
    "mean",
    "ndcg_at_k",
    "paired_bootstrap",
    "precision_at_k",
    "r_precision",
    "retrieval",
    "unit_vectors",
]
