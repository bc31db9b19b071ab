"""Bundles of several members: how their scores become one, what is shared, and when a cascade stops."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from osteo_edge import Laterality, OsteoPredictor, open_bundle
from osteo_edge.bundle import EMBEDDED_FOLDER
from osteo_edge.decision.ensemble import combine, is_sure, shares
from osteo_edge.decision.explanation import laid_together, union
from osteo_edge.decision.scores import softmax
from osteo_edge.errors import EngineUnavailableError, IncompatibleBundleError, IntegrityError, ManifestError
from osteo_edge.joints import Box
from osteo_edge.manifest import DenseLayer, Ensemble, Tree
from osteo_edge.manifest_rules import MAX_NODES, check_ensemble
from osteo_edge.model import LoadingModel
from osteo_edge.records import to_plain
from osteo_edge.selftest import run_self_test
from tests.bundles import DENSITY
from tests.making import LEG, make_ensemble, rewrite_manifest

LOGITS = np.array([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]])
STUMP = Tree(
    feature=(4, -1, -1),
    threshold=(0.5, 0.0, 0.0),
    left=(1, -1, -1),
    right=(2, -1, -1),
    values=((), (1.0, 0.0, 0.0), (0.0, 0.2, 0.8)),
)
LEAF = Tree(feature=(-1,), threshold=(0.0,), left=(-1,), right=(-1,), values=((0.5, 0.25, 0.25),))
EYE = tuple(tuple(float(row == column) for column in range(3)) for row in range(3))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded member twice, once looking at the knee and once at the leg."""
    folder = Path(shutil.copytree(EMBEDDED_FOLDER / DENSITY, tmp_path_factory.mktemp("bundles") / "pair"))
    return make_ensemble(folder, {}, regions=(LEG,))


def variant(pair: Path, target: Path, **ensemble: Any) -> Path:
    folder = Path(shutil.copytree(pair, target))
    kind = {"weights": [], "layers": [], "exits": []} | ensemble
    return rewrite_manifest(folder, lambda manifest: manifest.update(ensemble=kind))


def alone(pair: Path, target: Path, index: int) -> Path:
    """The bundle of one of its members."""

    def keep_one(manifest: dict[str, Any]) -> None:
        manifest["members"] = [manifest["members"][index]]

    return rewrite_manifest(Path(shutil.copytree(pair, target)), keep_one)


def values(probabilities: Any) -> list[float]:
    return list(probabilities.values())


def test_the_mean_of_two_networks_is_the_mean_of_their_probabilities(pair: Path, tmp_path: Path, example: Path) -> None:
    both = OsteoPredictor(pair).predict(example)
    first, second = (OsteoPredictor(alone(pair, tmp_path / str(index), index)).predict(example) for index in (0, 1))
    assert values(first.probabilities) == pytest.approx(
        values(OsteoPredictor(DENSITY).predict(example).probabilities), abs=1e-6
    )
    assert np.abs(np.subtract(values(first.probabilities), values(second.probabilities))).max() > 0.01
    expected = np.mean([values(first.probabilities), values(second.probabilities)], axis=0)
    np.testing.assert_allclose(values(both.probabilities), expected, atol=1e-5)
    np.testing.assert_allclose(values(both.knees[0].probabilities), expected, atol=1e-5)
    assert (both.members_answered, both.model.members, first.model.members) == (2, 2, 1)


def test_weights_count(pair: Path, tmp_path: Path, example: Path) -> None:
    first = OsteoPredictor(alone(pair, tmp_path / "one", 0)).predict(example)
    weighted = OsteoPredictor(variant(pair, tmp_path / "w", kind="weighted", weights=[1.0, 0.0])).predict(example)
    np.testing.assert_allclose(values(weighted.probabilities), values(first.probabilities), atol=1e-5)


def test_a_cascade_stops_when_it_is_sure_and_loads_no_more(pair: Path, tmp_path: Path, example: Path) -> None:
    folder = variant(pair, tmp_path / "sure", kind="cascade", exits=[0.0])
    second = next((folder / "members").glob("2_*fp32.onnx"))
    second.write_bytes(b"never read")
    with OsteoPredictor(folder, engine="onnxruntime", precision="fp32") as predictor:
        prediction = predictor.predict(example, explain=True)
    first = OsteoPredictor(alone(pair, tmp_path / "one", 0), engine="onnxruntime", precision="fp32").predict(
        example, explain=True
    )
    assert (prediction.members_answered, prediction.model.members) == (1, 2)
    np.testing.assert_allclose(values(prediction.probabilities), values(first.probabilities), atol=1e-6)
    assert prediction.knees[0].box == first.knees[0].box
    np.testing.assert_allclose(prediction.knees[0].saliency, first.knees[0].saliency, atol=1e-4)


