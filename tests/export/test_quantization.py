"""Int8 files: which layers, which ranges, which weights, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from export import parity
from export.errors import ExportError
from export.graph import FEATURES, INPUT_NAME, LOGITS, head_weights
from export.plans import Recipe
from export.quantization import (
    Exact,
    Maker,
    RepresentativeSet,
    groups_of,
    integers,
    make,
    ranges,
    representative_set,
    require_seven_bits,
    rounding,
)
from export.quantization.groups import quantizable
from export.quantization.wiring import Wiring
from export.radiographs import Case
from osteo_edge.records import parse_record, to_plain

FLOAT = ("stem", "head")
STATIC = Recipe("onnxruntime", "static", float_groups=FLOAT)
MIXED = replace(STATIC, float_groups=(*FLOAT, "stage_2.depthwise", "stage_3.depthwise"))


@pytest.fixture(scope="module")
def exact(form: Any, spec: Any) -> Exact:
    return Exact.of(form, spec)


@pytest.fixture(scope="module")
def maker(exact: Exact, pictures: Any) -> Maker:
    return Maker(exact, RepresentativeSet(1, len(pictures), "0" * 64, tuple(picture[np.newaxis] for picture in pictures)))


@pytest.fixture(scope="module")
def products() -> bytes:
    """Pixels, a product, GELU, a product, the mean of the map and a head, in NHWC: a small network of products alone."""
    rng = np.random.default_rng(3)
    constants = {
        "first": rng.normal(0, 0.05, (3, 3, 1, 16)).transpose(3, 2, 0, 1),
        "widen": rng.normal(0, 0.3, (16, 64)),
        "widen_bias": rng.normal(0, 0.1, 64),
        "narrow": rng.normal(0, 0.2, (64, 32)),
        "head": rng.normal(0, 0.4, (32, 3)),
        "head_bias": rng.normal(0, 0.1, 3),
    }
    nodes = [
        helper.make_node("Mul", [INPUT_NAME, "scale"], ["scaled"], name="scale"),
        helper.make_node("Transpose", ["scaled"], ["channels"], name="to_channels", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["channels", "first"], ["map"], name="first", strides=[4, 4]),
        helper.make_node("Transpose", ["map"], ["places"], name="to_places", perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["places", "widen"], ["wide"], name="widen"),
        helper.make_node("Add", ["wide", "widen_bias"], ["biased"], name="bias"),
        helper.make_node("Gelu", ["biased"], ["active"], name="gelu"),
        helper.make_node("MatMul", ["active", "narrow"], [FEATURES], name="narrow"),
        helper.make_node("ReduceMean", [FEATURES, "axes"], ["pooled"], name="pool", keepdims=0),
        helper.make_node("Gemm", ["pooled", "head", "head_bias"], [LOGITS], name="head"),
    ]
    initialisers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    initialisers += [
        numpy_helper.from_array(np.float32(1 / 64), "scale"),
        numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
    ]
    tensor = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info(INPUT_NAME, tensor, (1, 96, 64, 1))],
        [
            helper.make_tensor_value_info(LOGITS, tensor, (1, 3)),
            helper.make_tensor_value_info(FEATURES, tensor, (1, 24, 16, 32)),
        ],
        initialisers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return bytes(model.SerializeToString())


def answers(data: bytes, pictures: Any, level: Any = ort.GraphOptimizationLevel.ORT_ENABLE_ALL) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level, options.intra_op_num_threads, options.log_severity_level = level, 1, 4
    session = ort.InferenceSession(data, options)
    return np.concatenate([session.run([LOGITS], {INPUT_NAME: picture[np.newaxis]})[0] for picture in pictures])


def test_groups_cover_every_layer_once_and_tell_kinds_apart(exact: Exact) -> None:
    model = onnx.load_from_string(exact.onnx)
    groups = groups_of(model)
    names = [name for nodes in groups.values() for name in nodes]
    assert len(names) == len(set(names))
    assert {node.name for node in Wiring.of(model).weighted()} <= set(names)
    assert len(groups["stem"]) == len(groups["head"]) == 1
    assert next(iter(groups)) == "stem"
    assert list(groups)[-1] == "head"
    kinds = {group.partition(".")[2] for group in groups} - {""}
    assert kinds == {"pointwise", "depthwise", "residual"}
    kernels = {node.name: Wiring.of(model).kernel(node).shape for node in Wiring.of(model).weighted()}
    assert all(kernels[name][1] == 1 for group, nodes in groups.items() if "depthwise" in group for name in nodes)
    assert all(max(kernels[name][2:]) == 1 for group, nodes in groups.items() if "pointwise" in group for name in nodes)


def test_matrix_products_are_pointwise_layers_and_alone_are_measured_while_running(products: bytes) -> None:
    model = onnx.load_from_string(products)
    assert groups_of(model) == {"stem": ("first",), "stage_1.pointwise": ("widen", "narrow"), "head": ("head",)}
    assert quantizable(model, "dynamic") == {"stage_1.pointwise": ("widen", "narrow"), "head": ("head",)}


def test_a_representative_set_of_nobody_or_of_others_is_refused() -> None:
    knee = (np.zeros((1, 4, 4, 1), np.float32),)
    cases = [Case(f"{one}.png", one * 64, (), knee) for one in "abc"]
    training = frozenset({"a" * 64, "b" * 64})
    assert representative_set(cases, training).pictures == 2
    assert representative_set(cases, training, only=frozenset({"b" * 64})).pictures == 1
    with pytest.raises(ExportError, match="empty"):
        representative_set(cases, frozenset({"d" * 64}))
    with pytest.raises(ExportError, match="empty"):
        representative_set(cases, training, only=frozenset())
    with pytest.raises(ExportError, match=r"other patients.*cccc"):
        representative_set(cases, training, only=frozenset({"a" * 64, "c" * 64}))


def test_percentile_ranges_are_narrower_than_all_that_was_seen_and_change_the_file(maker: Maker) -> None:
    files = {one: maker.make(replace(STATIC, ranges=one)) for one in ("minmax", "p99.9", "least_error")}
    assert len(set(files.values())) == 3
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 100_000), [50.0]])
    counts, _ = np.histogram(values, ranges.BINS, (values.min(), values.max()))
    histogram = ranges.Histogram(float(values.min()), float(values.max()), counts)
    assert histogram.limits("minmax")[1] == 50
    assert histogram.limits("p99.99")[1] == pytest.approx(3.7, abs=0.2)
    assert histogram.limits("p99.9")[1] == pytest.approx(3.1, abs=0.1)
    assert 3.7 < histogram.limits("least_error")[1] < 45


def test_weights_stay_within_seven_bits_so_that_no_sum_of_two_products_overflows(maker: Maker, products: bytes) -> None:
    assert np.iinfo(np.int16).max >= 2 * 255 * integers.MAX_WEIGHT
    names = ("widen", "narrow")
    for data in (maker.make(STATIC), maker.make(replace(STATIC, is_compensated=True))):
        require_seven_bits(onnx.load_from_string(data))
    require_seven_bits(integers.to_dynamic(onnx.load_from_string(products), names))
    model = onnx.load_from_string(maker.make(STATIC))
    tensor = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1)
    weights = numpy_helper.to_array(tensor).copy()
    weights.flat[0] = 65
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    with pytest.raises(ExportError, match="65"):
        require_seven_bits(model)


def test_head_and_stem_stay_float(maker: Maker) -> None:
    model = onnx.load_from_string(maker.make(STATIC))
    wiring = Wiring.of(model)
    in_float = list(wiring.weighted())
    assert [node.op_type for node in in_float] == ["Conv", "Gemm"]
    np.testing.assert_array_equal(sorted(wiring.kernel(in_float[1]).ravel()), sorted(head_weights(maker.exact.form).ravel()))


def test_no_range_is_taken_before_its_relu6(maker: Maker) -> None:
    nodes = onnx.load_from_string(maker.make(STATIC)).graph.node
    maker_of = {output: node.op_type for node in nodes for output in node.output}
    assert "DequantizeLinear" not in [maker_of.get(node.input[0]) for node in nodes if node.op_type == "Clip"]
    assert [node.op_type for node in nodes].count("Clip") == 1  # the stem's; the others are the limits of 8 bits


def test_layers_kept_in_float_are_float_in_the_engine_too(maker: Maker, pictures: Any) -> None:
    """ONNX Runtime would quantize float kernels between integer layers by itself, with one scale for all channels."""
    data = maker.make(MIXED)
    as_written = answers(data, pictures, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    error = np.abs(as_written - answers(maker.exact.onnx, pictures)).mean()
    assert np.abs(answers(data, pictures) - as_written).mean() < 0.2 * error


def test_static_files_answer_nearly_as_fp32_and_keep_saliency_exact(maker: Maker, spec: Any, pictures: Any) -> None:
    found = parity.run_file("onnxruntime", maker.make(replace(STATIC, is_compensated=True)), pictures, spec=spec, what="a file")
    fp32 = parity.run_file("onnxruntime", maker.exact.onnx, pictures, spec=spec, what="a file")
    assert np.abs(found.probabilities - fp32.probabilities).mean() < 0.1
    parity.require_linear_head(found, head_weights(maker.exact.form), what="a file")


def test_dynamic_products_answer_nearly_as_fp32_and_are_fused(products: bytes, pictures: Any, tmp_path: Any) -> None:
    data = integers.to_dynamic(onnx.load_from_string(products), ("widen", "narrow")).SerializeToString()
    exact = answers(products, pictures)
    assert np.abs(answers(data, pictures) - exact).max() < 0.15 * np.abs(exact).max()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    ort.InferenceSession(data, options)
    kinds = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    assert kinds.count("DynamicQuantizeMatMul") == 2


def test_the_tanh_form_of_gelu_moves_answers_less_than_quantization_does(products: bytes, pictures: Any) -> None:
    model = onnx.load_from_string(products)
    exact, other = answers(products, pictures), answers(integers.with_tanh_gelu(model).SerializeToString(), pictures)
    rounded = answers(integers.to_dynamic(model, ("widen", "narrow")).SerializeToString(), pictures)
    assert 0 < np.abs(other - exact).max() < 0.2 * np.abs(rounded - exact).max()


def test_bytes_do_not_tell_the_number_of_processors(exact: Exact, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums on several threads differ in their last digits; one session that used more would show here."""
    threads: list[int] = []
    real = ort.InferenceSession

    def seen(model: bytes, options: Any, **rest: Any) -> Any:
        threads.append(options.intra_op_num_threads)
        return real(model, options, **rest)

    monkeypatch.setattr(ort, "InferenceSession", seen)
    recipe = replace(STATIC, is_compensated=True)
    once = make(exact, recipe, maker.representative)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(2):
        assert make(exact, recipe, maker.representative) == once
    assert set(threads) == {1}


