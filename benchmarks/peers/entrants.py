"""Who takes part in ``benchmarks peers``: osteo-edge with each bundle, and the same networks through other means."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.contest import ROOT
from benchmarks.engines import ENGINES, peer_rivals, write_knees
from osteo_edge.manifest import InputSpec, RegionProfile

if TYPE_CHECKING:
    import keras

    from osteo_edge.bundle import Bundle
    from train.runs.folder import Run

OWN = "osteo_edge"
# Either will do.
TENSORFLOW = "tensorflow-cpu|tensorflow"
OPENCV = "opencv-python-headless|opencv-python"
PACKAGES: Mapping[str, tuple[str, ...]] = {
    OWN: ("osteo-edge",),
    "keras": (TENSORFLOW, "keras", OPENCV),
    "tensorflow": (TENSORFLOW, "keras", OPENCV),
    "torch": ("torch", "keras", OPENCV),
    "onnxruntime": ("onnxruntime", OPENCV),
    "litert": ("ai-edge-litert", OPENCV),
    "openvino": ("openvino", OPENCV),
}
_OPENVINO_FP32 = "OpenVINO fp32, of the onnx file"
# The fastest of those that `benchmarks engines` makes, where the network has no LayerNorm and where it has.
_OPENVINO_INT8 = "OpenVINO int8, of the tflite file"
_OPENVINO_INT8_OF_TRANSFORMERS = "OpenVINO int8, as transformer, of the onnx file"
_GROUPED_FAMILY = "convnext"


@dataclass(frozen=True)
class Package:
    """A distribution that one entrant needs: its version, and MB (10^6 bytes) of it and of each that it needs in turn."""

    name: str
    version: str
    mb: Mapping[str, float]


@dataclass(frozen=True)
class Entrant:
    """One way to screen a picture file.

    Attributes:
        network: name of the run, and of the bundle.
        engine: as ``benchmarks.peers.worker`` names it, ``osteo_edge`` for the bundle itself.
        precision: for osteo-edge, what ``auto`` means here.
        model: file, or folder of the bundle.
        channels: of the input that the file takes.
        python: that runs it.
        also: names of packages that it needs beyond those of its engine.
        packages: what has to be installed for it.
    """

    name: str
    network: str
    engine: str
    precision: str
    model: Path
    channels: int
    region: RegionProfile
    spec: InputSpec
    python: str = sys.executable
    also: tuple[str, ...] = ()
    packages: tuple[Package, ...] = ()

    @property
    def is_own(self) -> bool:
        return self.engine == OWN


@dataclass(frozen=True)
class Field:
    """All that takes part; ``left_out``: name -> why it does not."""

    entrants: tuple[Entrant, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def gather(
    bundles: Sequence[Bundle], runs: Sequence[Run], interpreters: Sequence[str], data: Path | None, folder: Path
) -> Field:
    """Make the peers' files and find an interpreter for each.

    Args:
        runs: whose networks Keras, TensorFlow and PyTorch run.
        interpreters: the first that has an entrant's packages runs it.
        data: radiographs that OpenVINO's int8 ranges come from.
        folder: where files go.
    """
    offered = {python: look_up(python) for python in interpreters}
    left_out: dict[str, str] = {}
    found: list[Entrant] = []
    for candidate in (*_of_bundles(bundles, left_out), *_of_runs(runs, folder, left_out)):
        _place(candidate, offered, found, left_out)
    for bundle in bundles:
        if len(bundle.manifest.members) == 1:
            for candidate in _of_openvino(bundle, offered, data, folder, left_out):
                _place(candidate, offered, found, left_out)
    order = {bundle.manifest.name: place for place, bundle in enumerate(bundles)}
    ranked = sorted(found, key=lambda one: (not one.is_own, order.get(one.network, len(order))))
    return Field(tuple(ranked), left_out)


def look_up(python: str) -> dict[str, Package]:
    """What an interpreter has of all that any entrant needs, by distribution.

    Raises:
        ClickException: it is none.
    """
    wanted = sorted({name for names in (*PACKAGES.values(), ("nncf",)) for each in names for name in each.split("|")})
    done = subprocess.run(
        [python, "-m", "benchmarks.installed", *wanted], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise click.ClickException(f"{python} is no Python that can be asked what it has; name another with --peers")
    told: Mapping[str, Any] = json.loads(done.stdout)
    return {name: Package(name, one["version"], one["mb"]) for name, one in told.items() if one}


def _place(
    candidate: Entrant, offered: Mapping[str, Mapping[str, Package]], found: list[Entrant], left_out: dict[str, str]
) -> None:
    """Give the candidate to the first interpreter that has what it needs, or say what is missing."""
    needed = (*PACKAGES[candidate.engine], *candidate.also)
    for python, packages in offered.items():
        chosen = [next((packages[one] for one in names.split("|") if one in packages), None) for names in needed]
        if all(chosen):
            found.append(replace(candidate, python=python, packages=tuple(one for one in chosen if one)))
            return
    have = set.union(set(), *offered.values())
    absent = [names for names in needed if not have & set(names.split("|"))] or needed
    left_out[candidate.name] = f"no interpreter has {' and '.join(names.replace('|', ' or ') for names in absent)}"


def _of_bundles(bundles: Sequence[Bundle], left_out: dict[str, str]) -> Iterator[Entrant]:
    """osteo-edge itself, and plain scripts on the bundle's own files."""
    for bundle in bundles:
        manifest = bundle.manifest
        member = manifest.members[0]
        yield _own(bundle)
        if len(manifest.members) > 1:
            left_out[f"scripts, {manifest.name}"] = "a plain script runs one network, and this bundle has several"
            continue
        for engine, precisions in member.accepted.items():
            for precision in precisions:
                path = member.files[engine][precision]
                bundle.read(path)
                name = f"{ENGINES[engine]} {precision} script, {manifest.name}"
                yield Entrant(name, manifest.name, engine, precision, bundle.root / path, 1, member.region, member.input)


