"""LiteRT files: built-in operators only, float or integer pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from export.errors import ExportError
from export.graph import inference_form
from export.parity import run_network
from export.to_litert import require_builtin_operators, to_litert
from tests.export.test_onnx_writer import pictures, small, spec_of


def test_operators_that_are_not_built_in_are_refused() -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((2, 2), tf.float32)])
    def determinant(values: Any) -> Any:
        return tf.linalg.det(values)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([determinant.get_concrete_function()])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    with pytest.raises(ExportError, match="not built in: FlexMatrixDeterminant"):
        require_builtin_operators(converter.convert())


def test_uint8_pictures_are_cast_inside() -> None:
    from ai_edge_litert.interpreter import Interpreter

    spec = replace(spec_of(12, 9), dtype="uint8")
    form = inference_form(small(keras.layers.Conv2D(4, 3)))
    (data,) = to_litert(form, spec, ("fp32",)).values()
    runner = Interpreter(model_content=data).get_signature_runner()
    assert runner.get_input_details()["image"]["dtype"] is np.uint8
    whole = np.rint(pictures(spec))[:1]
    logits = runner(image=whole.astype(np.uint8))["logits"]
    np.testing.assert_allclose(logits, run_network(form, whole).logits, rtol=1e-4, atol=1e-4)
