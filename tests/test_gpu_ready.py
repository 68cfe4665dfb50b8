"""Without a GPU: that every op would run on one, and how devices are set up."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from artist_features.config import Network
from artist_features.extraction.batching import compiled_function, inference_function
from artist_features.extraction.extractor import configure_devices
from artist_features.training.losses import SiameseHinge
from artist_features.zoo import networks

ON_GPU = {"GPU", "DEFAULT"}  # DEFAULT: one kernel for every kind of device
IN_XLA = {"XLA_GPU_JIT"}
ARGUMENTS = {"Placeholder", "_Arg"}  # what XLA is called with; nothing to compile
SMALL = Network(filters=(16, 8), kernel_sizes=(4, 1), pool_sizes=(4, 1))


@pytest.fixture
def gpu_build():
    if not ON_GPU & {kernel.device_type for kernel in kernels_of("MatMul")}:
        pytest.skip("this build of TensorFlow has no GPU kernels at all")


@pytest.fixture(params=["float32", "mixed_float16"])
def policy(request, gpu_build):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield
    keras.config.set_dtype_policy(before)


def kernels_of(op):
    return kernels.get_registered_kernels_for_op(op).kernel


def nodes_of(function):
    """Return every node of a concrete function, those of nested functions included."""
    graph = function.graph.as_graph_def()
    return [*graph.node, *(node for f in graph.library.function for node in f.node_def)]


def takes(kernel, node):
    """True if the kernel is registered for the node's types."""
    return all(
        not limit.allowed_values.list.type
        or node.attr[limit.name].type in limit.allowed_values.list.type
        for limit in kernel.constraint
    )


def without_kernel(nodes, devices, *, but=frozenset()):
    """Return the ops that have no kernel of their types on any of the devices."""
    return sorted(
        {
            node.op
            for node in nodes
            if node.op not in but
            and not any(k.device_type in devices and takes(k, node) for k in kernels_of(node.op))
        }
    )


def test_every_op_of_inference_has_a_gpu_kernel(policy):
    nodes = nodes_of(inference_function(networks.backbone()).get_concrete_function())
    ops = {node.op for node in nodes}
    assert {"RFFT", "ComplexAbs", "MatMul", "Log1p", "Conv2D", "MaxPool"} <= ops
    assert not without_kernel(nodes, ON_GPU)


def test_every_op_of_inference_compiles_for_a_gpu(policy):
    nodes = nodes_of(compiled_function(networks.backbone(), 64).get_concrete_function())
    assert not without_kernel(nodes, IN_XLA, but=ARGUMENTS)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["basic", "siamese"])
def test_every_op_of_a_training_step_has_a_gpu_kernel(policy, head):
    tower = networks.backbone(network=SMALL)
    segments = np.zeros((2, *tower.input_shape[1:]), np.float32)
    if head == "basic":
        model, loss = networks.basic(3, tower=tower), "categorical_crossentropy"
        data = segments, np.eye(3, dtype=np.float32)[:2]
    else:
        model, loss = networks.siamese(2, tower=tower), SiameseHinge()
        inputs = {"anchor": segments, "positive": segments}
        data = {**inputs, "negatives": segments[:, None].repeat(2, 1)}, np.zeros((2, 1), "float32")
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True), loss, jit_compile=False)
    model.train_on_batch(*data)  # makes the optimizer's variables
    step = tf.function(model.train_step).get_concrete_function(data)
    nodes = nodes_of(step)
    assert "Conv2DBackpropFilter" in {node.op for node in nodes}
    assert not without_kernel(nodes, ON_GPU)


def test_an_op_without_a_gpu_kernel_would_be_found(gpu_build):
    @tf.function(input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.bool)])
    def graph(text, choice):
        return tf.cond(choice, lambda: tf.strings.to_number(text), lambda: 0.0)

    nodes = nodes_of(graph.get_concrete_function())
    assert without_kernel(nodes, ON_GPU) == ["StringToNumber"]  # in a nested function


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that there are two GPUs; return the calls of `set_memory_growth`."""
    calls = []
    details = {"first": {"device_name": "Fast Card"}, "second": {}}
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: list(details))
    config = tf.config.experimental
    monkeypatch.setattr(config, "get_device_details", details.get)
    monkeypatch.setattr(config, "set_memory_growth", lambda *call: calls.append(call))
    return calls


def test_gpus_take_memory_as_they_need_it(gpus):
    assert configure_devices() == "GPU 0 (Fast Card)"
    assert gpus == [("first", True), ("second", True)]


@pytest.mark.parametrize("error", [RuntimeError("running"), ValueError("virtual devices")])
def test_devices_set_up_by_their_owner_stay(gpus, monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refuse)
    assert configure_devices() == "GPU 0 (Fast Card)"


def test_hidden_gpus_are_not_reported(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["hidden"])
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5, 6}, raising=False)
    assert configure_devices() == "CPU (3 cores)"


@pytest.mark.nightly
def test_the_benchmark_of_cards_runs_dry():
    script = Path(__file__).resolve().parents[1] / "benchmarks/gpu.py"
    if not script.exists():
        pytest.skip("not in a checkout")
    done = subprocess.run([sys.executable, script, "--dry-run"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for text in (
        "golden vectors: `basic`",
        "| mixed_bfloat16 | 64 |",
        "A job of 4",
        "training step of 256",
    ):
        assert text in done.stdout