def test_an_unsure_cascade_asks_the_next_which_is_checked_then(pair: Path, tmp_path: Path, example: Path) -> None:
    folder = variant(pair, tmp_path / "unsure", kind="cascade", exits=[1.0])
    prediction = OsteoPredictor(folder).predict(example)
    assert prediction.members_answered == 2
    np.testing.assert_allclose(values(prediction.probabilities), values(OsteoPredictor(pair).predict(example).probabilities))
    next((folder / "members").glob("2_*fp32.onnx")).write_bytes(b"changed")
    with pytest.raises(IntegrityError):
        OsteoPredictor(folder, engine="onnxruntime").predict(example)


def test_pixels_are_prepared_once_for_members_that_share_them(
    pair: Path, example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from osteo_edge import respondent as pipeline

    counted: list[object] = []
    real = pipeline.prepare_knee
    monkeypatch.setattr(pipeline, "prepare_knee", lambda *arguments: counted.append(arguments) or real(*arguments))
    OsteoPredictor(pair).predict(example)
    assert len(counted) == 2
    twin = Path(shutil.copytree(EMBEDDED_FOLDER / DENSITY, tmp_path / "twin"))
    OsteoPredictor(make_ensemble(twin, {}, regions=(None, None))).predict(example)
    assert len(counted) == 3


def test_a_damaged_second_member_is_told_before_any_answer(pair: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pair, tmp_path / "damaged"))
    next((folder / "members").glob("2_*fp32.onnx")).write_bytes(b"changed")
    with pytest.raises(IntegrityError):
        OsteoPredictor(folder, engine="onnxruntime")


def test_the_explanation_lies_over_what_all_networks_saw(pair: Path, example: Path) -> None:
    (knee,) = OsteoPredictor(pair).predict(example, explain=True).knees
    (own,) = OsteoPredictor(DENSITY).predict(example, explain=True).knees
    assert knee.box.height > own.box.height
    assert (knee.box.y0 <= own.box.y0, knee.box.y1 >= own.box.y1) == (True, True)
    assert knee.saliency is not None
    assert max(knee.saliency.shape) == 64
    assert np.isfinite(knee.saliency).all()


def test_precision_is_one_wish_for_all(pair: Path, tmp_path: Path) -> None:
    def drop_int8(manifest: dict[str, Any]) -> None:
        first, second = manifest["members"]
        second["files"] = {"onnxruntime": {"fp32": second["files"]["onnxruntime"]["fp32"]}}
        second |= {"accepted": {"onnxruntime": ["fp32"]}, "default_precision": {"onnxruntime": "fp32"}}
        first["files"]["onnxruntime"]["int8"] = first["files"]["onnxruntime"]["fp32"]
        first["accepted"]["onnxruntime"] = ["fp32", "int8"]
        first["default_precision"]["onnxruntime"] = "int8"
        manifest["choices"] = []

    folder = rewrite_manifest(Path(shutil.copytree(pair, tmp_path / "less")), drop_int8)
    assert OsteoPredictor(folder).model.precision == "mixed"
    assert OsteoPredictor(folder, precision="fp32").model.precision == "fp32"
    for wish in ({"precision": "int8"}, {"engine": "litert"}):
        with pytest.raises(IncompatibleBundleError, match="member_2 of this bundle has no"):
            LoadingModel(folder, **wish)


