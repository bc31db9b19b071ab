from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from osteo_edge.decision.fusion import fuse, outside_support
from osteo_edge.decision.scores import softmax
from osteo_edge.errors import ManifestError
from osteo_edge.manifest import Fusion
from osteo_edge.manifest_rules import check_fusion
from osteo_edge.records import parse_record
from train.data.dataset import LABELS as NAMES
from train.data.dataset import DatasetError
from train.data.split import label_folds
from train.ensembles.fusion import Penalties, describe_covariates, fit_fusion
from train.ensembles.fusion_judgement import ALONE, FUSED, Judgement, judge_bands, judge_fusion, ost_indices
from train.ensembles.nested import NestedLogits, from_stored
from train.ensembles.with_covariates import make_fusion, write_fusion
from train.judging.evaluate import class_aucs
from train.runs.config import ConfigError

COUNT = 120
RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.repeat([0, 1, 2], COUNT // 3))
GROUPS = [f"person {place}" for place in range(COUNT)]
AGES = np.clip(32 + 13 * LABELS + RNG.normal(0, 9, COUNT), 20, 90)
WOMEN = RNG.random(COUNT) < 0.6
WEIGHTS = RNG.normal(68, 9, COUNT)
PENALTIES = Penalties(inverse=(0.1, 1.0), image_scales=(0.0, 0.3, 1.0), folds=3)
USED = ("age_years", "sex", "bmi", "menopause_age_years")


def table() -> list[dict[str, float]]:
    """Age tells of the label; BMI is missing now and then, alcohol is constant, dialysis rare."""
    rows = []
    for place in range(COUNT):
        row = {"age_years": AGES[place], "sex": float(WOMEN[place]), "weight_kg": WEIGHTS[place], "alcohol": 0.0}
        row["dialysis"] = float(place == 3)
        if place % 5:
            row["bmi"] = WEIGHTS[place] / 2.6
        if WOMEN[place] and AGES[place] > 50:
            row["menopause_age_years"] = 45.0 + place % 7
        rows.append(row)
    return rows


TABLE = table()


def image_of(strength: float, seed: int = 1) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=(COUNT, 3))
    return noise + strength * np.eye(3)[LABELS]


def folds_of(seed: int) -> NDArray[np.int64]:
    number = np.empty(COUNT, np.int64)
    for fold, (_, test) in enumerate(label_folds(LABELS, GROUPS, folds=3, seed=seed)):
        number[test] = fold
    return number


def nested_of(strength: float, *, repeats: int = 2) -> list[NestedLogits]:
    return [_one_repeat(strength, folds_of(repeat), 10 * repeat) for repeat in range(repeats)]


def _one_repeat(strength: float, folds: NDArray[np.int64], seed: int) -> NestedLogits:
    inner = [image_of(strength, seed + 1 + fold)[folds != fold][:, np.newaxis] for fold in range(3)]
    return from_stored(inner, image_of(strength, seed)[:, np.newaxis], folds)


@pytest.fixture(scope="module")
def telling() -> Judgement:
    return judge_fusion(USED, nested_of(2.5), TABLE, LABELS, GROUPS, PENALTIES, count=120, seed=0)


@pytest.fixture(scope="module")
def blind() -> Judgement:
    constant = [replace(one, inner=tuple(0 * x for x in one.inner), outer=0 * one.outer) for one in nested_of(0.0, repeats=1)]
    return judge_fusion(USED, constant, TABLE, LABELS, GROUPS, PENALTIES, count=120, seed=0)


def test_the_runtime_gives_the_same_fused_logits(telling: Judgement) -> None:
    parts = fit_fusion(USED, image_of(2.5), TABLE, LABELS, GROUPS, PENALTIES, seed=0)
    fusion = make_fusion(parts, telling, LABELS, coverage=0.9)
    check_fusion(fusion, labels=NAMES)
    new = image_of(2.5, seed=7)
    expected = [fuse(fusion, logits, row) for logits, row in zip(new, TABLE, strict=True)]
    np.testing.assert_allclose(parts.predict_logits(new, TABLE), expected)
    assert class_aucs(LABELS, softmax(np.array(expected))).mean() > 0.9


def test_a_picture_that_tells_something_adds(telling: Judgement) -> None:
    assert telling.is_proven
    assert telling.image_adds
    assert np.mean(telling.image_shares) > 0.2
    assert telling.gains[ALONE]["macro_auc"].value == pytest.approx(
        telling.figures[FUSED]["macro_auc"].value - telling.figures[ALONE]["macro_auc"].value
    )
    assert "The picture adds to these covariates: macro_auc +" in telling.sentences()[1]


