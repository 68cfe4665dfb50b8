"""The networks as the contract states them, their training and their files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from artist_features.config import FrontEnd, Network
from artist_features.training.losses import MARGIN, SiameseHinge
from artist_features.zoo import networks

FRONT_END = FrontEnd(segment_frames=32)
SMALL = Network(filters=(16, 8), kernel_sizes=(4, 1), pool_sizes=(4, 1))
N_SAMPLES = FRONT_END.segment_samples
CONVOLUTIONS = [(128, 128, 4), (128, 128, 4), (128, 128, 4), (128, 128, 2), (128, 256, 1)]


def small():
    keras.utils.set_random_seed(0)
    return networks.backbone(front_end=FRONT_END, network=SMALL)


def waveforms(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (0.2 * rng.standard_normal((*shape, N_SAMPLES, 1))).astype(np.float32)


def siamese_inputs(batch, n_negatives):
    return {
        "anchor": waveforms(batch),
        "positive": waveforms(batch, seed=1),
        "negatives": waveforms(batch, n_negatives, seed=2),
    }


@pytest.fixture(scope="module")
def full():
    return networks.backbone()


@pytest.fixture(params=["float32", "mixed_float16"])
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def test_backbone_has_the_size_of_the_contract(full):
    assert full.count_params() == 265_984
    assert full.input_shape == (None, 66_560, 1)
    assert full.output_shape == (None, 256)


def test_backbone_layers(full):
    front = ["waveform", "stft", "magnitude", "mel", "drop_channel", "log_mel", "standardised"]
    blocks = [
        f"block{n}{part}"
        for n in range(1, 6)
        for part in ("_conv", "_norm", "", "_pool")
        if (n, part) != (5, "_pool")
    ]
    assert [layer.name for layer in full.layers] == [*front, *blocks, "embedding"]
    lengths = [full.get_layer(f"block{n}_pool").output.shape[1] for n in range(1, 5)]
    assert lengths == [32, 8, 2, 1]


@pytest.mark.parametrize(("block", "sizes"), enumerate(CONVOLUTIONS, start=1))
def test_convolutions(full, block, sizes):
    n_in, n_out, length = sizes
    conv = full.get_layer(f"block{block}_conv")
    assert conv.kernel.shape == (length, n_in, n_out)
    assert conv.padding == "same"
    assert conv.strides == (1,)
    assert conv.use_bias
    assert isinstance(conv.kernel_initializer, keras.initializers.HeUniform)
    assert conv.kernel_regularizer.get_config() == pytest.approx({"l2": 1e-5})
    kernel, bias = conv.get_weights()
    limit = np.sqrt(6 / (length * n_in))  # he_uniform
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    assert not bias.any()


def test_embedding_is_the_mean_over_time_of_the_last_block():
    tower = networks.backbone(
        front_end=FRONT_END, network=Network(filters=(4,), kernel_sizes=(3,), pool_sizes=(4,))
    )
    last = keras.Model(tower.input, tower.get_layer("block1_pool").output)
    x = waveforms(2)
    assert last.output_shape == (None, 8, 4)
    np.testing.assert_allclose(tower(x), last(x).numpy().mean(axis=1), rtol=1e-5)


def test_basic():
    tower = small()
    model = networks.basic(5, tower=tower)
    assert model.output_shape == (None, 5)
    assert model.get_layer("artist").activation is keras.activations.softmax
    assert model.count_params() == tower.count_params() + (8 + 1) * 5
    np.testing.assert_allclose(model(waveforms(3)).numpy().sum(axis=1), 1, rtol=1e-5)


def test_basic_and_siamese_build_their_own_backbone():
    assert networks.basic(2).count_params() == 265_984 + 257 * 2
    assert networks.siamese().count_params() == 265_984


@pytest.mark.parametrize("n_negatives", [1, 4])
def test_siamese_gives_cosine_similarities(n_negatives):
    tower = small()
    model = networks.siamese(n_negatives, tower=tower)
    inputs = siamese_inputs(3, n_negatives)
    found = model(inputs).numpy()
    assert found.shape == (3, 1 + n_negatives)
    for row in range(3):
        anchor, positive = (tower(inputs[k][row][None]).numpy()[0] for k in ("anchor", "positive"))
        others = [positive, *tower(inputs["negatives"][row]).numpy()]
        expected = [o @ anchor / np.linalg.norm(o) / np.linalg.norm(anchor) for o in others]
        np.testing.assert_allclose(found[row], expected, rtol=1e-4)


def test_siamese_shares_one_tower():
    tower = small()
    model = networks.siamese(4, tower=tower)
    assert len(model.weights) == len(tower.weights)
    assert {id(w) for w in model.weights} == {id(w) for w in tower.weights}
    inputs = siamese_inputs(2, 4)
    anchor = inputs["anchor"]
    same = {"anchor": anchor, "positive": anchor, "negatives": np.stack([anchor] * 4, axis=1)}
    before = model(inputs).numpy()
    bias = tower.get_layer("block1_norm").beta
    bias.assign(bias + np.linspace(-3, 3, 16))
    assert (np.abs(model(inputs).numpy() - before) > 1e-4).all()
    np.testing.assert_allclose(model(same), 1, rtol=1e-5)  # still one network for all inputs


@pytest.mark.parametrize(
    ("head", "count", "least"),
    [*((networks.basic, n, 2) for n in (1, -3, 2.0, "4", True, None)), (networks.siamese, 0, 1)],
)
def test_heads_refuse_a_bad_count(head, count, least):
    with pytest.raises(ValueError, match=f"is .*; allowed is an integer of {least} or more"):
        head(count)


def fit(model, inputs, targets, loss, jit_compile):
    """Train two steps from tf.data; return the losses and how far each weight moved."""
    before = [w.numpy() for w in model.trainable_weights]
    data = tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(2)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True)
    model.compile(optimizer, loss, jit_compile=jit_compile)
    history = model.fit(data, epochs=2, shuffle=False, verbose=0).history["loss"]
    moved = {
        weight.path: np.abs(weight.numpy() - old).max()
        for weight, old in zip(model.trainable_weights, before, strict=True)
    }
    return history, moved


@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "xla"]
)
@pytest.mark.parametrize("head", ["basic", "siamese"])
def test_fit_on_waveforms_reaches_the_first_convolution(policy, head, jit_compile):
    tower = small()
    if head == "basic":
        model, loss = networks.basic(4, tower=tower), "categorical_crossentropy"
        inputs, targets = waveforms(4), np.eye(4, dtype=np.float32)
    else:
        model, loss = networks.siamese(2, tower=tower), SiameseHinge()
        inputs, targets = siamese_inputs(4, 2), np.zeros((4, 1), np.float32)
    history, moved = fit(model, inputs, targets, loss, jit_compile)
    assert np.isfinite(history).all()
    assert moved[tower.get_layer("block1_conv").kernel.path] > 0
    # batch normalisation takes out what a convolution's bias adds: its gradient is 0
    still = [path for path, change in moved.items() if not change and "conv/bias" not in path]
    assert not still
    assert tower.get_layer("block1_conv").compute_dtype == policy.removeprefix("mixed_")
    assert tower(waveforms(1)).dtype == model(inputs).dtype == tf.float32


def test_hinge_by_hand():
    similarity = np.array([[0.9, 0.7, 0.1], [0.2, 0.5, -0.4]], np.float32)
    # row 1: 0.4 - 0.9 + 0.7, below 0; row 2: 0.4 - 0.2 + 0.5, below 0
    expected = 0.2 + 0 + 0.7 + 0
    nothing = np.zeros((2, 1), np.float32)
    assert float(SiameseHinge()(nothing, similarity)) == pytest.approx(expected, abs=1e-6)
    rows = SiameseHinge(reduction=None)(nothing, similarity)
    np.testing.assert_allclose(rows, [0.2, 0.7], atol=1e-6)
    wider = SiameseHinge(margin=1.0)(nothing, similarity)
    assert float(wider) == pytest.approx(0.8 + 0.2 + 1.3 + 0.4, abs=1e-6)
    assert MARGIN == 0.4


def test_hinge_survives_its_config():
    config = keras.saving.serialize_keras_object(SiameseHinge(margin=0.25))
    again = keras.saving.deserialize_keras_object(config)
    assert (again.margin, again.reduction, again.name) == (0.25, "sum", "siamese_hinge")
    assert SiameseHinge().get_config()["margin"] == 0.4


@pytest.mark.parametrize("kind", ["backbone", "basic", "siamese"])
def test_save_and_reload_in_safe_mode(kind, tmp_path):
    tower = small()
    build = {
        "backbone": lambda: tower,
        "basic": lambda: networks.basic(3, tower=tower),
        "siamese": lambda: networks.siamese(3, tower=tower),
    }
    model = build[kind]()
    for weight in model.weights:  # nothing may be left at its initial value
        weight.assign(weight + 0.01 * np.random.default_rng(1).random(weight.shape))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    x = siamese_inputs(2, 3) if kind == "siamese" else waveforms(2)
    np.testing.assert_array_equal(again(x), model(x))
    assert len(again.weights) == len(model.weights)


def test_a_segment_shorter_than_the_pooling_is_refused():
    with pytest.raises(ValueError, match=r"segment_frames is 127; .* leave none of them"):
        networks.backbone(front_end=FrontEnd(segment_frames=127))
