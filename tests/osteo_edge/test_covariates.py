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
from osteo_edge.covariates import Person, describe
from osteo_edge.decision.fusion import design, fuse, outside_support
from osteo_edge.decision.scores import softmax
from osteo_edge.decision.verdict import decide
from osteo_edge.errors import CovariateError, InputError, ManifestError
from osteo_edge.manifest import Fusion
from osteo_edge.printable import enumerate_words
from osteo_edge.records import parse_record
from osteo_edge.reports.structured import CSV_COLUMNS, to_rows
from osteo_edge.reports.text import to_text
from tests.bundles import DENSITY
from tests.making import add_fusion, fusion, remove_fusion, rewrite_manifest

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "osteo_edge/reports/prediction.schema.json").read_text())
OLD_WOMAN = {"age_years": 67.0, "sex": "female"}
YOUNG_MAN = {"age_years": 40.0, "sex": "male"}
WITHOUT_AGE: dict[str, Any] = {
    "covariates": fusion()["covariates"][2:],
    "required": ["prior_fracture"],
    "kernel": [row for place, row in enumerate(fusion()["kernel"]) if place in (0, 1, 2, 5, 8)],
}
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
    assert fused.label_set == ("normal",)


def test_an_unproven_fusion_refers_every_picture(bundle_copy: Path, example: Path) -> None:
    folder = rewrite_manifest(add_fusion(bundle_copy, is_proven=False), lambda manifest: manifest.update(is_proven=True))
    prediction = OsteoPredictor(folder).predict(example, **YOUNG_MAN)
    assert (prediction.status, codes(prediction.findings)[0]) == (Status.REFERRED, "unproven")
    assert "this test cannot tell. The test was not shown to tell more than chance." in prediction.message


WITHOUT_WEIGHT = [[0.0] * 3] * 3 + fusion()["kernel"][3:]


def test_an_answer_to_which_the_picture_adds_nothing_is_referred_and_begins_with_what_it_rests_on(
    bundle_copy: Path, example: Path
) -> None:
    fused = OsteoPredictor(add_fusion(bundle_copy)).predict(example, **YOUNG_MAN)
    assert (fused.status, codes(fused.findings), fused.label) == (Status.REFERRED, ["picture_adds_nothing"], None)
    assert (fused.label_set, fused.likeliest) == (("normal",), "normal")
    assert fused.message.startswith("From age and sex (the picture was not shown to add to that): no sign of low bone density;")
    alone = OsteoPredictor(add_fusion(bundle_copy, kernel=WITHOUT_WEIGHT)).predict(example, **YOUNG_MAN)
    assert (alone.status, codes(alone.findings)) == (Status.REFERRED, ["picture_adds_nothing"])
    assert alone.message.startswith("From age and sex alone (the picture does not count in it): no sign of low bone density;")


def test_an_answer_to_which_the_picture_adds_is_reported_as_one_of_both(bundle_copy: Path, example: Path) -> None:
    fused = OsteoPredictor(add_fusion(bundle_copy, image_adds=True)).predict(example, **YOUNG_MAN)
    assert (fused.status, fused.label, fused.findings) == (Status.REPORTED, "normal", ())
    assert fused.message.startswith("No sign found by this test")
    assert "rom age" not in to_text(fused, is_verbose=True)
    assert "picture alone" in to_text(fused, is_verbose=True)


SCORES_OF = {"normal": [4.0, 0.0, 0.0], "low": [0.0, 0.0, 4.0], "flat": [0.02, 0.01, 0.0]}


@pytest.mark.parametrize(
    ("picture", "age", "disagrees"),
    [
        ("low", 30, True),
        ("normal", 30, False),
        ("flat", 30, False),
        ("normal", 100, True),
        ("low", 100, False),
        ("flat", 100, False),
        ("low", 52, False),
    ],
)
def test_a_picture_that_points_the_other_way_is_told(picture: str, age: float, disagrees: bool, bundle_copy: Path) -> None:
    """At 30 age and sex say normal, at 100 osteoporosis, at 52 neither."""
    folder = add_fusion(bundle_copy, covariates=WITHOUT_SUPPORT, kernel=WITHOUT_WEIGHT)
    manifest = open_bundle(folder).manifest
    verdict = decide(manifest, np.array(SCORES_OF[picture]), describe(manifest.fusion, {"age_years": age, "sex": "female"}))
    assert ("picture_disagrees" in codes(verdict.notes)) is disagrees
    assert "picture_adds_nothing" in codes(verdict.findings)


def test_the_sentence_says_that_the_picture_points_the_other_way(bundle_copy: Path, example: Path) -> None:
    folder = add_fusion(bundle_copy, covariates=WITHOUT_SUPPORT, kernel=WITHOUT_WEIGHT)
    with OsteoPredictor(folder) as predictor:
        opposed = [one for one in (predictor.predict(example, age_years=age, sex="female") for age in (30, 100)) if one.notes]
    (fused,) = opposed  # whichever class the picture suggests, it is against one of the two
    assert fused.message.count("The picture's own score points the other way.") == 1


def test_nobody_is_told_of_a_class_that_was_never_seen_at_this_age(predictor: OsteoPredictor, example: Path) -> None:
    fused = predictor.predict(example, **OLD_WOMAN)
    assert fused.status is Status.REFERRED
    assert codes(fused.findings)[0] == "outside_support"
    assert "held no radiograph labelled normal of a person over 49 years of age" in fused.findings[0].message
    assert fused.message.startswith("This test has not learnt from persons like this one and cannot tell.")
    assert fused.message.endswith("DXA is advised for women of 65 and over.")
    assert fused.probabilities["normal"] < fusion()["conformal"]["min_probabilities"][0]
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
    assert fused.message.startswith("From age and sex (the picture was not shown to add to that): higher chance of low bone")