def test_a_picture_that_tells_nothing_is_said_to_have_no_weight(blind: Judgement) -> None:
    assert blind.image_scales == (0.0,) * 3
    assert blind.image_shares == (0.0,) * 3
    assert not blind.image_adds
    np.testing.assert_array_equal(blind.scores[FUSED], blind.scores[ALONE])
    assert "gives the picture no weight in any of 3 fits" in blind.sentences()[0]
    assert "does not measurably add" in blind.sentences()[1]


def test_no_weight_for_the_picture_where_only_that_is_allowed() -> None:
    parts = fit_fusion(USED, image_of(2.5), TABLE, LABELS, GROUPS, replace(PENALTIES, image_scales=(0.0,)), seed=0)
    np.testing.assert_array_equal(np.array(parts.kernel)[:3], 0)
    other = parts.predict_logits(image_of(0.0, seed=9), TABLE)
    np.testing.assert_allclose(parts.predict_logits(image_of(2.5), TABLE), other)


def test_systems_stand_on_the_same_folds(telling: Judgement, blind: Judgement) -> None:
    """Scores without the picture do not change with it."""
    assert set(telling.scores) == {"image", "covariates", "fused", "age_sex", "ost"}
    for system in ("covariates", "age_sex", "ost"):
        np.testing.assert_array_equal(telling.scores[system][0], blind.scores[system][0])
    assert {len(one) for one in telling.repeats.values()} == {2}


def test_labels_of_held_back_pictures_reach_no_score() -> None:
    nested = nested_of(1.0, repeats=1)
    rows = np.flatnonzero(nested[0].fold_of == 0)
    labels = LABELS.copy()
    labels[rows] = np.roll(LABELS[rows], 13)
    assert (labels != LABELS).any()
    quick = Penalties(inverse=(0.1, 1.0), image_scales=(0.3,), folds=2)
    before, after = (judge_fusion(USED, nested, TABLE, each, GROUPS, quick, count=5, seed=0) for each in (LABELS, labels))
    for system in before.scores:
        np.testing.assert_array_equal(before.scores[system][0, rows], after.scores[system][0, rows])
    assert np.abs(before.scores[FUSED] - after.scores[FUSED]).max() > 1e-6


def test_missing_values_are_allowed_and_learnt_from() -> None:
    known = [{"bmi": 25.0 + place % 3} if LABELS[place] else {} for place in range(COUNT)]
    missing_if_normal = [{"age_years": age} | bmi for age, bmi in zip(AGES, known, strict=True)]
    parts = fit_fusion(("age_years", "bmi"), image_of(0.0), missing_if_normal, LABELS, GROUPS, PENALTIES, seed=0)
    logits = parts.predict_logits(np.zeros((2, 3)), [{"age_years": 45.0, "bmi": 26.0}, {"age_years": 45.0}])
    probabilities = softmax(logits)
    assert probabilities[1, 0] > probabilities[0, 0] + 0.2
    assert np.isfinite(parts.predict_logits(np.zeros((1, 3)), [{}])).all()


def test_blanks_with_several_meanings_count_as_the_average() -> None:
    parts = fit_fusion(USED, image_of(1.0), TABLE, LABELS, GROUPS, PENALTIES, seed=0)
    menopause = USED.index("menopause_age_years")
    np.testing.assert_array_equal(parts.kernel[3 + len(USED) + menopause], 0)
    assert np.abs(parts.kernel[3 + menopause]).max() > 0
    mean = {"menopause_age_years": parts.covariates[menopause].mean, "age_years": 60.0}
    given, blank = parts.predict_logits(np.zeros((2, 3)), [mean, {"age_years": 60.0}])
    np.testing.assert_allclose(given, blank)


def test_columns_that_say_nothing_are_left_out() -> None:
    covariates, notes = describe_covariates(("age_years", "alcohol", "dialysis", "bmi"), TABLE, LABELS)
    assert [covariate.name for covariate in covariates] == ["age_years", "bmi"]
    assert notes == (
        "alcohol is left out: it is 0 wherever it is known",
        "dialysis is left out: only 1 of 120 give the rarer answer; at least 5 are needed",
    )
    known = [row["bmi"] for row in TABLE if "bmi" in row]
    assert (covariates[1].mean, covariates[1].deviation) == pytest.approx((np.mean(known), np.std(known)))


