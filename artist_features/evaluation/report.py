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
        "name": display_path(row.name),
        "weights_sha256": card.weights_sha256 if card else None,
        "graph_sha256": card.graph_sha256 if card else None,
        "dim": row.dim,
        "mean_average_precision": vars(row.mean_average_precision),
        "precision_at_1": vars(row.precision_at_1),
        "difference_of_map_to_first": vars(row.difference) if row.difference else None,
        "r_precision": found.mean_r_precision,
        f"precision_at_{found.k}": found.mean_precision_at_k,
        f"ndcg_at_{found.k}": found.mean_ndcg_at_k,
    }


def _shown(interval, sign=""):
    if interval is None:
        return ""
    low, high = f"{interval.low:{sign}.3f}", f"{interval.high:{sign}.3f}"
    return f"{interval.estimate:{sign}.3f} [{low}, {high}]"
