"""Networks in ncnn's format, and what is not written in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import pytest

from benchmarks.contest import Entry, hold
from benchmarks.ncnn_writer import write_ncnn
from benchmarks.places import NATIVE, environments

if TYPE_CHECKING:
    import keras

NCNN = os.environ.get("OSTEO_EDGE_NCNN_PYTHON")


def write_chain(folder: Path, *, side: int) -> int:
    """Write a tiny VGG for square pictures to ``folder``; the side."""
    write_ncnn(_chain(height=side, width=side), folder)
    return side


def _chain(*, activation: str = "relu", height: int = 8, width: int = 6) -> keras.Model:
    """A VGG of one convolution, with random weights, as the inference form has it."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((height, width, 1), name="image")
    tensor = keras.layers.Concatenate()([image, image, image])
    tensor = keras.layers.Rescaling([1.0, 2.0, 3.0], [-1.0, 0.0, 1.0])(tensor)
    tensor = keras.layers.Conv2D(4, 3, padding="same", bias_initializer="normal")(tensor)
    tensor = keras.layers.Activation(activation)(tensor)
    features = keras.layers.MaxPooling2D(2)(tensor)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    logits = keras.layers.Dense(3, bias_initializer="normal", name="head")(pooled)
    return keras.Model(image, {"logits": logits, "features": features})


def test_every_layer_has_a_line_and_every_weight_its_bytes(tmp_path: Path) -> None:
    path = write_ncnn(_chain(), tmp_path)
    magic, counts, *lines = path.read_text().splitlines()
    assert magic == "7767517"
    assert counts == f"{len(lines)} {len(lines)}"
    assert [line.split()[0] for line in lines] == ["Input", "Convolution", "Convolution", "Pooling", "Pooling", "InnerProduct"]
    assert lines[2].endswith("9=1")  # the convolution keeps its activation
    assert lines[-1].split()[5] == "logits"
    numbers = (3 + 3) + (3 * 3 * 3 * 4 + 4) + (4 * 3 + 3)
    flags = 3
    assert path.with_suffix(".bin").stat().st_size == 4 * (numbers + flags)


def _branching() -> keras.Model:
    """Steps, borders, depthwise convolutions, a residual branch and a LayerNormalization, with random weights."""
    import keras

    from train.networks.architectures.layers import Gelu

    keras.utils.set_random_seed(1)
    image = keras.Input((10, 8, 1), name="image")
    tensor = keras.layers.Rescaling(1 / 127.5, -1.0)(image)
    tensor = keras.layers.Conv2D(4, 3, 2, padding="same", bias_initializer="normal")(tensor)
    trunk = keras.layers.ReLU(6.0)(tensor)
    tensor = keras.layers.DepthwiseConv2D(3, padding="same", bias_initializer="normal")(trunk)
    tensor = keras.layers.LayerNormalization(epsilon=1e-6, gamma_initializer="normal", beta_initializer="normal")(tensor)
    tensor = Gelu()(keras.layers.Conv2D(4, 1, bias_initializer="normal")(tensor))
    features = keras.layers.Add()([trunk, tensor])
    logits = keras.layers.Dense(3, name="head")(keras.layers.GlobalAveragePooling2D()(features))
    return keras.Model(image, {"logits": logits, "features": features})


def test_a_tensor_with_two_readers_is_split_and_every_tensor_is_read_once(tmp_path: Path) -> None:
    _, counts, *lines = write_ncnn(_branching(), tmp_path).read_text().splitlines()
    words = [line.split() for line in lines]
    assert "Split" in {line[0] for line in words}
    read = [name for line in words for name in line[4 : 4 + int(line[2])]]
    made = [name for line in words for name in line[4 + int(line[2]) : 4 + int(line[2]) + int(line[3])]]
    assert sorted(read) == sorted(set(made) - {"logits"})
    assert counts == f"{len(lines)} {len(made)}"


@pytest.mark.parametrize(("activation", "fault"), [("gelu", "is a Activation"), ("tanh", "is a Activation")])
def test_what_is_not_written_is_refused(activation: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match=fault):
        write_ncnn(_chain(activation=activation), tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not NCNN, reason="OSTEO_EDGE_NCNN_PYTHON names no interpreter with ncnn")
@pytest.mark.parametrize("build", [_chain, _branching])
def test_ncnn_answers_as_keras_does(build: Callable[[], keras.Model], tmp_path: Path) -> None:
    form = build()
    knees = np.random.default_rng(0).uniform(0, 255, (4, *form.input_shape[1:])).astype(np.float32)
    np.save(tmp_path / "knees.npy", knees)
    path = write_ncnn(form, tmp_path)
    with environments(("ncnn",), str(NCNN)) as forms:
        entries = [
            Entry(one, (str(NCNN),), variables, "ncnn", (path,), (tmp_path / "knees.npy",), 1)
            for one, variables in forms.items()
        ]
        timings = hold(entries, rounds=3, seconds=0, answering=set(forms))
    expected = np.asarray(form(knees)["logits"])
    assert NATIVE in timings
    for timing in timings.values():
        np.testing.assert_allclose(timing.logits[0], expected, atol=1e-3, rtol=1e-4)
