"""What is known of the person: values, fused answers, what they rest on, and what is never passed over in silence."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from osteo_edge import Mode, OsteoPredictor, Status, open_bundle
from osteo_edge.covariates import Person, enumerate_words
from osteo_edge.decision.fusion import design, fuse, outside_support
from osteo_edge.decision.scores import softmax
from osteo_edge.decision.verdict import decide
from osteo_edge.errors import CovariateError, ManifestError
from osteo_edge.manifest import Fusion
from osteo_edge.records import parse_record
from osteo_edge.reports.structured import CSV_COLUMNS, to_row
from osteo_edge.reports.text import to_text
from osteo_edge.reports.wording import HIGHER_CHANCE, NOT_LEARNT
from tests.making import add_fusion, fusion, remove_fusion, rewrite_manifest

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "osteo_edge/reports/prediction.schema.json").read_text())
OLD_WOMAN = {"age_years": 67.0, "sex": "female"}
YOUNG_MAN = {"age_years": 40.0, "sex": "male"}
WITHOUT_SUPPORT = [covariate | {"support": {}} for covariate in fusion()["covariates"]]


def record(**changes: Any) -> Fusion:
    return parse_record(Fusion, fusion(**changes), where="fusion")


@pytest.fixture
def predictor(bundle_copy: Path) -> OsteoPredictor:
    return OsteoPredictor(add_fusion(bundle_copy))


def codes(findings: Any) -> list[str]:
    return [finding.code for finding in findings]


def test_the_fused_score_is_the_logistic_model_of_the_manifest(predictor: OsteoPredictor, example: Path) -> None:
    alone = predictor.predict(example)
    fused = predictor.predict(example, **YOUNG_MAN, covariates={"prior_fracture": "yes"})
    image = np.log(list(alone.probabilities.values()))
    inputs = [*(image - image.mean()), (40 - 50) / 12, -0.7 / 0.45, 0.8 / 0.4, 0, 0, 0]
    np.testing.assert_allclose(list(fused.probabilities.values()), softmax(inputs @ np.array(fusion()["kernel"])), rtol=1e-4)
    assert (alone.mode, fused.mode) == (Mode.IMAGE, Mode.FUSED)
    assert fused.image_probabilities == alone.probabilities == alone.image_probabilities
    assert dict(fused.covariates_used) == {"age_years": 40, "sex": 0, "prior_fracture": 1}
    assert dict(alone.covariates_used) == {}


def test_what_is_missing_and_not_required_has_a_weight_of_its_own() -> None:
    known = {"age_years": 50.0, "sex": 1.0}
    inputs = design(record().covariates, np.array([1.0, 2.0, 3.0]), known)
    np.testing.assert_allclose(inputs, [-1, 0, 1, 0, 0.3 / 0.45, 0, 0, 0, 1])
    assert fuse(record(), np.zeros(3), known)[0] == pytest.approx(0.1)


def test_each_mode_has_its_own_proof_and_label_sets(predictor: OsteoPredictor, example: Path) -> None:
    alone, fused = predictor.predict(example), predictor.predict(example, **YOUNG_MAN)
    assert codes(alone.findings)[0] == "unproven"
    assert "unproven" not in codes(fused.findings)
    assert alone.status is Status.REFERRED
    assert fused.status is Status.REPORTED
    assert fused.label_set == ("normal",)


def test_an_unproven_fusion_refers_every_picture(bundle_copy: Path, example: Path) -> None:
    folder = rewrite_manifest(add_fusion(bundle_copy, is_proven=False), lambda manifest: manifest.update(is_proven=True))
    prediction = OsteoPredictor(folder).predict(example, **YOUNG_MAN)
    assert (prediction.status, codes(prediction.findings)) == (Status.REFERRED, ["unproven"])


def test_the_text_says_what_the_answer_rests_on(predictor: OsteoPredictor, bundle_copy: Path, example: Path) -> None:
    fused = predictor.predict(example, **YOUNG_MAN)
    said = "This answer rests on age and sex; the picture was not shown to add to it."
    assert codes(fused.notes) == ["picture_adds_nothing"]
    assert said in fused.message
    assert said in to_text(fused)
    assert said not in predictor.predict(example).message
    adding = OsteoPredictor(add_fusion(bundle_copy, image_adds=True)).predict(example, **YOUNG_MAN)
    assert adding.notes == ()
    assert "rests on" not in to_text(adding)
    assert "picture alone" in to_text(adding)


def test_an_answer_in_which_the_picture_has_no_weight_says_so(bundle_copy: Path, example: Path) -> None:
    kernel = [[0.0] * 3] * 3 + fusion()["kernel"][3:]
    fused = OsteoPredictor(add_fusion(bundle_copy, kernel=kernel)).predict(example, **YOUNG_MAN)
    assert fused.message.endswith("This answer rests on age and sex alone; the picture has no weight in it.")


def test_nobody_is_told_of_a_class_that_was_never_seen_at_this_age(predictor: OsteoPredictor, example: Path) -> None:
    fused = predictor.predict(example, **OLD_WOMAN)
    assert fused.status is Status.REFERRED
    assert codes(fused.findings)[0] == "outside_support"
    assert "held no radiograph labelled normal of a person over 49 years of age" in fused.findings[0].message
    assert fused.message == NOT_LEARNT
    assert fused.probabilities["normal"] < fusion()["conformal"]["min_probability"]
    assert fused.label_set[0] == "normal"
    very_old = predictor.predict(example, age_years=90, sex="male")
    assert [finding.message.split(" of a")[0] for finding in very_old.findings if finding.code == "outside_support"] == [
        "training held no radiograph labelled normal",
        "training held no radiograph labelled osteoporosis",
    ]


def test_with_support_everywhere_the_sets_speak(bundle_copy: Path, example: Path) -> None:
    predictor = OsteoPredictor(add_fusion(bundle_copy, covariates=WITHOUT_SUPPORT))
    fused = predictor.predict(example, age_years=90, sex="female")
    assert fused.label_set == ("osteoporosis",)
    assert fused.message.startswith(HIGHER_CHANCE)


def test_support_is_judged_only_for_what_is_known() -> None:
    assert outside_support(record(), {"sex": 1.0}) == ()
    assert outside_support(record(), {"age_years": 60.0}) == (("age_years", "normal"),)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"age_years": 7}, r"age_years must be 18 to 110 years, not 7"),
        ({"age_years": 1e9}, "age_years must be 18 to 110"),
        ({"age_years": math.nan}, "age_years must be a number"),
        ({"covariates": {"age_years": "old"}}, "age_years must be a number"),
        ({"covariates": {"age_years": True}}, "age_years must be a number"),
        ({"age_years": 60, "covariates": {"age_years": 61}}, "age_years was given twice"),
        ({"sex": "x"}, "sex must be female or male"),
        ({"covariates": {"sex": 1}}, "sex must be female or male"),
        ({"covariates": {"prior_fracture": "perhaps"}}, "prior_fracture must be yes or no"),
        ({"covariates": {"prior_fracture": 2}}, "prior_fracture must be yes or no"),
        ({"covariates": {"shoe_size": 44}}, "knows no covariate 'shoe_size'; it knows age_years, sex, prior_fracture"),
    ],
)
def test_a_value_that_cannot_be_is_told_before_the_picture_is_read(
    predictor: OsteoPredictor, given: dict[str, Any], named: str
) -> None:
    with pytest.raises(CovariateError, match=named) as raised:
        predictor.predict("missing.png", **given)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("yes", ["yes", "Yes ", True, 1, 1.0, "1"])
def test_yes_has_many_forms(predictor: OsteoPredictor, yes: Any) -> None:
    assert dict(predictor.describe({"prior_fracture": yes}).values) == {"prior_fracture": 1.0}


@pytest.mark.parametrize("sex", ["F", "f", "Female", " FEMALE "])
def test_age_and_sex_have_two_names_in_any_case(predictor: OsteoPredictor, example: Path, sex: str) -> None:
    for prediction in (
        predictor.predict(example, sex=sex, covariates={"age": 67}),
        next(predictor.predict_files([(str(example), {"age": "67", "sex": sex})])),
    ):
        assert dict(prediction.covariates_used) == {"age_years": 67, "sex": 1}
    with pytest.raises(CovariateError, match="age_years was given twice"):
        predictor.predict(example, age_years=67, covariates={"age": 67})
    with pytest.raises(CovariateError, match="age_years was given twice"):
        predictor.describe({"age": 67, "age_years": 66})
    assert dict(predictor.describe({"age": None, "age_years": 66}).values) == {"age_years": 66}


def test_what_is_incomplete_gives_the_picture_s_answer_and_says_what_lacks(predictor: OsteoPredictor, example: Path) -> None:
    prediction = predictor.predict(example, age_years=60, covariates={"prior_fracture": None})
    assert (prediction.mode, codes(prediction.notes)) == (Mode.IMAGE, ["covariates_incomplete"])
    assert "also give sex" in prediction.notes[0].message
    assert prediction.probabilities == predictor.predict(example).probabilities


def test_a_bundle_of_pictures_alone_says_what_it_did_not_use(bundle_copy: Path, example: Path) -> None:
    prediction = OsteoPredictor(remove_fusion(bundle_copy)).predict(example, age_years=60, covariates={"bmi": 24.5})
    assert (prediction.mode, codes(prediction.notes)) == (Mode.IMAGE, ["covariates_not_used"])
    assert "bmi and age_years" in prediction.notes[0].message
    assert OsteoPredictor().predict(example).notes == ()


def test_json_and_csv_tell_the_mode(predictor: OsteoPredictor, example: Path) -> None:
    fused, rejected = predictor.predict(example, **OLD_WOMAN), predictor.predict(np.zeros((10, 10), np.uint8), **OLD_WOMAN)
    for prediction in (fused, rejected):
        jsonschema.validate(prediction.to_dict(), SCHEMA)
        assert len(to_row(prediction)) == len(CSV_COLUMNS)
    plain, row = fused.to_dict(), dict(zip(CSV_COLUMNS, to_row(fused), strict=True))
    assert (plain["mode"], plain["covariates_used"]) == ("fused", {"age_years": 67, "sex": 1})
    assert (row["mode"], row["covariates_used"], row["notes"]) == ("fused", "age_years=67;sex=1", "picture_adds_nothing")
    assert float(row["image_p_normal"]) == plain["image_probabilities"]["normal"]
    assert rejected.to_dict()["mode"] is None


def test_an_overlay_can_be_drawn_of_a_fused_answer(predictor: OsteoPredictor, example: Path, tmp_path: Path) -> None:
    fused = predictor.predict(example, **OLD_WOMAN, explain=True)
    alone = predictor.predict(example, explain=True)
    assert fused.save_overlay(tmp_path / "overlay.png").stat().st_size > 0
    np.testing.assert_array_equal(fused.knees[0].saliency, alone.knees[0].saliency)


def test_the_verdict_needs_no_picture() -> None:
    verdict = decide(open_bundle().manifest, np.array([0.0, 0.0, 9.0]), Person())
    assert (verdict.label_set, codes(verdict.findings)) == (("osteoporosis",), ["unproven"])


def test_words_are_enumerated() -> None:
    assert [enumerate_words(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"covariates": []}, "fusion.covariates must hold"),
        ({"required": []}, "fusion.required"),
        ({"required": ["bmi"]}, "fusion.required"),
        ({"kernel": [[0, 0, 0]] * 8}, "9 rows"),
        ({"kernel": [[0, 0]] * 9}, "3 columns"),
        ({"kernel": [[0, 0]] * 9, "bias": [0, 0]}, "3 columns, one a label"),
        ({"covariates": [fusion()["covariates"][0]] * 3}, "a name of their own"),
        ({"covariates": [WITHOUT_SUPPORT[0] | {"deviation": 0}, *WITHOUT_SUPPORT[1:]]}, "deviation must be above 0"),
        ({"covariates": [WITHOUT_SUPPORT[0] | {"low": 110}, *WITHOUT_SUPPORT[1:]]}, "low must lie below high"),
        ({"covariates": [WITHOUT_SUPPORT[0] | {"name": "A b"}, *WITHOUT_SUPPORT[1:]]}, r"covariates\[0\].name"),
        ({"covariates": [WITHOUT_SUPPORT[0] | {"support": {"fine": [1, 2]}}, *WITHOUT_SUPPORT[1:]]}, "support must name"),
        ({"covariates": [WITHOUT_SUPPORT[0] | {"support": {"normal": [2, 1]}}, *WITHOUT_SUPPORT[1:]]}, "must not fall"),
        ({"covariates": [WITHOUT_SUPPORT[0] | {"kind": "yes_no"}, *WITHOUT_SUPPORT[1:]]}, "must be 0 and 1"),
        ({"conformal": {"coverage": 2, "min_probability": 0.3, "calibration_size": 1}}, "fusion.conformal.coverage"),
    ],
)
def test_a_fusion_that_does_not_fit_is_refused(bundle_copy: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ManifestError, match=named):
        open_bundle(add_fusion(bundle_copy, **changes))
