"""Published scores beside a picture's answers: never mixed into them, one next step, and no sign outweighed."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from osteo_edge import CovariateError, OsteoPredictor, Prediction, Status, wording
from osteo_edge.clinical.advice import Risk, next_step, picture_of, risk_of
from osteo_edge.clinical.assessment import assess
from osteo_edge.clinical.known import read_known
from osteo_edge.reports.text import to_line, to_text
from tests.answers import HARDWARE, a_prediction, an_answer

ROOT = Path(__file__).resolve().parents[2]
PREDICTION_SCHEMA, RISK_SCHEMA = (
    json.loads((ROOT / f"osteo_edge/reports/{name}.schema.json").read_text()) for name in ("prediction", "risk")
)
WOMAN: dict[str, Any] = {"age_years": 67, "sex": "female"}
REFERS = "A published risk score is in the range where a DXA scan is advised"


@pytest.fixture(scope="module")
def predictor() -> Iterator[OsteoPredictor]:
    with OsteoPredictor("knee-mobilenet_v2", threads=1) as made:
        yield made


def beside(known: dict[str, Any], *answers: Any) -> Prediction:
    """A prediction of such answers, with the scores of this person."""
    assessment = assess(read_known(known))
    step = next_step(assessment, picture_of(answers))
    advised = [replace(one, advised=step) if one.question == "bone_density" else one for one in answers]
    return a_prediction(*advised, risk=Risk(assessment, step))


def test_scores_change_nothing_of_what_the_picture_says(predictor: OsteoPredictor, example: Path) -> None:
    without = predictor.predict(example, **WOMAN)
    beside_it = predictor.predict(example, **WOMAN, covariates={"weight": "58 kg", "estrogen_use": "no"})
    assert without.risk is None
    assert beside_it.risk is not None
    assert [one.instrument.code for one in beside_it.risk.assessment.in_range] == ["ost", "orai"]
    assert replace(beside_it.first, advised=None) == without.first
    assert beside_it.first.notes == without.first.notes  # a weight that scores take is not told to be unused
    assert wording.next_step(beside_it.first) == beside_it.risk.step.sentence


def test_json_has_the_scores_only_with_a_weight(predictor: OsteoPredictor, example: Path) -> None:
    assert "risk" not in predictor.predict(example, **WOMAN).to_dict()
    record = predictor.predict(example, **WOMAN, covariates={"weight_kg": 58}).to_dict()
    jsonschema.validate(record, PREDICTION_SCHEMA)
    jsonschema.validate(record["risk"], RISK_SCHEMA)
    assert json.loads(json.dumps(record)) == record
    assert REFERS in record["message"]


def test_it_is_copied_pickled_and_hashed(predictor: OsteoPredictor, example: Path) -> None:
    prediction = predictor.predict(example, **WOMAN, covariates={"weight_kg": 58})
    for other in (copy.deepcopy(prediction), pickle.loads(pickle.dumps(prediction))):
        assert other == prediction
        assert hash(other) == hash(prediction)


@pytest.mark.parametrize(
    "covariates", [{"weight_kg": "128 lb"}, {"weight": 580}, {"weight_kg": 58, "prior_fracture": "no", "fractures_after_45": 1}]
)
def test_what_scores_cannot_take_is_told_before_any_answer(
    predictor: OsteoPredictor, example: Path, covariates: dict[str, Any]
) -> None:
    for ask in (lambda: predictor.predict(example, covariates=covariates), lambda: predictor.describe(covariates)):
        with pytest.raises(CovariateError, match=r"weight_kg|contradict"):
            ask()


def test_a_name_that_nobody_knows_is_no_score_s(predictor: OsteoPredictor) -> None:
    with pytest.raises(CovariateError, match="knows no covariate 'weigth'"):
        predictor.describe({"weight_kg": 58, "weigth": 3})


def test_a_picture_that_cannot_be_read_keeps_its_person_s_scores(predictor: OsteoPredictor, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    (prediction,) = predictor.predict_files([(str(broken), {"age_years": 67, "sex": "female", "weight_kg": 58})])
    assert prediction.status is Status.REJECTED
    assert prediction.message.startswith("This picture cannot be read.")
    assert f"{wording.BY_SCORES}: a published risk score is in the range" in prediction.message


@pytest.mark.parametrize("weight", [58, 90])
def test_nobody_in_the_range_of_a_score_reads_of_no_sign(weight: float) -> None:
    for status, labels in ((Status.REPORTED, ("normal",)), (Status.REFERRED, ("normal",))):
        prediction = beside({"age": 58, "sex": "F", "weight": weight}, an_answer(status=status, label_set=labels))
        text = to_text(prediction)
        is_in_range = weight == 58
        assert ("No sign" in text) != is_in_range
        assert (REFERS in text) == is_in_range
        assert text.count("Next: ") == 1


def test_osteoarthritis_alone_says_nothing_of_bones_and_the_scores_do() -> None:
    prediction = beside({"age": 58, "sex": "F", "weight": 58}, an_answer(HARDWARE))
    lines = to_text(prediction).splitlines()
    assert prediction.message.endswith(
        f"{wording.BY_SCORES}: a published risk score is in the range where a DXA scan is advised: ask a doctor about one."
    )
    assert f"    Next: {REFERS}: ask a doctor about one." in lines
    assert REFERS.lower() in to_line(prediction).lower()


def test_text_tells_the_scores_apart_from_the_answers() -> None:
    lines = to_text(beside({"age": 70, "sex": "m", "weight": 70}, an_answer())).splitlines()
    place = lines.index("  Published risk scores, without the picture:")
    assert lines[place + 1].strip().startswith("OST")
    assert "not for men" in lines[place + 3]


def test_one_step_for_one_person_with_a_picture_or_without() -> None:
    for known in ({"age": 67, "sex": "F", "weight": 58}, {"age": 70, "sex": "M", "weight": 70}):
        assert beside(known, an_answer()).risk.step == risk_of(known).step  # type: ignore[union-attr]