def test_compensated_rounding_errs_less_than_nearest_on_correlated_inputs() -> None:
    rng = np.random.default_rng(0)
    columns = (rng.normal(size=(1, 600, 6)) @ rng.normal(size=(6, 32)) + 0.1 * rng.normal(size=(1, 600, 32))).astype(np.float32)
    kernel = rng.normal(size=(1, 32, 8)).astype(np.float32)
    limit = 15
    rounded = rounding._round_columns(kernel, columns, limit)
    scale = np.abs(rounded).max(axis=1, keepdims=True) / limit
    np.testing.assert_allclose(rounded / scale, np.round(rounded / scale), atol=1e-3)
    nearest = np.round(kernel / scale).clip(-limit, limit) * scale
    errors = [np.square(columns @ (one - kernel)).mean() for one in (rounded, nearest)]
    assert errors[0] < 0.5 * errors[1]


def test_compensation_moves_every_channel_back_to_its_mean(maker: Maker) -> None:
    model = onnx.load_from_string(maker.exact.onnx)
    names = [name for group, nodes in maker.groups.items() if group not in FLOAT for name in nodes]
    knees = maker.representative.tensors
    means = rounding.channel_means(model, knees)
    rounded = rounding.with_constants(model, rounding.round_to_grid(model, names, knees, limit=7, means=means))
    after = rounding.channel_means(rounded, knees)
    for tensor, expected in means.items():
        np.testing.assert_allclose(after[tensor], expected, atol=1e-3 * max(1.0, float(np.abs(expected).max())))