def test_support_is_judged_only_for_what_is_known() -> None:
    assert outside_support(record(), {"sex": 1.0}) == ()
    assert outside_support(record(), {"age_years": 60.0}) == (("age_years", "normal"),)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"age_years": 0.5}, r"age_years must be 18 to 110 years, not 0.5"),
        ({"age_years": 130}, r"age_years must be 18 to 110 years, not 130"),
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


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"age_years": 0.5}, "age_years must be 1 to 120 years, not 0.5"),
        ({"age_years": 130}, "age_years must be 1 to 120 years, not 130"),
        ({"age_years": math.nan}, "age_years must be a number"),
        ({"age_years": "old"}, "age_years must be a number"),
        ({"sex": "x"}, "sex must be female or male"),
    ],
)
def test_age_and_sex_are_checked_whatever_the_bundle(bundle_copy: Path, given: dict[str, Any], named: str) -> None:
    for folder in (remove_fusion(bundle_copy), add_fusion(bundle_copy, **WITHOUT_AGE)):
        with pytest.raises(CovariateError, match=named):
            describe(open_bundle(folder).manifest.fusion, given)


def test_a_bundle_is_given_no_age_that_it_was_not_made_for(bundle_copy: Path, example: Path) -> None:
    known = {"age_years": 67, "covariates": {"prior_fracture": "yes"}}
    prediction = OsteoPredictor(add_fusion(bundle_copy, **WITHOUT_AGE)).predict(example, **known)
    assert dict(prediction.covariates_used) == {"prior_fracture": 1}
    assert (codes(prediction.notes)[-1], prediction.age_years) == ("covariates_not_used", 67)
    assert prediction.notes[-1].message.endswith("not used: age")


@pytest.mark.parametrize("age", [1, 8, 17, 17.99, "17"])
def test_nobody_below_18_is_answered_whatever_the_bundle(bundle_copy: Path, example: Path, age: float) -> None:
    for folder in (remove_fusion(bundle_copy), add_fusion(bundle_copy, **WITHOUT_AGE), add_fusion(bundle_copy)):
        for sex in (None, "female"):
            with OsteoPredictor(folder) as predictor:
                prediction = predictor.predict(example, age_years=age, sex=sex)
            assert (prediction.status, codes(prediction.findings)) == (Status.REJECTED, ["immature"])
            assert (prediction.label, prediction.likeliest, prediction.knees) == (None, None, ())
            assert prediction.digest
            assert "run" not in prediction.timings_ms
            assert prediction.message == (
                "Below 18 years of age no answer is given. This test has not learnt from bones that still grow. Ask a doctor."
            )


def test_a_child_s_picture_is_read_first_and_an_adult_s_answered(bundle_copy: Path, example: Path) -> None:
    with OsteoPredictor(remove_fusion(bundle_copy)) as predictor:
        with pytest.raises(InputError):
            predictor.predict("missing.png", age_years=8)
        for age in (None, 18, 18.0, "18", 120):
            assert predictor.predict(example, age_years=age).status is Status.REFERRED


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
    assert "bmi and age" in prediction.notes[0].message
    assert OsteoPredictor(DENSITY).predict(example).notes == ()


def test_json_and_csv_tell_the_mode(predictor: OsteoPredictor, example: Path) -> None:
    fused, rejected = predictor.predict(example, **OLD_WOMAN), predictor.predict(np.zeros((10, 10), np.uint8), **OLD_WOMAN)
    for prediction in (fused, rejected):
        jsonschema.validate(prediction.to_dict(), SCHEMA)
        assert [len(row) for row in to_rows(prediction)] == [len(CSV_COLUMNS)]
    (plain,), row = fused.to_dict()["answers"], dict(zip(CSV_COLUMNS, *to_rows(fused), strict=True))
    assert (plain["mode"], plain["covariates_used"]) == ("fused", {"age_years": 67, "sex": 1})
    assert (row["mode"], row["covariates_used"]) == ("fused", "age_years=67;sex=1")
    cells = dict(cell.split("=") for cell in row["image_probabilities"].split(";"))
    assert {label: float(share) for label, share in cells.items()} == plain["image_probabilities"]
    assert [answer["mode"] for answer in rejected.to_dict()["answers"]] == [None]


def test_an_overlay_can_be_drawn_of_a_fused_answer(predictor: OsteoPredictor, example: Path, tmp_path: Path) -> None:
    fused = predictor.predict(example, **OLD_WOMAN, explain=True)
    alone = predictor.predict(example, explain=True)
    assert fused.save_overlay(tmp_path / "overlay.png").stat().st_size > 0
    np.testing.assert_array_equal(fused.knees[0].saliency, alone.knees[0].saliency)


def test_the_verdict_needs_no_picture() -> None:
    verdict = decide(open_bundle(DENSITY).manifest, np.array([0.0, 0.0, 9.0]), Person())
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
        ({"conformal": {"coverage": 2, "min_probabilities": [0.3] * 3, "calibration_size": 1}}, "fusion.conformal.coverage"),
    ],
)
def test_a_fusion_that_does_not_fit_is_refused(bundle_copy: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ManifestError, match=named):
        open_bundle(add_fusion(bundle_copy, **changes))
