"""The README.md of a model folder: the model card with the Hub's metadata."""

import json
import textwrap

from artist_features.config import ModelCard
from artist_features.errors import display_path
from artist_features.zoo import card_metadata

_SUMMARISED = ("data", "hours", "n_tracks", "n_artists", "limits", "date")  # of the training
_PAPER = "https://arxiv.org/abs/1710.06648"


def model_card(card):
    """Return the Markdown text of a `ModelCard`, YAML metadata first."""
    front_end, network = card.front_end, card.network
    handle = card.name if _is_bundled(card) else f"path/to/{card.name}"
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
        **{_words(name): training[name] for name in _SUMMARISED if name in training},
        **{_words(name): value for name, value in card.scores.items()},
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


def _words(name: str) -> str:
    return name.replace("_", " ")


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


def _is_bundled(card):
    """Return whether the name loads this very model: anyone may call theirs `siamese`."""
    from artist_features.zoo import folder, registry  # they write cards by this module

    if card.name not in registry.bundled_names():
        return False
    bundled = folder.read_card(registry.bundled_folder() / card.name)
    ours = (card.weights_sha256, card.graph_sha256)
    return ours == (bundled.weights_sha256, bundled.graph_sha256)


def _table(record):
    rows = ["| | |", "|---|---|"]
    for key, value in record.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        rows.append(f"| {key.replace('_', ' ')} | {text.replace('|', '/')} |")
    return rows
