"""Members merged in one graph answer as they do alone."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import onnxruntime as ort
import pytest
from click.testing import CliRunner
from onnx import TensorProto

from benchmarks.__main__ import main
from benchmarks.one_graph import merge

from .conftest import SIDE, tiny_model


def test_members_answer_as_alone_and_share_an_input() -> None:
    models = [tiny_model(seed) for seed in (1, 2)]
    image = np.random.default_rng(0).uniform(0, 255, (1, SIDE, SIDE, 1)).astype(np.float32)
    session = ort.InferenceSession(merge(models).SerializeToString(), providers=["CPUExecutionProvider"])
    (shared,) = session.get_inputs()
    together = session.run(["0/logits", "1/logits"], {shared.name: image})
    for model, logits in zip(models, together, strict=True):
        alone = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(logits, alone.run(["logits"], {"image": image})[0])


def test_other_input_types_are_not_shared() -> None:
    models = [tiny_model(1), tiny_model(2)]
    models[1].graph.input[0].type.tensor_type.shape.dim[1].dim_value = SIDE // 2
    models[1].graph.input[0].type.tensor_type.shape.dim[2].dim_value = SIDE * 2
    models[1].graph.output[1].type.CopyFrom(models[1].graph.input[0].type)
    assert [one.name for one in merge(models).graph.input] == ["0/image", "1/image"]
    assert models[1].graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_other_operator_sets_are_refused() -> None:
    with pytest.raises(click.ClickException, match="different operator sets"):
        merge([tiny_model(1), tiny_model(2, opset=19)])


def test_a_bundle_of_one_member_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["one-graph", "--bundle", "knee-mobilenet_v2"])
    assert result.exit_code == 1
    assert "bundle of an ensemble" in result.output
