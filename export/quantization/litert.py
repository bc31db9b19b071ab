"""Int8 files for LiteRT, made by its own converter of the Keras network.

Dynamic range keeps activations in float between layers, and takes all layers but the head. The static kind runs on
integers with float input and output, and can keep chosen layers in float; it is slow for networks with LayerNorm, which
LiteRT spells in many small steps.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from export.errors import ExportError
from export.graph import INPUT_NAME
from export.quantization.records import RepresentativeSet
from export.to_litert import SIGNATURE, require_builtin_operators, save_form, to_litert
from osteo_edge.manifest import InputSpec
from train.runs.arrays import Floats

if TYPE_CHECKING:
    import keras

MAX_WEIGHT = 127
_FLOAT_OPERATORS = ("MEAN", "MUL", "SUM")


def to_dynamic_litert(form: keras.Model, spec: InputSpec) -> bytes:
    """Weights of 8 bits but for the head's; ranges of activations are measured while running.

    Raises:
        ExportError: the converter failed.
    """
    return to_litert(form, spec, ["int8"])["int8"]


def to_static_litert(
    form: keras.Model, spec: InputSpec, representative: RepresentativeSet, float_layers: Collection[str]
) -> bytes:
    """Weights and activations of 8 bits with ranges from the representative set; input and output are floats.

    Products, means and sums stay float: the picture's scaling, normalisation and the spelled-out head, whose weights would
    else share one scale.

    Args:
        float_layers: names of Keras layers that stay float.

    Raises:
        ExportError: the converter failed.
    """
    import tensorflow as tf

    def feeds() -> Iterator[tuple[str, dict[str, Floats]]]:
        return ((SIGNATURE, {INPUT_NAME: tensor}) for tensor in representative.tensors)

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow warns of its own interpreter
        save_form(form, spec, folder, spells_out_head=True)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = feeds
        try:
            options = tf.lite.experimental.QuantizationDebugOptions(
                denylisted_ops=list(_FLOAT_OPERATORS),
                denylisted_nodes=_tensors(to_litert(form, spec, ["fp32"])["fp32"], float_layers),
            )
            debugger = tf.lite.experimental.QuantizationDebugger(
                converter=converter, debug_dataset=feeds, debug_options=options
            )
            return require_builtin_operators(bytes(debugger.get_nondebug_quantized_model()))
        except ExportError:
            raise
        except Exception as error:  # the converter raises its own classes and RuntimeError
            raise ExportError(f"LiteRT's converter failed for static int8: {str(error).splitlines()[0][:200]}") from error


def _tensors(model: bytes, layers: Collection[str]) -> list[str]:
    """Names of what the operators of ``model`` give that come from Keras layers; the converter knows them by these."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    names = {detail["index"]: detail["name"] for detail in interpreter.get_tensor_details()}
    given = [names[index] for step in interpreter._get_ops_details() for index in step["outputs"] if index in names]
    return [name for name in given if any(f"/{layer}_" in name or f"/{layer}/" in name for layer in layers)]
