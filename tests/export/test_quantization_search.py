"""The measures that an int8 file is judged by, and the search that they guide."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from export.errors import ExportError
from export.parity import run_network
from export.plans import Budget, Plan, Recipe
from export.quantization import (
    AgreementBench,
    Exact,
    Maker,
    RepresentativeSet,
    agreement_of,
    group_damages,
    paired_speed,
    search,
)
from export.quantization.aware import fine_tune
from export.radiographs import Case
from osteo_edge.manifest import Metric
from osteo_edge.records import parse_record, to_plain

LABELS = ("normal", "osteopenia", "osteoporosis")
FLOAT = ("stem", "head")


@pytest.fixture(scope="module")
def exact(form: Any, spec: Any) -> Exact:
    return Exact.of(form, spec)


@pytest.fixture(scope="module")
def maker(exact: Exact, pictures: Any) -> Maker:
    return Maker(exact, RepresentativeSet(1, len(pictures), "0" * 64, tuple(picture[np.newaxis] for picture in pictures)))


@pytest.fixture(scope="module")
def bench(exact: Exact, pictures: Any) -> AgreementBench:
    return AgreementBench(exact, [Case("patterns.png", "a" * 64, (), tuple(one[np.newaxis] for one in pictures))], LABELS)


def test_flips_are_listed_clearest_first_and_near_ties_do_not_count() -> None:
    fp32 = np.array([[0.6, 0.3, 0.1], [0.41, 0.4, 0.19], [0.7, 0.2, 0.1], [0.2, 0.5, 0.3]])
    reduced = np.array([[0.4, 0.5, 0.1], [0.4, 0.41, 0.19], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3]])
    found = agreement_of(fp32, reduced, [("a.png", 0), ("a.png", 1), ("b.png", 0), ("c.png", 0)], LABELS)
    assert (found.knees, found.agreement, found.same_label, found.max_difference) == (4, 0.5, 0.25, 0.6)
    assert [(flip.picture, flip.knee, flip.is_clear) for flip in found.flips] == [
        ("b.png", 0, True),
        ("a.png", 0, True),
        ("a.png", 1, False),
    ]
    worst = found.flips[0]
    assert (worst.margin, worst.reduced_margin, worst.reduced["osteoporosis"]) == (0.5, 0.5, 0.7)
    assert agreement_of(fp32, fp32, [("a.png", place) for place in range(4)], LABELS).relative_error == 0
    with pytest.raises(ExportError, match="not numbers"):
        agreement_of(fp32, np.full_like(fp32, np.nan), [("a.png", place) for place in range(4)], LABELS)


def test_agreement_needs_knees(exact: Exact) -> None:
    with pytest.raises(ExportError, match="no knee"):
        AgreementBench(exact, [Case("empty.png", "a" * 64, (), ())], LABELS)


def test_the_fp32_file_agrees_with_itself(bench: AgreementBench, exact: Exact) -> None:
    found = bench.judge("onnxruntime", exact.onnx)
    assert (found.agreement, found.flips) == (1.0, ())
    assert found.max_difference < 1e-5


def test_every_group_is_measured_alone(maker: Maker, bench: AgreementBench, track: Any) -> None:
    damages = {(one.method, one.group): one for one in group_damages(maker, bench, track=track)}
    assert {group for _, group in damages} == set(maker.groups)
    assert damages["dynamic", "head"].weight_bytes == 4 * 96 * 3
    assert all(one.relative_error > 0 for one in damages.values())
    everything = bench.quick("onnxruntime", maker.make(Recipe("onnxruntime", "static", float_groups=FLOAT)))
    alone = [one.relative_error for (_, group), one in damages.items() if group not in FLOAT]
    assert min(alone) < everything.relative_error


def test_speed_is_given_for_every_file_as_a_ratio(maker: Maker, exact: Exact, spec: Any) -> None:
    files = {"fp32": ("onnxruntime", exact.onnx), "litert": ("litert", maker.fp32_litert)}
    ratios = paired_speed(files, "fp32", spec=spec, rounds=3)
    assert ratios["fp32"] == 1.0
    assert ratios["litert"] > 0
    with pytest.raises(ExportError, match="cannot be run"):
        paired_speed({"fp32": ("onnxruntime", b"no model")}, "fp32", spec=spec)


class Benches:
    """Agreement by rule instead of by running: a file agrees once the harmful groups are float."""

    def __init__(self, harmful: Sequence[str], maker: Maker) -> None:
        self._harmful, self._maker = frozenset(harmful), maker
        self.asked_all = 0

    def judge(self, engine: Any, data: bytes) -> Any:
        self.asked_all += 1
        return self.quick(engine, data)

    def quick(self, engine: Any, data: bytes) -> Any:
        recipe = json.loads(data)
        left = self._harmful - set(recipe["float_groups"])
        off = 0.1 * len(left)
        return agreement_of(
            np.tile([0.7, 0.2, 0.1], (100, 1)),
            np.array([[0.2, 0.7, 0.1]] * round(100 * off) + [[0.7, 0.2, 0.1]] * (100 - round(100 * off))),
            [("a.png", knee) for knee in range(100)],
            LABELS,
        )


class Makers:
    """Files that say by which recipe they were made; the more groups in float, the larger."""

    def __init__(self, maker: Maker) -> None:
        self.exact, self.groups, self.quantizable = maker.exact, maker.groups, maker.quantizable
        self.fp32_litert = b""

    def make(self, recipe: Recipe) -> bytes:
        return json.dumps(to_plain(recipe)).encode() + b" " * 1000 * len(recipe.float_groups)


def searched(maker: Maker, harmful: Sequence[str], monkeypatch: pytest.MonkeyPatch, track: Any, **options: Any) -> Any:
    monkeypatch.setattr("export.quantization.searching.paired_speed", lambda files, reference, spec: dict.fromkeys(files, 1.5))
    bench = Benches(harmful, maker)
    found = search(Makers(maker), bench, engines=["onnxruntime"], track=track, **{"drop": None, **options})  # type: ignore[arg-type]
    return found, bench


def test_only_groups_that_must_be_are_kept_in_float(maker: Maker, monkeypatch: pytest.MonkeyPatch, track: Any) -> None:
    harmful = ("stage_2.depthwise", "stage_3.pointwise")
    found, bench = searched(maker, harmful, monkeypatch, track)
    (plan,) = found.plan.engines
    assert set(plan.chosen.float_groups) == {*FLOAT, *harmful}
    assert json.loads(found.files["onnxruntime"])["float_groups"] == list(plan.chosen.float_groups)
    assert "agrees on 100.00%" in plan.reason
    assert bench.asked_all < len(plan.tried)
    assert parse_record(Plan, json.loads(json.dumps(to_plain(found.plan))), where="plan") == found.plan


def test_a_file_that_loses_too_much_auc_is_not_taken_and_the_reason_says_by_how_much(
    maker: Maker, monkeypatch: pytest.MonkeyPatch, track: Any
) -> None:
    asked: list[Recipe] = []

    def drop(recipe: Recipe) -> Metric:
        asked.append(recipe)
        return Metric(0.02 if recipe.ranges == "minmax" else 0.004, -0.01, 0.03)

    found, _ = searched(maker, (), monkeypatch, track, drop=drop)
    assert found.plan.engines[0].chosen.ranges != "minmax"
    assert found.plan.engines[0].reason.endswith("loses 0.0040 macro AUC (-0.0100 to 0.0300)")
    assert len(asked) <= 2
    found, _ = searched(maker, (), monkeypatch, track, drop=drop, budget=Budget(max_drop=0.001))
    assert found.files == {}
    assert found.plan.engines[0].chosen is None
    assert "loses 0.0040 macro AUC (-0.0100 to 0.0300), 0.001 allowed" in found.plan.engines[0].reason


def test_where_no_file_agrees_the_reason_names_the_nearest(maker: Maker, monkeypatch: pytest.MonkeyPatch, track: Any) -> None:
    found, bench = searched(maker, ("never",), monkeypatch, track)
    assert found.files == {}
    assert bench.asked_all == 0
    assert "agrees on 90.00% of a part of the unlabelled knees" in found.plan.engines[0].reason


def test_a_file_that_is_no_faster_is_not_taken_for_speed(maker: Maker, monkeypatch: pytest.MonkeyPatch, track: Any) -> None:
    found, _ = searched(maker, (), monkeypatch, track, preference="speed")
    assert found.plan.engines[0].chosen is not None
    monkeypatch.setattr("export.quantization.searching.paired_speed", lambda files, reference, spec: dict.fromkeys(files, 0.9))
    slow = search(Makers(maker), Benches((), maker), engines=["onnxruntime"], drop=None, preference="speed", track=track)
    assert slow.plan.engines[0].chosen is None
    assert slow.plan.engines[0].reason.endswith("agrees, but is not faster than fp32")


def test_a_real_search_finds_a_file_for_onnx_runtime(maker: Maker, bench: AgreementBench, track: Any) -> None:
    found = search(maker, bench, engines=["onnxruntime"], drop=None, track=track)
    (plan,) = found.plan.engines
    assert plan.chosen is not None
    assert bench.judge("onnxruntime", found.files["onnxruntime"]).agreement >= 0.99
    assert len(found.files["onnxruntime"]) < found.plan.fp32_bytes["onnxruntime"]


@pytest.mark.slow
def test_fine_tuning_lessens_the_damage_that_rounding_alone_leaves(exact: Exact, maker: Maker, pictures: Any) -> None:
    recipe = Recipe("onnxruntime", "static", "least_error", float_groups=FLOAT)
    tuned = fine_tune(exact, recipe, pictures, epochs=30, rate=3e-4)
    same = run_network(exact.form, pictures)
    errors = []
    for source in (exact, Exact.of(tuned, exact.spec)):
        data = Maker(source, maker.representative).make(recipe)
        files = AgreementBench(exact, [Case("a.png", "a" * 64, (), tuple(one[np.newaxis] for one in pictures))], LABELS)
        errors.append(files.judge("onnxruntime", data).relative_error)
    assert errors[1] < 0.8 * errors[0]
    np.testing.assert_allclose(run_network(exact.form, pictures).logits, same.logits)


@pytest.mark.slow
def test_a_tuned_recipe_is_made_from_tuned_weights(exact: Exact, maker: Maker, pictures: Any) -> None:
    recipe = Recipe("onnxruntime", "static", float_groups=FLOAT, tuning_epochs=1)
    tuning = Maker(exact, maker.representative, tuning=pictures)
    assert tuning.make(recipe) != maker.make(replace(recipe, tuning_epochs=0))
    with pytest.raises(ExportError, match="nothing to fine-tune"):
        fine_tune(exact, replace(recipe, float_groups=tuple(maker.groups)), pictures, epochs=1)
