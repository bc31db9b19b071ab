"""One small export that all tests of this room look at: the lower half of MobileNetV2 0.35 at 96 x 64 with random weights."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
DATA_CARD = ROOT / "export/data_cards/knee-xray-osteoporosis-database.toml"
LABELS = ("normal", "osteopenia", "osteoporosis")
BACKBONE = "mobilenet_v2_0.35@block_6_expand_relu"
REGION = {"name": "knee", "half_width": 0.8, "above": 1.1, "below": 1.1}
INPUT = {
    "height_px": 96,
    "width_px": 64,
    "dtype": "float32",
    "layout": "NHWC",
    "value_range": [0.0, 255.0],
    "low_percentile": 1.0,
    "high_percentile": 99.0,
}


@pytest.fixture(scope="session")
def track() -> Callable[[Sequence[Any], str], Iterable[Any]]:
    """No progress bar."""
    return lambda items, label: items


def patterns() -> NDArray[np.float32]:
    """Pictures (N, 96, 64, 1) that differ as much as pictures can."""
    down, right = np.mgrid[:96, :64].astype(np.float32)
    disc = ((down - 48) ** 2 + (right - 32) ** 2 < 600) * 255.0
    noise = np.random.default_rng(1).uniform(0, 255, (96, 64))
    return np.stack([noise, down * 2, right * 4, disc, 255 - disc, np.zeros((96, 64))]).astype(np.float32)[..., np.newaxis]


@pytest.fixture(scope="session")
def network() -> Any:
    """Random weights, rounded as training leaves them, and a head that makes its answers depend on the picture.

    A network of plain random weights gives nearly the same answer for all pictures, and would hide a broken file.
    """
    return made_network(len(LABELS))


def made_network(labels: int) -> Any:
    keras = pytest.importorskip("keras")
    from export.parity import run_network
    from train.networks.network import build_network, round_to_float16, set_head

    keras.utils.set_random_seed(7)
    built = build_network(BACKBONE, height_px=96, width_px=64, labels=labels)
    rng = np.random.default_rng(7)
    for layer in built.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            # A power of two, so that folding keeps the kernels' values of half precision, as for trained networks.
            gamma, variance = np.full(size, 2.0), np.full(size, 1 - layer.epsilon)
            layer.set_weights([gamma, rng.normal(0, 0.1, size), rng.normal(0, 0.05, size), variance])
        elif layer.weights:
            layer.set_weights([1.4 * weight for weight in layer.get_weights()])
    round_to_float16(built)
    pooled = run_network(built, patterns()).pooled
    kernel = rng.normal(size=(pooled.shape[1], labels))
    kernel /= (pooled @ kernel).std(axis=0)
    set_head(built, kernel, -(pooled @ kernel).mean(axis=0))
    round_to_float16(built)
    assert run_network(built, patterns()).probabilities.std(axis=0).min() > 0.3 / labels
    return built


@pytest.fixture(scope="session")
def pictures() -> NDArray[np.float32]:
    return patterns()


@pytest.fixture(scope="session")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few synthetic pictures, two and more of each label in the order of their digests."""
    from train.synthetic import write_dataset

    return write_dataset(tmp_path_factory.mktemp("data"), count=7, seed=3, layout="one_knee", scale=0.5).parent


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other synthetic pictures."""
    from train.synthetic import write_dataset

    return write_dataset(tmp_path_factory.mktemp("unlabelled"), count=6, seed=11, layout="one_knee", scale=0.5).parent


@pytest.fixture(scope="session")
def finder_file() -> Path:
    return ROOT / "train" / "results" / "knee-finder" / "finder.npz"


@pytest.fixture(scope="session")
def finder_bytes(finder_file: Path) -> bytes:
    return finder_file.read_bytes()


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, network: Any, radiographs: Path, finder_bytes: bytes) -> Path:
    """What a training run leaves; it was trained on all pictures but the first, in two folds of one and the same network."""
    from train.fitting.fold_networks import write_fold_networks
    from train.networks.network import weights_of

    folder = tmp_path_factory.mktemp("runs") / "knee-tiny"
    folder.mkdir()
    np.savez_compressed(folder / "weights.npz", **weights_of(network))
    write_fold_networks(folder, ["knee", "knee"], [weights_of(network)] * 2)
    scores = _scores(network, radiographs, finder_bytes)
    records = {
        "run.json": {"backbone": BACKBONE, "labels": LABELS, "seed": 1},
        "regions.json": {"chosen": "knee", "candidates": [{"region": REGION, "input": INPUT}]},
        "oof.json": scores,
        "metrics.json": _metrics(),
    }
    for name, record in records.items():
        (folder / name).write_text(json.dumps(record))
    (folder / "config.toml").write_text('weights = "random"\n')
    return folder


def _scores(network: Any, radiographs: Path, finder_bytes: bytes) -> dict[str, Any]:
    """``oof.json``: what the network says of all pictures but the first."""
    from export.parity import run_network
    from export.radiographs import View, knees, read_cases
    from osteo_edge.finder.joint_finder import JointFinder
    from osteo_edge.manifest import InputSpec, RegionProfile
    from osteo_edge.records import parse_record

    view = View(parse_record(RegionProfile, REGION, where="region"), parse_record(InputSpec, INPUT, where="input"))
    finder = JointFinder.from_bytes(finder_bytes)
    (cases,) = read_cases(radiographs, finder, [view], track=lambda items, label: items).values()
    scored = sorted(cases, key=lambda case: case.digest)[1:]
    logits = [run_network(network, knees([case])).logits.mean(axis=0).tolist() for case in scored]
    people = {
        case.digest: {"label": LABELS[place % 3], "group": hashlib.sha256(case.digest.encode()).hexdigest()}
        for place, case in enumerate(scored)
    }
    folds = [place // 3 for place in range(len(scored))]
    return {
        "schema_version": 2,
        "labels": LABELS,
        "radiographs": people,
        "systems": {"model": {"folds": [folds], "logits": [logits]}},
    }


def _metrics() -> dict[str, Any]:
    figures = {
        name: {"value": 0.6, "low": 0.55, "high": 0.7}
        for name in (
            "balanced_accuracy",
            "macro_auc",
            "auc_low_density",
            "auc_osteoporosis",
            *(f"recall_{one}" for one in LABELS),
        )
    }
    behind, level = {"value": -0.2, "low": -0.3, "high": -0.1}, {"value": 0.0, "low": -0.1, "high": 0.1}
    ahead = {"value": 0.1, "low": 0.05, "high": 0.2}
    return {
        "method": "5 folds by patient group",
        "radiographs": {"scored_by_label": dict.fromkeys(LABELS, 1), "without_knee": 0},
        "model": figures,
        "baselines": {"majority": figures, "age_sex": figures},
        "model_less_baseline": {
            "age_sex": {"macro_auc": behind},
            "frozen_features": {"macro_auc": level},
            "file_metadata": {"macro_auc": ahead},
            "border_ring": {"macro_auc": ahead},
        },
        "conformal": [
            {"coverage": 0.8, "min_probabilities": [0.2] * 3, "calibration_size": 3},
            {"coverage": 0.9, "min_probabilities": [0.1] * 3, "calibration_size": 3},
        ],
    }


@pytest.fixture(scope="session")
def finder(finder_bytes: bytes) -> Any:
    from osteo_edge.finder.joint_finder import JointFinder

    return JointFinder.from_bytes(finder_bytes)


@pytest.fixture(scope="session")
def plan(run_folder: Path, radiographs: Path, unlabelled: Path, finder: Any, track: Any) -> Any:
    """What a search finds within a budget that nearly anything keeps to; of the ways it starts from, one an engine."""
    from export.planning import Task, make_plan
    from export.plans import Budget, Recipe
    from export.quantization import search
    from export.source import load_source

    task = Task(load_source(run_folder), finder, radiographs, unlabelled, Budget(0.5, 0.9), "size")
    ways = {
        "onnxruntime": Recipe("onnxruntime", "static", float_groups=("stem", "head")),
        "litert": Recipe("litert", "dynamic"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[search.__module__], "_starts", lambda asked, engine: [ways[engine]])
        return make_plan(task, track)


@pytest.fixture(scope="session")
def material(run_folder: Path, radiographs: Path, unlabelled: Path, finder: Any, finder_bytes: bytes, plan: Any) -> Any:
    from export.pipeline import Material
    from export.reference import draw_reference
    from export.source import load_source

    reference = draw_reference(finder)
    return Material(
        load_source(run_folder),
        finder_bytes,
        reference,
        radiographs,
        DATA_CARD,
        coverage=0.9,
        plan=plan,
        unlabelled=unlabelled,
    )


@pytest.fixture(scope="session")
def exported(material: Any, track: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The exported bundle; tests that change it make a copy."""
    from export.pipeline import export_bundle

    return export_bundle(material, tmp_path_factory.mktemp("bundles") / "knee-tiny", force=False, track=track)


@pytest.fixture(scope="session")
def form(network: Any) -> Any:
    from export.graph import inference_form

    return inference_form(network)


@pytest.fixture(scope="session")
def spec(material: Any) -> Any:
    return material.source.runs[0].input