def test_carried_kernels_answer_as_the_rounded_graph(maker: Maker, pictures: Any, spec: Any) -> None:
    model = onnx.load_from_string(maker.exact.onnx)
    names = [name for group, nodes in maker.groups.items() if group not in FLOAT for name in nodes]
    means = rounding.channel_means(model, maker.representative.tensors)
    constants = rounding.round_to_grid(model, names, maker.representative.tensors, limit=31, means=means)
    rounded = rounding.with_constants(model, constants)
    carried = parity.run_network(rounding.carry_kernels(maker.exact.form, model, rounded), pictures)
    np.testing.assert_allclose(carried.logits, answers(rounded.SerializeToString(), pictures), atol=1e-3)


@pytest.mark.parametrize("method", ["dynamic", "static"])
def test_litert_keeps_its_head_in_float_and_takes_and_gives_floats(maker: Maker, pictures: Any, spec: Any, method: Any) -> None:
    from ai_edge_litert.interpreter import Interpreter

    data = maker.make(Recipe("litert", method))
    interpreter = Interpreter(model_content=data)
    kinds = {detail["index"]: detail["dtype"] for detail in interpreter.get_tensor_details()}
    steps = {step["op_name"]: step for step in interpreter._get_ops_details()}
    assert "FULLY_CONNECTED" not in steps
    assert all(kinds[index] is np.float32 for name in ("MUL", "SUM") for index in steps[name]["inputs"][:1])
    found = parity.run_file("litert", data, pictures, spec=spec, what="a file")
    fp32 = parity.run_file("onnxruntime", maker.exact.onnx, pictures, spec=spec, what="a file")
    assert np.abs(found.probabilities - fp32.probabilities).mean() < 0.1