def test_ages_without_a_class_are_told(telling: Judgement) -> None:
    parts = fit_fusion(USED, image_of(1.0), TABLE, LABELS, GROUPS, PENALTIES, seed=0)
    fusion = make_fusion(parts, telling, LABELS, coverage=0.9)
    oldest_normal = AGES[LABELS == 0].max()
    assert fusion.covariates[0].support["normal"] == (AGES[LABELS == 0].min(), oldest_normal)
    assert ("age_years", "normal") in outside_support(fusion, {"age_years": oldest_normal + 1})
    assert parts.required == ("age_years", "sex")


def test_bands_hold_pairs_of_classes_that_exist_there() -> None:
    ages = np.where(LABELS == 0, 30.0, np.where(LABELS == 1, 45.0, 65.0))
    ages[np.flatnonzero(LABELS == 1)[:10]] = 66.0
    ages[np.flatnonzero(LABELS == 2)[:4]] = 41.0
    rows = [{"age_years": age} for age in ages]
    perfect = np.eye(3)[LABELS][np.newaxis] * 0.7 + 0.1
    systems = {FUSED: perfect, ALONE: np.full_like(perfect, 1 / 3)}
    young, middle, old = judge_bands(LABELS, systems, rows, GROUPS, count=50, seed=0)
    assert (young["band"], middle["band"], old["band"]) == ("below 40", "40 to 49", "60 and older")
    assert young["pairs"] == []
    assert middle["radiographs"] == {"normal": 0, "osteopenia": 30, "osteoporosis": 4}
    assert middle["pairs"] == []
    (pair,) = old["pairs"]
    assert pair["classes"] == ("osteopenia", "osteoporosis")
    assert (pair["auc"][FUSED].value, pair["auc"][ALONE].value) == (1.0, 0.5)
    assert pair["fused_less_covariates"].low == 0.5


def test_ost_by_hand() -> None:
    rows = [{"age_years": 70.0, "weight_kg": 58.0}, {"age_years": 50.0, "weight_kg": 64.0}, {"age_years": 50.0}]
    np.testing.assert_array_equal(ost_indices(rows), [-2, 2, np.nan])


def test_written_and_read_back(telling: Judgement, tmp_path: Path) -> None:
    parts = fit_fusion(USED, image_of(2.5), TABLE, LABELS, GROUPS, PENALTIES, seed=0)
    fusion = make_fusion(parts, telling, LABELS, coverage=0.8)
    write_fusion(tmp_path / "fusion.json", fusion)
    plain = json.loads((tmp_path / "fusion.json").read_text())
    assert plain["schema_version"] == 2
    again = parse_record(Fusion, plain["fusion"], where="fusion.json")
    assert again == fusion
    assert again.image_adds
    assert again.conformal.calibration_size == COUNT
    with pytest.raises(ManifestError, match="required"):
        write_fusion(tmp_path / "other.json", replace(fusion, required=("weight_kg",)))
    json.dumps(telling.as_plain()["sentences"], allow_nan=False)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"names": ()}, ConfigError, "must be named, each once"),
        ({"names": ("t_score",)}, ConfigError, "no covariate 't_score'; known are age_years"),
        ({"names": ("age_years", "smoker")}, DatasetError, "no radiograph has a value for smoker"),
        ({"names": ("alcohol",)}, DatasetError, "none of the covariates can be used: alcohol is left out"),
        ({"table": [{"age_years": np.nan}] * COUNT, "names": ("age_years",)}, DatasetError, "age_years: row 0 is no"),
        ({"table": TABLE[1:]}, DatasetError, "not of the same radiographs"),
        ({"image": np.full((COUNT, 3), np.inf)}, DatasetError, "image logits: row 0"),
        ({"labels": np.minimum(LABELS, 1)}, DatasetError, "is osteoporosis; every class"),
        ({"penalties": Penalties(inverse=(0.0,))}, ConfigError, "inverse penalties above 0"),
    ],
)
def test_bad_input_is_named(changed: dict[str, object], error: type[Exception], message: str) -> None:
    given = {"names": USED, "image": image_of(1.0), "table": TABLE, "labels": LABELS, "penalties": PENALTIES, **changed}
    with pytest.raises(error, match=message):
        fit_fusion(given["names"], given["image"], given["table"], given["labels"], GROUPS, given["penalties"], seed=0)


def test_several_members_are_no_image_score() -> None:
    two = [replace(one, outer=np.repeat(one.outer, 2, axis=1)) for one in nested_of(1.0)]
    with pytest.raises(ConfigError, match="make an ensemble one member first"):
        judge_fusion(USED, two, TABLE, LABELS, GROUPS, PENALTIES, count=5, seed=0)
