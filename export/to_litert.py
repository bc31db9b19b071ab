"""From the inference form to LiteRT (.tflite): fp32, fp16 and dynamic range."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from export.errors import ExportError
from export.graph import FEATURES, INPUT_NAME, LOGITS, find_head

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import keras
    import tensorflow as tf

    from osteo_edge.manifest import InputSpec

SIGNATURE = "serving_default"


def to_litert(form: keras.Model, spec: InputSpec, precisions: Sequence[str]) -> Mapping[str, bytes]:
    """Precision -> file, each with one signature: "image" (1, H, W, 1) -> "logits" and "features" (NHWC).

    "int8" is LiteRT's dynamic range: weights of 8 bits but for the head's, activations quantized while running,
    so that it needs no representative set.

    Raises:
        ExportError: the converter failed, or wrote an operator that is not built in.
    """
    return {precision: _export(form, spec, precision) for precision in precisions}


def _export(form: keras.Model, spec: InputSpec, precision: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_form(form, spec, folder, spells_out_head=precision == "int8")
        return _convert(folder, precision)


def save_form(form: keras.Model, spec: InputSpec, folder: str, *, spells_out_head: bool) -> None:
    """Write the SavedModel that the converter reads."""
    import tensorflow as tf

    signature = [tf.TensorSpec((1, spec.height_px, spec.width_px, 1), tf.as_dtype(spec.dtype), name=INPUT_NAME)]

    def run(image: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = form(tf.cast(image, tf.float32), training=False)
        logits = _spelled_out_head(form, outputs[FEATURES]) if spells_out_head else outputs[LOGITS]
        return {LOGITS: logits, FEATURES: outputs[FEATURES]}

    module = tf.Module()
    # A Keras model hung on the module is not enough: the converter then writes a file without weights, and says nothing.
    module.weights = [variable.value for variable in form.variables]
    module.run = tf.function(run, input_signature=signature)
    tf.saved_model.save(module, folder, signatures={SIGNATURE: module.run.get_concrete_function()})


def _spelled_out_head(form: keras.Model, features: tf.Tensor) -> tf.Tensor:
    """The head as products and a sum, which the converter leaves in float.

    It would give a dense layer one scale for all its weights, and a few large ones then swallow the others.
    """
    import tensorflow as tf

    head = find_head(form)
    pooled = tf.reduce_mean(features, axis=(1, 2))
    return tf.reduce_sum(pooled[:, :, tf.newaxis] * head.kernel.value, axis=1) + head.bias.value


def _convert(folder: str, precision: str) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
    if precision != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        return require_builtin_operators(bytes(converter.convert()))
    except ExportError:
        raise
    except Exception as error:  # the converter raises its own classes and RuntimeError
        raise ExportError(f"LiteRT's converter failed for {precision}: {str(error).splitlines()[0][:200]}") from error


def require_builtin_operators(model: bytes) -> bytes:
    """The file, when every operator of it is LiteRT's own: others need a runtime that was built with them.

    Raises:
        ExportError: names the operators that are not.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    codes = schema.ModelT.InitFromPackedBuf(model, 0).operatorCodes
    foreign = [code.customCode.decode() for code in codes if code.customCode]
    if foreign:
        raise ExportError(f"the LiteRT file holds operators that are not built in: {', '.join(sorted(foreign))}")
    return model