@pytest.mark.slow
def test_litert_can_keep_groups_in_float(maker: Maker) -> None:
    whole = maker.make(Recipe("litert", "static"))
    assert len(maker.make(Recipe("litert", "static", float_groups=("stage_3.pointwise",)))) > 1.2 * len(whole)
    with pytest.raises(ExportError, match="dynamic range takes all layers"):
        maker.make(Recipe("litert", "dynamic", float_groups=("stage_3.pointwise",)))


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("litert", marks=pytest.mark.slow)])
def test_networks_that_take_bytes_are_quantized_alike(form: Any, spec: Any, pictures: Any, engine: Any) -> None:
    """The picture's grey levels may be given as uint8; the scaling inside the graph stays float."""
    taken, knees = replace(spec, dtype="uint8"), pictures.astype(np.uint8)
    exact = Exact.of(form, taken)
    maker = Maker(exact, RepresentativeSet(1, len(knees), "0" * 64, tuple(knee[np.newaxis] for knee in knees)))
    fp32 = parity.run_file("onnxruntime", exact.onnx, knees, spec=taken, what="a file")
    found = parity.run_file(
        engine, maker.make(Recipe(engine, "static", is_compensated=True, float_groups=FLOAT)), knees, spec=taken, what="a file"
    )
    assert np.abs(found.probabilities - fp32.probabilities).mean() < 0.1


def test_recipes_that_cannot_be_made_are_refused(maker: Maker) -> None:
    with pytest.raises(ExportError, match=r"no layer group stage_9\.pointwise; it has: stem"):
        maker.make(replace(STATIC, float_groups=("stage_9.pointwise",)))
    with pytest.raises(ExportError, match="leaves no layer"):
        maker.make(replace(STATIC, float_groups=tuple(maker.groups)))
    with pytest.raises(ExportError, match="fine-tuning needs knees"):
        maker.make(replace(STATIC, tuning_epochs=1))


def test_recipes_are_written_and_read_back() -> None:
    recipe = replace(MIXED, ranges="p99.9", is_compensated=True, tuning_epochs=2)
    assert parse_record(Recipe, json.loads(json.dumps(to_plain(recipe))), where="recipe") == recipe
