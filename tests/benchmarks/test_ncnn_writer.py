"""A plain chain of convolutions in ncnn's format, and what is no such chain."""

from __future__ import annotations

import os
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


def _chain(*, activation: str = "relu", step: int = 1, height: int = 8, width: int = 6) -> keras.Model:
    """A VGG of one convolution, with random weights, as the inference form has it."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((height, width, 1), name="image")
    tensor = keras.layers.Concatenate()([image, image, image])
    tensor = keras.layers.Rescaling([1.0, 2.0, 3.0], [-1.0, 0.0, 1.0])(tensor)
    tensor = keras.layers.Conv2D(4, 3, step, padding="same", bias_initializer="normal")(tensor)
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


@pytest.mark.parametrize(("settings", "fault"), [({"step": 2}, "step of one"), ({"activation": "gelu"}, "is a Activation")])
def test_what_is_no_plain_chain_is_refused(settings: dict[str, object], fault: str, tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match=fault):
        write_ncnn(_chain(**settings), tmp_path)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif(not NCNN, reason="OSTEO_EDGE_NCNN_PYTHON names no interpreter with ncnn")
def test_ncnn_answers_as_keras_does(tmp_path: Path) -> None:
    form = _chain()
    knees = np.random.default_rng(0).uniform(0, 255, (4, 8, 6, 1)).astype(np.float32)
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