def _own(bundle: Bundle) -> Entrant:
    """osteo-edge with what ``auto`` means on this machine."""
    from osteo_edge import OsteoPredictor

    name, member = bundle.manifest.name, bundle.manifest.members[0]
    with OsteoPredictor(bundle.root) as predictor:
        model = predictor.model
    also = ("ai-edge-litert",) if model.engine == "litert" else ()
    told = f"osteo-edge, {name}"
    return Entrant(told, name, OWN, model.precision, bundle.root, 1, member.region, member.input, also=also)


def _of_openvino(
    bundle: Bundle, offered: Mapping[str, Mapping[str, Package]], data: Path | None, folder: Path, left_out: dict[str, str]
) -> Iterator[Entrant]:
    manifest = bundle.manifest
    member = manifest.members[0]
    exact = member.files.get("onnxruntime", {}).get("fp32")
    name = f"OpenVINO fp32 script, {manifest.name}"
    if exact:
        yield Entrant(name, manifest.name, "openvino", "fp32", bundle.root / exact, 1, member.region, member.input)
    reduced = f"OpenVINO int8 script, {manifest.name}"
    python = next((python for python, packages in offered.items() if {"openvino", "nncf"} <= set(packages)), None)
    if python is None:
        left_out[reduced] = "no interpreter has openvino and nncf"
        return
    if data is None:
        left_out[reduced] = "its int8 ranges are measured on real knees; name some with --data"
        return
    wanted = _OPENVINO_INT8_OF_TRANSFORMERS if _GROUPED_FAMILY in member.name else _OPENVINO_INT8
    place = folder / f"openvino-{manifest.name}"
    place.mkdir()
    try:
        knees = write_knees(bundle, data, place)
        (rival,) = peer_rivals(bundle, knees, python, place, wanted=[wanted])
    except (click.ClickException, ValueError) as error:
        left_out[reduced] = str(error)
        return
    yield Entrant(reduced, manifest.name, "openvino", "int8", rival.files[0], 1, member.region, member.input)


def _of_runs(runs: Sequence[Run], folder: Path, left_out: dict[str, str]) -> Iterator[Entrant]:
    """The trained networks as Keras has them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for run in runs:
        try:
            yield from _of_run(run, folder)
        except ImportError as error:
            why = f"{error.name} is not installed here, which makes their files"
            left_out[f"Keras, TensorFlow and PyTorch, {run.folder.name}"] = why


def _of_run(run: Run, folder: Path) -> Iterator[Entrant]:
    from train.networks.backbones import find_backbone

    name, network = run.folder.name, run.network()
    plain = folder / f"{name}.keras"
    as_user_has_it(network).save(plain)
    form = ""
    if find_backbone(run.backbone).family == _GROUPED_FAMILY:
        form = ", depthwise"
        grouped = folder / f"{name}-grouped.keras"
        grouped_convnext(network, run.backbone).save(grouped)
        told = f"Keras predict, {name}, as keras.applications has it"
        yield Entrant(told, name, "keras", "fp32", grouped, 3, run.region, run.input)
    for engine, way in (("keras", "Keras predict"), ("tensorflow", "TensorFlow graph"), ("torch", "PyTorch by Keras")):
        yield Entrant(f"{way}, {name}{form}", name, engine, "fp32", plain, 1, run.region, run.input)


def as_user_has_it(network: keras.Model) -> keras.Model:
    """The trained network with its logits as only output."""
    import keras

    return keras.Model(network.input, network.output["logits"])


def grouped_convnext(network: keras.Model, backbone: str) -> keras.Model:
    """The same function as ``network``, a ConvNeXt of ``train.networks.architectures``, built of ``keras.applications``.

    Returns:
        (N, H, W, 3) of grey levels 0 to 255 to logits (N, labels); the scaling is Keras' own normalization layer.
    """
    import keras

    from train.networks.architectures.convnext import own_name
    from train.networks.backbones import find_backbone

    _, height, width, _ = network.input_shape
    builder = getattr(keras.applications, str(find_backbone(backbone).weights_options["keras_name"]))
    trunk = builder(include_top=False, weights=None, input_shape=(height, width, 3))
    head = network.get_layer("head")
    pooled = keras.layers.GlobalAveragePooling2D()(trunk.output)
    logits = keras.layers.Dense(head.units, name="head")(pooled)
    whole = keras.Model(trunk.input, logits)
    whole.get_layer("head").set_weights(head.get_weights())
    for layer in trunk._flatten_layers(include_self=False):
        if isinstance(layer, keras.Model) or not layer.trainable_weights:
            continue
        donor = network.get_layer(own_name(layer.name, prefix=trunk.name)).get_weights()
        shapes = [tuple(variable.shape) for variable in layer.weights]
        layer.set_weights([_laid_out(array, shape) for array, shape in zip(donor, shapes, strict=True)])
    return whole


def _laid_out(array: Any, shape: tuple[int, ...]) -> Any:
    """Depthwise kernels are (7, 7, channels, 1) here and (7, 7, 1, channels) there; dense ones are convolutions here."""
    return array.transpose(0, 1, 3, 2) if array.ndim == len(shape) and array.shape != shape else array.reshape(shape)
