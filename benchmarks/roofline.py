"""How far is each engine from what the processor could do?

Peaks are measured in the same rounds as the models and by the same engine: a large product of matrices in floats and in
integers, and a product of one row with a matrix that no cache holds, which waits for memory alone.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.contest import Entry, hold
from benchmarks.engines import ENGINES, PACKAGES, own_rivals, write_knees
from benchmarks.places import Form, environments
from export.graph import INPUT_NAME, LOGITS
from export.onnx_writer import IR_VERSION, OPSET
from export.quantization.wiring import Wiring
from osteo_edge.device import processor
from osteo_edge.manifest import ENGINE_NAMES
from osteo_edge.records import to_plain
from train.runs.arrays import Doubles

if TYPE_CHECKING:
    from osteo_edge.bundle import Bundle

SCHEMA_VERSION: Literal[1] = 1
SIDE = 1024
WIDE = 16384  # one row of 4096 times 4096 x 16384 floats reads 268 MB
DEEP = 4096
PEAKS = ("float products", "8-bit products", "memory")


@dataclass(frozen=True)
class Work:
    """What one picture asks of a model.

    Attributes:
        products: multiplications with additions, in units of 10^9.
        weight_mb: constants of the fp32 graph.
        activation_mb: all inner tensors in floats, each written once.
    """

    products: float
    weight_mb: float
    activation_mb: float


@dataclass(frozen=True)
class Peak:
    """What the processor reached on one thread.

    Attributes:
        float_products, integer_products: 10^9 multiplications with additions a second.
        memory: GB read a second.
    """

    float_products: float
    integer_products: float
    memory: float


@dataclass(frozen=True)
class Row:
    """A model on an engine.

    Attributes:
        floor_ms: the longer of products at the peak of its precision and weights at the peak of memory, median of the rounds.
            An int8 file's layers that stay in float are counted as 8-bit ones.
        bound: which of the two it is.
        share: of the floor in the measured time, median of the rounds; 1 would be the floor itself.
    """

    form: Form
    bundle: str
    engine: str
    precision: str
    median_ms: float
    floor_ms: float
    bound: Literal["products", "memory"]
    share: float


@dataclass(frozen=True)
class Roofline:
    """What the command writes; ``work`` by bundle, ``peaks`` by form."""

    schema_version: Literal[1]
    processor: str
    rounds: int
    work: Mapping[str, Work]
    peaks: Mapping[str, Peak]
    rows: tuple[Row, ...]


@click.command("roofline")
@click.option("--bundle", "names", multiple=True, default=("knee-mobilenet_v2",), show_default=True, help="May be given again.")
@click.option("--rounds", type=click.IntRange(3), default=11, show_default=True)
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path))
def command(names: Sequence[str], rounds: int, target: Path | None) -> None:
    """Peak of products and memory on one thread, and each engine's distance from it."""
    from osteo_edge.bundle import open_bundle
    from osteo_edge.errors import OsteoEdgeError

    try:
        found = measure([open_bundle(name) for name in names], rounds=rounds)
    except OsteoEdgeError as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(found))
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(to_plain(found), indent=1) + "\n", encoding="utf-8")


