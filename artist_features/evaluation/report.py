"""Scores as a table to read and as a record to keep."""

from artist_features.errors import display_path


def artists_table(scores, record):
    """Lay out the scores as a GitHub Markdown table and a line on what was measured.

    Args:
        scores: list of `ArtistScores`.
        record: dict with `split`, `n_tracks`, `n_artists`, `n_left_out`,
            `n_without_positives` and `date` (ISO 8601).

    Returns:
        str of several lines, none of them with control characters.
    """
    lines = [
        f"| model | dim | MAP | P@1 | MAP minus {display_path(scores[0].name)} |",
        "|---|---|---|---|---|",
    ]
    for row in scores:
        lines.append(
            f"| `{display_path(row.name)}` | {row.dim} | {_shown(row.mean_average_precision)} | "
            f"{_shown(row.precision_at_1)} | {_shown(row.difference, '+')} |"
        )
    part = f"split {record['split']}" if record["split"] else "all splits"
    lines += [
        "",
        f"{record['n_tracks']} tracks of {record['n_artists']} artists ({part}), "
        f"{record['n_left_out']} left out, {record['n_without_positives']} queries without "
        f"positives; 95 % bootstrap intervals over artists; {record['date'][:10]}.",
    ]
    return "\n".join(lines)


def scores_record(row, card=None):
    """Return one model's scores as a dict for JSON.

    Args:
        row: `ArtistScores`.
        card: `ModelCard`, or None for a baseline.
    """
    found = row.retrieval
    return {
        **_model_record(row, card),
        "mean_average_precision": vars(row.mean_average_precision),
        "precision_at_1": vars(row.precision_at_1),
        "difference_of_map_to_first": vars(row.difference) if row.difference else None,
        "r_precision": found.mean_r_precision,
        f"precision_at_{found.k}": found.mean_precision_at_k,
        f"ndcg_at_{found.k}": found.mean_ndcg_at_k,
    }


def softmax_table(scores, record):
    """Lay out scores of the softmax protocol as a Markdown table and a line on what was measured.

    Args:
        scores: list of `SoftmaxScores`.
        record: dict with `data`, `n_tracks`, `n_by_split`, `n_left_out`, `bootstrap`, `date`.

    Returns:
        str of several lines, none of them with control characters.
    """
    first = display_path(scores[0].name)
    lines = [
        f"| model | dim | accuracy | over trials | accuracy minus {first} |",
        "|---|---|---|---|---|",
    ]
    for row in scores:
        spread = f"{min(row.trials):.3f} to {max(row.trials):.3f}"
        lines.append(
            f"| `{display_path(row.name)}` | {row.dim} | {_shown(row.accuracy)} | {spread} | "
            f"{_shown(row.difference, '+')} |"
        )
    parts = "/".join(str(n) for n in record["n_by_split"].values())
    n_trials = len(scores[0].trials)
    lines += [
        "",
        f"{record['data']}: softmax layer, mean of {n_trials} trials; {record['n_tracks']} tracks "
        f"({parts} train/valid/test), {record['n_left_out']} left out; 95 % bootstrap intervals "
        f"over {record['bootstrap']['over']}; {record['date'][:10]}.",
    ]
    return "\n".join(lines)


def softmax_record(row, card=None):
    """Return one model's `SoftmaxScores` as a dict for JSON."""
    return {
        **_model_record(row, card),
        "accuracy": vars(row.accuracy),
        "accuracy_of_trials": list(row.trials),
        "n_epochs_of_trials": list(row.n_epochs),
        "difference_of_accuracy_to_first": vars(row.difference) if row.difference else None,
    }


def classifiers_table(scores, record):
    """Lay out scores of cross-validated classifiers as a Markdown table and a line on the data.

    Args:
        scores: list of `ClassifierScores`.
        record: dict with `n_tracks`, `n_classes`, `n_artists`, `n_unknown_artists`, `n_folds`,
            `n_left_out`, `bootstrap`, `date`.

    Returns:
        str of several lines, none of them with control characters.
    """
    first = display_path(scores[0].name)
    lines = [
        f"| model | dim | classifier | accuracy | accuracy minus {first} |",
        "|---|---|---|---|---|",
    ]
    for row in scores:
        lines.append(
            f"| `{display_path(row.name)}` | {row.dim} | {row.classifier} | "
            f"{_shown(row.accuracy)} | {_shown(row.difference, '+')} |"
        )
    lines += [
        "",
        f"{record['n_tracks']} tracks of {record['n_classes']} classes and {_artists(record)}, "
        f"{record['n_folds']} folds that keep artists whole, C chosen inside; "
        f"{record['n_left_out']} left out; 95 % bootstrap intervals over "
        f"{record['bootstrap']['over']}; {record['date'][:10]}.",
    ]
    return "\n".join(lines)


def _artists(record):
    n_unknown = record["n_unknown_artists"]
    known = f"{record['n_artists'] - n_unknown} artists"
    return f"{known}, {n_unknown} tracks of unknown artist each by itself" if n_unknown else known


def classifier_record(row, card=None):
    """Return one `ClassifierScores` as a dict for JSON."""
    return {
        **_model_record(row, card),
        "classifier": row.classifier,
        "accuracy": vars(row.accuracy),
        "c_of_folds": list(row.chosen_c),
        "difference_of_accuracy_to_first": vars(row.difference) if row.difference else None,
    }


def _model_record(row, card):
    return {
        "name": display_path(row.name),
        "weights_sha256": card.weights_sha256 if card else None,
        "graph_sha256": card.graph_sha256 if card else None,
        "dim": row.dim,
    }


def _shown(interval, sign=""):
    if interval is None:
        return ""
    low, high = f"{interval.low:{sign}.3f}", f"{interval.high:{sign}.3f}"
    return f"{interval.estimate:{sign}.3f} [{low}, {high}]"
