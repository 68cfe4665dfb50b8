"""Model cards: the Hub's metadata, and the README.md of the bundled models."""

import math

import pytest
import yaml
from huggingface_hub import ModelCard as HubCard

from artist_features.config import ModelCard
from artist_features.zoo import registry
from artist_features.zoo.card import hub_metadata, model_card

FIELDS = {"name": "m", "kind": "basic", "description": "x", "license": "MIT", "credit": "x"}


def card(**fields):
    return ModelCard(**{**FIELDS, **fields}, weights_sha256="0" * 64)


def block(text):
    return yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize("name", registry.bundled_names())
def test_bundled_cards_are_complete_and_of_today(name):
    folder = registry.bundled_folder() / name
    ours = registry.list_models()[name]
    text = (folder / "README.md").read_text(encoding="utf-8")
    # the client's version decides about the layout of the YAML
    assert text.split("---\n", 2)[2] == model_card(ours, name).split("---\n", 2)[2]
    assert block(text) == hub_metadata(ours).to_dict()
    data = HubCard(text).data
    assert (data.library_name, data.license) == ("artist-features", "mit")
    assert (data.pipeline_tag, data.datasets) == ("feature-extraction", ["open-corpora"])
    assert {"music", "audio", "keras"} <= set(data.tags)
    assert data.model_name == name
    found = {(r.dataset_split, r.metric_type): r.metric_value for r in data.eval_results}
    # other models' scores, losses and intervals are not claimed
    assert found == {("test", "map"): ours.scores["held_out_artist_map"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MIT", {"license": "mit"}),
        ("CC-BY-SA-4.0", {"license": "cc-by-sa-4.0"}),
        ("GPL-3.0-or-later", {"license": "other", "license_name": "gpl-3.0-or-later"}),
        ("my: own\n[licence]", {"license": "other", "license_name": "my-own-licence"}),
        ("\u8a31", {"license": "other", "license_name": "unnamed"}),
    ],
)
def test_licences_that_the_hub_does_not_list_have_a_name(text, expected):
    found = block(model_card(card(license=text), "m"))
    assert {key: found[key] for key in found if key.startswith("license")} == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("owner/corpus", ["owner/corpus"]),
        ("Open corpus: games, speech", ["open-corpus"]),
        ("true", ["true"]),
        ('a "b" #: {c}\n---\n\x1b[2J', ["a-b"]),
        ("m.csv", None),
        ("", None),
        (["x"], ["x"]),
    ],
)
def test_data_sets(data, expected):
    assert block(model_card(card(training={"data": data}), "m")).get("datasets") == expected


def test_scores_that_are_no_numbers_are_left_out():
    scores = {
        "held_out_artist_map": math.nan,
        "held_out_artist_accuracy": True,
        "check_during_training": {"valid_map": "0.5", "valid_accuracy": 1},
    }
    (model,) = hub_metadata(card(scores=scores)).to_dict()["model-index"]
    assert [result["metrics"] for result in model["results"]] == [
        [{"type": "accuracy", "value": 1}]
    ]
    for scores in ({}, {"check_during_training": [1]}, {"mfcc_artist_map": 0.3}):
        assert "model-index" not in hub_metadata(card(scores=scores)).to_dict()


@pytest.mark.parametrize("name", ["true", "1e5", "2026-01-01"])
def test_the_block_says_what_the_record_says(name):
    """Words that YAML takes for something else, and a number that YAML 1.1 takes for a word."""
    ours = card(
        name=name,
        training={"data": f"{name}-set"},
        scores={"held_out_artist_map": 0.5, "check_during_training": {"valid_map": 1e-7}},
    )
    text = model_card(ours, name)
    assert block(text) == hub_metadata(ours).to_dict()
    assert HubCard(text).data.model_name == name
    assert block(text)["model-index"][0]["results"][1]["metrics"] == [
        {"type": "map", "value": 1e-7}
    ]