def measure(bundles: Sequence[Bundle], *, rounds: int) -> Roofline:
    """Peaks and models in one contest, in every form of the processor."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roofline-")))
        places = stack.enter_context(environments([PACKAGES[engine] for engine in ENGINE_NAMES]))
        keyed = list(_entries(bundles, places, folder))
        with click.progressbar(length=rounds + 1, label="rounds", file=sys.stderr) as bar:
            timings = hold([entry for *_, entry in keyed], rounds=rounds, seconds=0.2, on_round=lambda: bar.update(1))
    times = {key[:4]: timings[key[4].name].total for key in keyed}
    peaks = {form: peaks_of({name: times[form, "", "onnxruntime", name] for name in PEAKS}) for form in places}
    work = {bundle.manifest.name: work_of(bundle) for bundle in bundles}
    rows = [
        row_of(form, bundle, engine, precision, milliseconds, work[bundle], peaks[form])
        for (form, bundle, engine, precision), milliseconds in times.items()
        if bundle
    ]
    medians = {form: _median(of_form) for form, of_form in peaks.items()}
    return Roofline(SCHEMA_VERSION, processor().model, rounds, work, medians, tuple(rows))


_Keyed = tuple[Form, str, str, str, Entry]


def _entries(bundles: Sequence[Bundle], places: Mapping[Form, Mapping[str, str]], folder: Path) -> Iterator[_Keyed]:
    """Form, bundle (empty for a peak), engine, precision (or the peak's name) and what runs it."""
    probes = write_probes(folder)
    for form, variables in places.items():
        for name, (model, noise) in probes.items():
            yield (
                form,
                "",
                "onnxruntime",
                name,
                Entry(f"{form} {name}", (sys.executable,), variables, "onnxruntime", (model,), (noise,), 1),
            )
        for bundle in bundles:
            place = folder / f"{form}-{bundle.manifest.name}"
            place.mkdir()
            shown = write_knees(bundle, None, place)
            for rival in own_rivals(bundle):
                name = f"{form} {bundle.manifest.name} {rival.name}"
                entry = Entry(name, (sys.executable,), variables, rival.engine, rival.files, shown, 1)
                yield form, bundle.manifest.name, rival.engine, rival.precision, entry


def write_probes(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Peak's name -> a model that reaches it, and what the model is shown."""
    draw = np.random.default_rng(0)
    product = helper.make_node("MatMul", [INPUT_NAME, "weights"], [LOGITS])
    of_bytes = [
        helper.make_node("Cast", [INPUT_NAME], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("MatMulInteger", ["bytes", "weights"], ["sums"]),
        helper.make_node("Cast", ["sums"], [LOGITS], to=TensorProto.FLOAT),
    ]
    models = (
        _product([product], draw.normal(0, 1, (SIDE, SIDE)).astype(np.float32), rows=SIDE),
        _product(of_bytes, draw.integers(-64, 65, (SIDE, SIDE)).astype(np.int8), rows=SIDE),
        _product([product], draw.random((DEEP, WIDE), np.float32), rows=1),
    )
    made: dict[str, tuple[Path, Path]] = {}
    for name, model in zip(PEAKS, models, strict=True):
        path, shown = folder / f"{name}.onnx", folder / f"{name}.npy"
        path.write_bytes(model.SerializeToString())
        sides = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
        np.save(shown, draw.integers(0, 256, sides).astype(np.float32))
        made[name] = path, shown
    return made


def _product(nodes: Sequence[onnx.NodeProto], weights: NDArray[np.generic], *, rows: int) -> onnx.ModelProto:
    deep, columns = weights.shape
    graph = helper.make_graph(
        list(nodes),
        "probe",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, (1, 1, rows, deep))],
        [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, (1, 1, rows, columns))],
        [numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def peaks_of(milliseconds: Mapping[str, Doubles]) -> list[Peak]:
    """From the probes' times, (rounds,) each, the peaks of every round."""
    cube, read = SIDE**3 / 1e6, DEEP * WIDE * 4 / 1e6
    floats, integers, memory = (milliseconds[name] for name in PEAKS)
    return [Peak(cube / one, cube / two, read / three) for one, two, three in zip(floats, integers, memory, strict=True)]


def _median(peaks: Sequence[Peak]) -> Peak:
    return Peak(
        round(statistics.median(one.float_products for one in peaks), 1),
        round(statistics.median(one.integer_products for one in peaks), 1),
        round(statistics.median(one.memory for one in peaks), 1),
    )


def work_of(bundle: Bundle) -> Work:
    """All members' fp32 graphs, counted node by node."""
    products = weights = activations = 0.0
    for member in bundle.manifest.members:
        wiring = Wiring.of(onnx.load_from_string(bundle.read(member.files["onnxruntime"]["fp32"])))
        for node in wiring.nodes:
            made = math.prod(wiring.shapes[node.output[0]])
            activations += 4 * made
            if wiring.is_weighted(node):
                products += made * products_of_one(node.op_type, wiring.kernel(node).shape)
        weights += sum(4 * value.size for value in wiring.constants.values())
    return Work(round(products / 1e9, 5), round(weights / 1e6, 3), round(activations / 1e6, 3))


def products_of_one(operator: str, kernel: tuple[int, ...]) -> int:
    """Products behind one value of what a weighted node gives."""
    return math.prod(kernel[1:]) if operator == "Conv" else kernel[0]


def row_of(
    form: Form, bundle: str, engine: str, precision: str, milliseconds: Doubles, work: Work, peaks: Sequence[Peak]
) -> Row:
    """A model beside its floor, round by round, so that what else the machine does hits both alike.

    Args:
        milliseconds: (rounds,).
        peaks: of the same rounds.
    """
    floors = [floor_ms(work, precision, peak) for peak in peaks]
    longest = np.array([max(floor) for floor in floors])
    return Row(
        form=form,
        bundle=bundle,
        engine=engine,
        precision=precision,
        median_ms=round(float(np.median(milliseconds)), 3),
        floor_ms=round(float(np.median(longest)), 3),
        bound="products" if statistics.median(one - other for one, other in floors) >= 0 else "memory",
        share=round(float(np.median(longest / milliseconds)), 3),
    )


def floor_ms(work: Work, precision: str, peak: Peak) -> tuple[float, float]:
    """What products and what reading the weights once take at least."""
    speed = peak.integer_products if precision == "int8" else peak.float_products
    bytes_of_one = 1 if precision == "int8" else 4  # half precision is unpacked to floats when it is loaded
    return work.products / speed * 1e3, work.weight_mb * bytes_of_one / 4 / peak.memory


def table(found: Roofline) -> str:
    """Peaks, work and rows."""
    lines = [f"{found.processor}, one thread, {found.rounds} rounds, interleaved", ""]
    for form, peak in found.peaks.items():
        lines.append(
            f"{form:<14} {peak.float_products:.0f} and, in 8 bits, {peak.integer_products:.0f} billion products a second; "
            f"{peak.memory:.1f} GB/s"
        )
    lines.append("")
    for bundle, work in found.work.items():
        lines.append(
            f"{bundle:<22} {work.products:.3g} billion products, {work.weight_mb:.3g} MB of weights, "
            f"{work.activation_mb:.3g} MB of activations"
        )
    lines += [
        "",
        f"{'form':<14} {'bundle':<20} {'engine':<13} {'form':<5} {'ms':>8} {'floor':>8} {'bound by':<9} {'of peak':>7}",
    ]
    for row in found.rows:
        lines.append(
            f"{row.form:<14} {row.bundle:<20} {ENGINES[row.engine]:<13} {row.precision:<5} {row.median_ms:>8.2f} "
            f"{row.floor_ms:>8.3f} {row.bound:<9} {row.share:>7.1%}"
        )
    return "\n".join(lines)
