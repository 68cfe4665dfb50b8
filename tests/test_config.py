"""The numbers of the contract, and which other numbers a card may hold."""

import dataclasses
import json
import math

import pytest

from artist_features.config import FrontEnd, ModelCard, Network

FIELDS = {
    "name": "a_model-1.0",
    "kind": "siamese",
    "description": "For tests.",
    "license": "MIT",
    "credit": "Nobody.",
    "weights_sha256": "0" * 64,
}
HUGE = [["x" * 100_000] * 3] * 3
BAD_NUMBERS = ("16000", None, True, HUGE, math.nan, math.inf, -math.inf, 10**400, -(10**400))


def card(**changes):
    return ModelCard(**{**FIELDS, **changes})


def record(**changes):
    return {**json.loads(card().to_json()), **changes}


def test_default_numbers_are_the_contract():
    front_end = FrontEnd()
    assert (front_end.sample_rate, front_end.n_fft, front_end.hop_length) == (22050, 1024, 512)
    assert (front_end.n_mels, front_end.f_min_hz, front_end.f_max_hz) == (128, 0, 11025)
    assert (front_end.mean, front_end.std, front_end.log_scale) == (0.22620339, 0.25794547, 10)
    assert front_end.pad_samples == 512
    assert front_end.segment_samples == 66560
    assert front_end.segment_hop_samples == 66048
    assert front_end.segment_hop_s == pytest.approx(2.995, abs=5e-4)
    network = Network()
    assert network.filters == (128, 128, 128, 128, 256)
    assert network.kernel_sizes == network.pool_sizes == (4, 4, 4, 2, 1)
    assert (network.l2, network.embedding_dim, network.frames_out(129)) == (1e-5, 256, 1)


def test_card_survives_its_own_json():
    original = card(
        front_end=FrontEnd(sample_rate=16000, f_max_hz=8000.0, mean=-0.1),
        network=Network(filters=(8, 4), kernel_sizes=(3, 1), pool_sizes=(2, 1)),
        training={"hours": 1.5, "artists": ["é", "日本"]},
        scores={"map": 0.25},
    )
    parsed = json.loads(original.to_json())
    assert ModelCard.from_record(parsed) == original
    assert parsed["graph_sha256"] == original.graph_sha256
    assert original.embedding_dim == 4


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"description": "Other words."}, True),
        ({"scores": {"map": 1.0}}, True),
        ({"front_end": FrontEnd(mean=0.3)}, False),
        ({"network": Network(l2=0.0)}, False),
    ],
)
def test_graph_hash_covers_what_decides_an_embedding(change, same):
    assert (card(**change).graph_sha256 == card().graph_sha256) is same


@pytest.mark.parametrize("value", [*BAD_NUMBERS, 0, -1, 10**9])
@pytest.mark.parametrize("name", ["sample_rate", "n_fft", "hop_length", "n_mels", "segment_frames"])
def test_front_end_refuses_counts(name, value):
    with pytest.raises(ValueError, match=f"FrontEnd: {name} = .*allowed are integers") as caught:
        FrontEnd(**{name: value})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", BAD_NUMBERS)