def test_the_engine_is_one_that_all_members_have(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osteo_edge.engines.select.is_installed", lambda engine: engine == "litert")
    assert {choice.engine for choice in LoadingModel(pair).choices} == {"litert"}
    monkeypatch.setattr("osteo_edge.engines.select.is_installed", lambda engine: False)
    with pytest.raises(EngineUnavailableError, match="pip install"):
        LoadingModel(pair)


def test_the_self_test_runs_every_file_of_every_member(tmp_path: Path) -> None:
    folder = make_ensemble(Path(shutil.copytree(EMBEDDED_FOLDER / DENSITY, tmp_path / "twin")), {})
    results = run_self_test(open_bundle(folder))
    members = open_bundle(folder).manifest.members
    files = sum(len(by_precision) for member in members for by_precision in member.files.values())
    assert [result.status for result in results] == ["passed"] * (1 + files)


def _remove_engine(engine: str, member: int) -> Callable[[dict[str, Any]], None]:
    def remove(manifest: dict[str, Any]) -> None:
        for field in ("files", "accepted", "default_precision"):
            manifest["members"][member][field].pop(engine)

    return remove


@pytest.mark.parametrize(
    ("ensemble", "named"),
    [
        ({"kind": "weighted", "weights": [1.0]}, "ensemble.weights"),
        ({"kind": "weighted", "weights": [0.5, 0.6]}, "sum to 1"),
        ({"kind": "weighted", "weights": [1.5, -0.5]}, "ensemble.weights"),
        ({"kind": "mean", "weights": [0.5, 0.5]}, "ensemble.weights"),
        ({"kind": "cascade", "exits": [0.5, 0.5]}, "ensemble.exits"),
        ({"kind": "cascade", "exits": [1.5]}, "ensemble.exits"),
        ({"kind": "mean", "exits": [0.5]}, "ensemble.exits"),
        ({"kind": "stacking"}, "ensemble.layers"),
        ({"kind": "magic"}, "ensemble.kind"),
        ({"kind": "stacking", "layers": [{"kernel": [[0, 0, 0]] * 5, "bias": [0, 0, 0], "activation": "relu"}]}, "6 rows"),
        ({"kind": "stacking", "layers": [{"kernel": [[0, 0]] * 6, "bias": [0, 0, 0], "activation": "relu"}]}, "3 columns"),
        ({"kind": "stacking", "layers": [{"kernel": [[0, 0]] * 6, "bias": [0, 0], "activation": "linear"}]}, "3 outputs"),
        ({"kind": "stacking", "layers": [{"kernel": [[0] * 3] * 6, "bias": [0] * 3, "activation": "exp"}]}, "activation"),
    ],
)
def test_an_ensemble_that_does_not_fit_is_refused(pair: Path, tmp_path: Path, ensemble: dict[str, Any], named: str) -> None:
    with pytest.raises(ManifestError, match=named):
        open_bundle(variant(pair, tmp_path / "odd", **ensemble))


def test_members_share_an_engine_and_no_name(pair: Path, tmp_path: Path) -> None:
    def part_ways(manifest: dict[str, Any]) -> None:
        _remove_engine("litert", 0)(manifest)
        _remove_engine("onnxruntime", 1)(manifest)

    with pytest.raises(ManifestError, match="share no engine"):
        open_bundle(rewrite_manifest(Path(shutil.copytree(pair, tmp_path / "a")), part_ways))
    with pytest.raises(ManifestError, match="a name of their own"):
        open_bundle(
            rewrite_manifest(
                Path(shutil.copytree(pair, tmp_path / "b")),
                lambda manifest: manifest["members"][1].update(name=manifest["members"][0]["name"]),
            )
        )
    with pytest.raises(ManifestError, match="1 to 8 members"):
        open_bundle(
            rewrite_manifest(
                Path(shutil.copytree(pair, tmp_path / "c")), lambda manifest: manifest.update(members=manifest["members"] * 5)
            )
        )


def test_each_way_of_combining_against_a_worked_example() -> None:
    shown = softmax(LOGITS)
    np.testing.assert_allclose(softmax(combine(Ensemble("mean"), LOGITS)), shown.mean(axis=0))
    weighted = combine(Ensemble("weighted", weights=(0.25, 0.75)), LOGITS)
    np.testing.assert_allclose(softmax(weighted), 0.25 * shown[0] + 0.75 * shown[1])
    np.testing.assert_allclose(softmax(combine(Ensemble("vote"), LOGITS)), [0.5, 0.5, 0], atol=1e-6)
    ranks = 1 - np.exp(-np.exp(-2 * shown))
    fused = ranks.sum(axis=0) * (1 - shown.mean(axis=0))
    left = 2 * (1 - np.exp(-1)) - fused
    np.testing.assert_allclose(softmax(combine(Ensemble("gompertz"), LOGITS)), left / left.sum())
    np.testing.assert_allclose(combine(Ensemble("cascade", exits=(0.9,)), LOGITS[:1]), LOGITS[0])


def test_stacking_is_dense_layers_on_centred_logits() -> None:
    hidden = DenseLayer(kernel=(*EYE, *EYE), bias=(0.0, 0.1, 0.0), activation="relu")
    out = DenseLayer(kernel=EYE, bias=(0.0, 0.0, 0.5), activation="linear")
    centred = LOGITS - LOGITS.mean(axis=1, keepdims=True)
    expected = np.maximum(centred.sum(axis=0) + np.array(hidden.bias), 0) + np.array(out.bias)
    stacker = Ensemble("stacking", layers=(hidden, out))
    np.testing.assert_allclose(combine(stacker, LOGITS), expected)
    np.testing.assert_allclose(combine(stacker, LOGITS + np.array([[7.0], [-3.0]])), expected)


def test_a_forest_is_the_mean_of_its_trees_leaves() -> None:
    ensemble = Ensemble("forest", trees=(STUMP, LEAF))
    left, right = (np.mean([leaf, LEAF.values[0]], axis=0) for leaf in (STUMP.values[1], STUMP.values[2]))
    assert (LOGITS - LOGITS.mean(axis=1, keepdims=True)).ravel()[4] == 0.5
    np.testing.assert_allclose(softmax(combine(ensemble, LOGITS)), left, atol=1e-6)
    np.testing.assert_allclose(softmax(combine(ensemble, LOGITS + np.array([[7.0], [-3.0]]))), left, atol=1e-6)
    above = LOGITS + np.array([[0.0] * 3, [-0.1, 0.2, -0.1]])
    np.testing.assert_allclose(softmax(combine(ensemble, above)), right, atol=1e-6)
    np.testing.assert_allclose(softmax(combine(Ensemble("forest", trees=(LEAF,)), LOGITS[:1])), LEAF.values[0], atol=1e-6)


def test_a_bundle_may_hold_a_forest(pair: Path, tmp_path: Path, example: Path) -> None:
    folder = variant(pair, tmp_path / "forest", kind="forest", trees=to_plain((LEAF,)))
    prediction = OsteoPredictor(folder).predict(example, explain=True)
    np.testing.assert_allclose(values(prediction.probabilities), LEAF.values[0], atol=1e-6)


def _changed(**columns: Any) -> dict[str, Any]:
    return {"kind": "forest", "trees": [to_plain(STUMP) | columns]}


@pytest.mark.parametrize(
    ("ensemble", "named"),
    [
        ({"kind": "forest"}, "must be there for forest"),
        ({"kind": "mean", "trees": to_plain((STUMP,))}, "for forest alone"),
        ({"kind": "forest", "trees": to_plain((LEAF,) * 257)}, "at most 256"),
        (_changed(feature=[]), "has no node"),
        (_changed(threshold=[0.5, 0]), "as many numbers"),
        (_changed(feature=[6, -1, -1]), r"feature\[0\]"),
        (_changed(feature=[-2, -1, -1]), r"feature\[0\]"),
        (_changed(feature=[-1, -1, -1]), r"feature\[0\]"),
        (_changed(left=[0, -1, -1]), r"left\[0\] must be a later node"),
        (_changed(left=[-5, -1, -1]), r"left\[0\] must be a later node"),
        (_changed(right=[3, -1, -1]), r"right\[0\] must be a later node"),
        (_changed(left=[2, -1, -1]), "each node but the root from one other"),
        (_changed(left=[1, 2, -1], feature=[4, 0, -1]), r"right\[1\] must be a later node"),
        (_changed(values=[[], [1, 0, 0], [0.5, 0.5]]), r"values\[2\] must be 3 probabilities"),
        (_changed(values=[[], [1, 0, 0], [0.5, 0.6, -0.1]]), r"values\[2\]"),
        (_changed(values=[[], [1, 0, 0], [0.5, 0.6, 0.1]]), r"values\[2\]"),
        (_changed(values=[[1, 0, 0], [1, 0, 0], [1, 0, 0]]), r"values\[0\] must be empty"),
        (_changed(threshold=[float("nan"), 0, 0]), "not valid JSON"),
    ],
)
def test_a_tree_that_is_none_is_refused(pair: Path, tmp_path: Path, ensemble: dict[str, Any], named: str) -> None:
    with pytest.raises(ManifestError, match=named):
        open_bundle(variant(pair, tmp_path / "odd", **ensemble))


def _caterpillar(splits: int) -> Tree:
    """``2 * splits + 1`` nodes: each split has a leaf to its left and the next split, at last a leaf, to its right."""
    inner = [node % 2 == 0 and node < 2 * splits for node in range(2 * splits + 1)]
    return Tree(
        feature=tuple(0 if splits_here else -1 for splits_here in inner),
        threshold=(0.0,) * len(inner),
        left=tuple(node + 1 if splits_here else -1 for node, splits_here in enumerate(inner)),
        right=tuple(node + 2 if splits_here else -1 for node, splits_here in enumerate(inner)),
        values=tuple(() if splits_here else LEAF.values[0] for splits_here in inner),
    )


def test_the_nodes_of_all_trees_together_are_limited() -> None:
    within = Ensemble("forest", trees=(_caterpillar(MAX_NODES // 2 - 1), LEAF))
    check_ensemble(within, members=2, labels=3)
    np.testing.assert_allclose(softmax(combine(within, LOGITS)), LEAF.values[0], atol=1e-6)
    with pytest.raises(ManifestError, match=f"at most {MAX_NODES} nodes"):
        check_ensemble(replace(within, trees=(*within.trees, LEAF)), members=2, labels=3)


def test_a_cascade_is_sure_by_the_mean_so_far() -> None:
    cascade = Ensemble("cascade", exits=(0.9, 0.6))
    sure, unsure = np.array([5.0, 0.0, 0.0]), np.array([0.1, 0.0, 0.0])
    assert is_sure(cascade, [sure])
    assert not is_sure(cascade, [unsure])
    assert is_sure(cascade, [sure, unsure])
    assert not is_sure(cascade, [unsure, unsure])
    assert not is_sure(cascade, [sure, sure, sure]), "after the last there is nothing to skip"
    assert not is_sure(Ensemble("mean"), [sure])


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    arrays(np.float64, (3, 3), elements=st.floats(-50, 50)),
    st.sampled_from([Ensemble("mean"), Ensemble("weighted", weights=(0.2, 0.3, 0.5)), Ensemble("vote"), Ensemble("gompertz")]),
)
def test_whatever_the_scores_what_comes_out_are_probabilities_and_agreement_is_kept(
    logits: np.ndarray, ensemble: Ensemble
) -> None:
    probabilities = softmax(combine(ensemble, logits))
    assert np.isfinite(probabilities).all()
    assert probabilities.sum() == pytest.approx(1)
    assume(np.unique(softmax(logits[0]).round(9)).size == 3)  # equal probabilities have no winner to agree on
    same = np.tile(logits[:1], (3, 1))
    agreed = softmax(combine(ensemble, same))
    assert agreed[logits[0].argmax()] == pytest.approx(agreed.max(), abs=1e-9)


def test_maps_lie_where_their_boxes_are() -> None:
    boxes = [Box(0, 0, 10, 20), Box(0, 20, 10, 40)]
    assert union(boxes) == Box(0, 0, 10, 40)
    upper, lower = np.ones((2, 2), np.float32), np.full((3, 3), -1, np.float32)
    together = laid_together([upper, lower], boxes, (0.5, 0.5))
    assert together.shape == (64, 16)
    assert (together[:32] > 0).all()
    assert (together[32:] < 0).all()
    one = laid_together([upper], boxes[:1], (1.0,))
    assert one is upper
    same = laid_together([upper, 3 * upper], [boxes[0]] * 2, (0.25, 0.75))
    assert same.mean() == pytest.approx(2.5)
    assert shares(Ensemble("weighted", weights=(0.25, 0.75)), 2) == (0.25, 0.75)
    assert shares(Ensemble("cascade", exits=(0.5,)), 1) == (1.0,)


def test_one_member_says_no_more_than_before(example: Path) -> None:
    prediction = OsteoPredictor(DENSITY).predict(example)
    assert (prediction.members_answered, prediction.model.members) == (1, 1)
    assert prediction.image_probabilities == prediction.probabilities
    assert prediction.knees[0].joint.laterality in (None, *Laterality)
