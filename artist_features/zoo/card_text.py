"""The README.md of a model folder: the model card with the Hub's metadata."""

import json
import textwrap
from typing import Any

from artist_features.config import ModelCard
from artist_features.errors import display_path
from artist_features.zoo import card_metadata

_TRAINING = {  # field -> label
    "data": "music of training",
    "hours": "hours",
    "n_tracks": "tracks",
    "n_artists": "artists",
    "limits": "limits",
    "date": "trained on",
}
_SCORES = {
    "agreement_with_both_teachers": "agreement with teachers",
    "held_out_artist_map": "MAP of held-out artists",
    "authors_siamese_10000_artist_map": "that of the authors",
    "authors_artist_map": "that of the authors",
    "mfcc_artist_map": "that of MFCCs",
    "measured": "measured",
}
_PAPER = "https://arxiv.org/abs/1710.06648"


def model_card(card: ModelCard, handle: str) -> str:
    """Return the README.md of a model: the Hub's YAML metadata, then Markdown.

    Args:
        card: of the model.
        handle: by which its example loads it: a bundled name, "path/to/NAME" or a Hub id.
    """
    front_end, network = card.front_end, card.network
    lines = [
        *card_metadata.metadata_lines(card),
        "",
        f"# {card.name}",
        "",
        card.description,
        "",
        f"A {card.kind} model after Park et al., *Representation Learning of Music Using Artist "
        f"Labels* (ISMIR 2018, {_PAPER}): {front_end.segment_frames} frames of a "
        f"{front_end.n_mels}-band log-mel ({front_end.segment_hop_s:.2f} s at "
        f"{front_end.sample_rate} Hz) to {network.embedding_dim} numbers; a track is the "
        f"{card.pooling} over its segments.",
        "",
        "```python",
        "from artist_features import extract",
        "",
        f'embedding = extract("song.mp3", model="{handle}")',
        "```",
        "",
        "## Licence and credit",
        "",
        f"Licence: {card.license}. {card.credit}",
        "",
        "## Training",
        "",
        *_table(card.training),
        "",
        "## Scores",
        "",
        *(_table(card.scores) if card.scores else ["None measured yet."]),
        "",
        "## Integrity",
        "",
        f"`model.weights.h5` has sha256 `{card.weights_sha256}`. artist_features compares it at "
        "every load. It proves that the file is whole, not who made it.",
        "",
    ]
    # a card from the Hub is printed too: no control characters reach the terminal
    return "\n".join(display_path(line) for line in lines)


def card_summary(card: ModelCard) -> str:
    """Return a `ModelCard` as text for a terminal; the whole card is in the folder's README.md."""
    front_end, training = card.front_end, card.training
    facts = {
        "kind": card.kind,
        "embedding": f"{card.embedding_dim} numbers, the {card.pooling} over segments of "
        f"{front_end.segment_hop_s:.2f} s at {front_end.sample_rate} Hz",
        "level": "as it is" if front_end.level_db is None else f"RMS {front_end.level_db:g} dB",
        **{label: training[name] for name, label in _TRAINING.items() if name in training},
        **_summarised_scores(card.scores),
        "licence": card.license,
        "credit": card.credit,
        "weights": f"sha256 {card.weights_sha256}",
    }
    width = max(map(len, facts)) + 2
    lines = [f"{card.name}: {card.description}", ""]
    for name, value in facts.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        lines += textwrap.wrap(
            display_path(str(text)),
            100,
            initial_indent=f"{name:<{width}}",
            subsequent_indent=" " * width,
        )
    return "\n".join(display_path(line) for line in lines) + "\n"


def _summarised_scores(scores: dict[str, Any]) -> dict[str, Any]:
    """Return the main scores by their labels, each with its interval."""
    found = {}
    for name, label in _SCORES.items():
        if name in scores:
            interval = scores.get(f"{name}_interval")
            found[label] = f"{scores[name]} ({interval})" if interval else scores[name]
    return found


def models_table(cards):
    """Return a Markdown table, one row per `ModelCard`."""
    lines = [
        "| model | dim | trained on | artists | agreement with both teachers | "
        "artist MAP (held out) | licence |",
        "|---|---|---|---|---|---|---|",
    ]
    for card in cards:
        training = card.training
        hours = f"{training['hours']} h, " if "hours" in training else ""
        keys = ("agreement_with_both_teachers", "held_out_artist_map")
        scores = [card.scores.get(key, "not measured") for key in keys]
        scores = [f"{score:.3f}" if isinstance(score, float) else score for score in scores]
        lines.append(
            f"| `{card.name}` | {card.embedding_dim} | "
            f"{hours}{training.get('data', 'unknown')} | {training.get('n_artists', '?')} | "
            f"{' | '.join(scores)} | {card.license} |"
        )
    return "\n".join(display_path(line) for line in lines)


def _table(record):
    rows = ["| | |", "|---|---|"]
    for key, value in record.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        rows.append(f"| {key.replace('_', ' ')} | {text.replace('|', '/')} |")
    return rows