@pytest.mark.parametrize("name", ["f_min_hz", "f_max_hz", "mean", "std", "log_scale"])
def test_front_end_refuses_reals(name, value):
    with pytest.raises(ValueError, match=f"FrontEnd: {name} = .*allowed are numbers") as caught:
        FrontEnd(**{name: value})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"f_min_hz": 8000.0, "f_max_hz": 100.0}, "mel bands from 8000.0 to 100.0 Hz"),
        ({"f_min_hz": -1.0}, "mel bands from -1.0"),
        ({"f_min_hz": 100.0, "f_max_hz": 100.5}, "allowed is 0 <= f_min_hz <= f_max_hz - 1 Hz"),
        ({"sample_rate": 16000}, r"f_max_hz <= 8000.0 Hz \(half the sample rate\)"),
        ({"std": 0}, "std = 0"),
        ({"std": -0.2}, "std = -0.2"),
        ({"std": 5e-324}, "std = 5e-324"),
        ({"log_scale": 0.0}, "log_scale = 0.0"),
        ({"hop_length": 1025}, "hop_length = 1025; allowed are integers 1 to 1024"),
        ({"n_fft": 65536, "hop_length": 65536, "segment_frames": 1000}, "65536000 samples"),
        (
            {"n_fft": 65536, "hop_length": 1, "segment_frames": 513},
            "a segment becomes 513 frames of 32769 values; allowed are up to 16777216 values",
        ),
        ({"n_mels": 1024, "segment_frames": 30_000}, "30000 frames of 1024 values"),
    ],
)
def test_front_end_refuses_what_does_not_fit_together(change, match):
    with pytest.raises(ValueError, match=match):
        FrontEnd(**change)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"filters": (8, 8)}, "kernel_sizes has 5 entries, filters 2"),
        ({"filters": (), "kernel_sizes": (), "pool_sizes": ()}, "filters has 0 entries"),
        ({"filters": (8,) * 33}, "filters has 33 entries"),
        ({"pool_sizes": (4, 4, 4, 2, 0)}, r"pool_sizes = \(4, 4, 4, 2, 0\)"),
        ({"filters": (128, 128, 128, 128, 4097)}, "allowed are integers 1 to 4096"),
        ({"kernel_sizes": (4, 4, 4, 2, 1.0)}, "kernel_sizes"),
        ({"kernel_sizes": (4, 4, 4, 2, True)}, "kernel_sizes"),
        ({"filters": "abcde"}, "filters = 'abcde'; allowed are lists of integers"),
        ({"pool_sizes": None}, "pool_sizes = None; allowed are lists"),
        ({"l2": math.nan}, "l2 = nan"),
        ({"l2": -1e-5}, "l2 = -1e-05"),
    ],
)
def test_network_refuses(change, match):
    with pytest.raises(ValueError, match=match):
        Network(**change)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"name": ""}, "name must be a non-empty string"),
        ({"credit": 7}, "credit must be a non-empty string"),
        ({"name": "a/b"}, "name 'a/b'; allowed are"),
        ({"name": "../a"}, "name '../a'"),
        ({"name": "caf\u00e9"}, "letter or digit first"),
        ({"name": "_a"}, "name '_a'"),
        ({"name": "a" * 101}, "up to 100 letters"),
        ({"kind": "siamise"}, "kind 'siamise'; allowed is 'basic' or 'siamese'"),
        ({"kind": ["basic"]}, "kind"),
        ({"pooling": "max"}, "pooling 'max'; allowed is 'mean'"),
        ({"weights_sha256": "0" * 63}, "weights_sha256"),
        ({"weights_sha256": "Z" * 64}, "64 hexadecimal digits"),
        ({"weights_sha256": 5}, "weights_sha256 5"),
        ({"training": []}, "training must be an object"),
        ({"scores": None}, "scores must be an object"),
        ({"network": Network(pool_sizes=(4, 4, 4, 2, 2))}, "leave nothing of a segment of 129"),
        (
            {"front_end": FrontEnd(segment_frames=9000), "network": Network(filters=(4096,) * 5)},
            "a segment becomes 9000 frames of 4096 values",
        ),
    ],
)
def test_card_refuses(change, match):
    with pytest.raises(ValueError, match=match):
        card(**change)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_record_needs_every_field_without_a_default(name):
    incomplete = record()
    del incomplete[name]
    with pytest.raises(ValueError, match=f"field '{name}' is missing"):
        ModelCard.from_record(incomplete)


def test_level_is_recorded_only_where_there_is_one():
    assert "level_db" not in FrontEnd().record()
    levelled = FrontEnd(level_db=-17.0).record()
    assert (levelled["level_db"], levelled["level_floor_db"]) == (-17.0, -70.0)
    for bad in (3.0, -200.0, float("nan"), "loud"):
        with pytest.raises(ValueError, match="level_db"):
            FrontEnd(level_db=bad)


@pytest.mark.parametrize(("part", "kind"), [("front_end", FrontEnd), ("network", Network)])
def test_record_never_relies_on_our_defaults(part, kind):
    for field in dataclasses.fields(kind):
        incomplete = record()
        if field.name in ("level_db", "level_floor_db"):  # absent where levels are kept
            assert field.name not in incomplete[part]
            continue
        del incomplete[part][field.name]
        with pytest.raises(ValueError, match=f"{kind.__name__}: field '{field.name}' is missing"):
            ModelCard.from_record(incomplete)
    for missing in ({k: v for k, v in record().items() if k != part}, record(**{part: [1]})):
        with pytest.raises(ValueError, match=f"{part} must be an object"):
            ModelCard.from_record(missing)


def test_record_refuses_unknown_fields_in_a_short_message():
    with pytest.raises(ValueError, match="ModelCard: unknown field 'xxx") as caught:
        ModelCard.from_record(record(**{"x" * 1_000_000: 1}))
    assert len(str(caught.value)) < 200
    odd = record()
    odd["network"]["class_name"] = "Lambda"
    with pytest.raises(ValueError, match="Network: unknown field 'class_name'"):
        ModelCard.from_record(odd)
