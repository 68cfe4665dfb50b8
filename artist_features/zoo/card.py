"""Model cards as text: README.md with the Hub's metadata, tables and summaries.

Source: the Hub's specification of model cards, `modelcard.md` of huggingface/hub-docs.
"""

import json
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from artist_features.config import ModelCard
from artist_features.errors import display_path

if TYPE_CHECKING:  # imported when a card is written
    from huggingface_hub import EvalResult, ModelCardData

_PAPER = "https://arxiv.org/abs/1710.06648"
_TAGS = ["audio", "music", "embeddings", "keras", "artist-features"]
# those of the Hub's list that weights are likely to have; any other is "other" there
_LICENSES = {
    *("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "isc", "cc0-1.0", "unlicense"),
    *("cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "gpl-2.0", "gpl-3.0"),
    *("lgpl-3.0", "agpl-3.0", "mpl-2.0", "unknown", "other"),
}
_METRICS = ("map", "accuracy")  # the other values of a record are losses, intervals, words
_TRAINING_LABELS = {  # field of the training record -> label in a summary
    "data": "music of training",
    "hours": "hours",
    "n_tracks": "tracks",
    "n_artists": "artists",
    "limits": "limits",
    "date": "trained on",
}
_SCORE_LABELS = {
    "agreement_with_both_teachers": "agreement with teachers",
    "held_out_artist_map": "MAP of held-out artists",
    "authors_siamese_10000_artist_map": "that of the authors",
    "authors_artist_map": "that of the authors",
    "mfcc_artist_map": "that of MFCCs",
    "measured": "measured",
}


def model_card(card: ModelCard, handle: str) -> str:
    """Return the README.md of a model: the Hub's metadata, then Markdown.

    Args:
        handle: by which its example loads it: a bundled name, "path/to/NAME" or a Hub id.
    """
    front_end, network = card.front_end, card.network
    lines = [
        *metadata_block(card).split("\n"),
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
        *_markdown_table(card.training),
        "",
        "## Scores",
        "",
        *(_markdown_table(card.scores) if card.scores else ["None measured yet."]),
        "",
        "## Integrity",
        "",
        f"`model.weights.h5` has sha256 `{card.weights_sha256}`. artist_features compares it at "
        "every load. It proves that the file is whole, not who made it.",
        "",
    ]
    # a card may come from the Hub: no control characters on the reader's terminal
    return "\n".join(display_path(line) for line in lines)


def metadata_block(card: ModelCard) -> str:
    """Return the metadata of a README.md: YAML between two lines of dashes."""
    return f"---\n{hub_metadata(card).to_yaml()}\n---"


def hub_metadata(card: ModelCard) -> "ModelCardData":
    """Build the Hub's model-card metadata (YAML front matter).

    `datasets` is set if the training record names its data (not just a manifest's file), and
    the results are this model's only: a record may hold those of others for comparison.
    """
    from huggingface_hub import ModelCardData

    data = _slug(str(card.training.get("data", "")).partition(":")[0])
    results = list(_eval_results(card.scores, data or "unknown"))
    return ModelCardData(
        library_name="artist-features",
        **_hub_license(card.license),
        pipeline_tag="feature-extraction",
        tags=list(_TAGS),
        datasets=[data] if data and not data.endswith(".csv") else None,
        model_name=card.name if results else None,
        eval_results=results or None,
    )


def _eval_results(scores: Mapping[str, Any], data: str) -> Iterator["EvalResult"]:
    from huggingface_hub import EvalResult

    checks = scores.get("check_during_training")
    for split, name, prefix, record in (
        ("test", f"artists of {data} held out of training", "held_out_artist_", scores),
        ("validation", f"validation part of {data}", "valid_", checks),
    ):
        for metric in _METRICS:
            value: Any = record.get(prefix + metric) if isinstance(record, dict) else None
            if type(value) in (int, float) and math.isfinite(value):
                yield EvalResult(
                    task_type="feature-extraction",
                    task_name="recognising artists",
                    dataset_type=data,
                    dataset_name=name,
                    dataset_split=split,
                    metric_type=metric,
                    metric_value=value,
                )


def _hub_license(text: str) -> dict[str, Any]:
    """Map a licence to the Hub's id; unknown ones become "other" with a name."""
    if text.lower() in _LICENSES:
        return {"license": text.lower()}
    return {"license": "other", "license_name": _slug(text) or "unnamed"}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9./_-]+", "-", text.lower()).strip("-./")[:100]


def _markdown_table(record: Mapping[str, Any]) -> list[str]:
    rows = ["| | |", "|---|---|"]
    for key, value in record.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        rows.append(f"| {key.replace('_', ' ')} | {text.replace('|', '/')} |")
    return rows


def card_summary(card: ModelCard) -> str:
    """Return a `ModelCard` as text for a terminal; the whole card is in the folder's README.md."""
    front_end, training = card.front_end, card.training
    facts = {
        "kind": card.kind,
        "embedding": f"{card.embedding_dim} numbers, the {card.pooling} over segments of "
        f"{front_end.segment_hop_s:.2f} s at {front_end.sample_rate} Hz",
        "level": "as it is" if front_end.level_db is None else f"RMS {front_end.level_db:g} dB",
        **{label: training[name] for name, label in _TRAINING_LABELS.items() if name in training},
        **_main_scores(card.scores),
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


def _main_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return the main scores by their labels, each with its interval."""
    found = {}
    for name, label in _SCORE_LABELS.items():
        if name in scores:
            interval = scores.get(f"{name}_interval")
            found[label] = f"{scores[name]} ({interval})" if interval else scores[name]
    return found


def models_table(cards: Iterable[ModelCard]) -> str:
    """Return a Markdown table with a row for each model."""
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
