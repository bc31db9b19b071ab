"""Answers as FHIR R4: read by a library of others, and by tables of codes for what that lets pass."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from osteo_edge import OsteoPredictor
from osteo_edge.cli import exit_codes
from osteo_edge.cli.group import run
from osteo_edge.exchange.fhir import to_bundle
from osteo_edge.prediction import Prediction

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
# What HL7's value sets of R4 allow, of the codes that are written here.
ALLOWED = {
    "DiagnosticReport.status": {"registered", "partial", "preliminary", "final", "amended", "corrected", "appended"},
    "Observation.status": {"registered", "preliminary", "final", "amended", "corrected", "cancelled"},
    "RiskAssessment.status": {"registered", "preliminary", "final", "amended", "corrected", "cancelled"},
    "Device.deviceName.type": {"udi-label-name", "user-friendly-name", "patient-reported-name", "model-name", "other"},
    "Bundle.type": {"document", "message", "transaction", "batch", "history", "searchset", "collection"},
}
ABSENT = {"unknown", "not-performed"}
PERSON = {"age_years": 67.0, "sex": "female", "covariates": {"weight_kg": 58.0}}


@pytest.fixture(scope="module")
def predictions(example: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Prediction]:
    """Answered with scores beside, answered alone, and rejected."""
    from osteo_edge.errors import UnreadableImageError

    with OsteoPredictor(questions="all") as predictor:
        scored = predictor.predict(str(example), source="picture", **PERSON)  # type: ignore[arg-type]
        alone = predictor.predict(str(example), source="picture")
        return [scored, alone, predictor.reject("picture", UnreadableImageError("it is cut", code="truncated"))]


def resources(bundle: Any, kind: str) -> list[Any]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def test_a_library_of_others_reads_it(predictions: list[Prediction]) -> None:
    library = pytest.importorskip("fhir.resources.R4B.bundle", reason="fhir.resources is not installed")
    for prediction in predictions:
        made = to_bundle(prediction, issued=NOON, subject="Patient/12")
        read = library.Bundle.model_validate_json(json.dumps(made))
        assert json.loads(read.model_dump_json(exclude_none=True)).keys() == made.keys()
    broken = copy.deepcopy(made)
    del broken["entry"][0]["resource"]["code"]
    with pytest.raises(ValueError, match="code"):
        library.Bundle.model_validate_json(json.dumps(broken))
    broken = copy.deepcopy(made)
    broken["entry"][0]["resource"]["verdict"] = "x"
    with pytest.raises(ValueError, match="verdict"):
        library.Bundle.model_validate_json(json.dumps(broken))


def codes_of(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for one in value:
            yield from codes_of(one, where)
    elif isinstance(value, dict):
        inside = value.get("resourceType", where)
        for name, one in value.items():
            yield from codes_of(one, f"{inside}.{name}")
    elif isinstance(value, str):
        yield where, value


def test_every_code_is_of_its_value_set_and_all_is_preliminary(predictions: list[Prediction]) -> None:
    seen = set()
    for prediction in predictions:
        for where, code in codes_of(to_bundle(prediction, issued=NOON), ""):
            if where in ALLOWED:
                seen.add(where)
                assert code in ALLOWED[where]
            if where.endswith(".status"):
                assert code == "preliminary"
            if where == "Observation.dataAbsentReason.coding.code":
                assert code in ABSENT
    assert seen == set(ALLOWED)


def test_every_reference_is_to_an_entry(predictions: list[Prediction]) -> None:
    for prediction in predictions:
        made = to_bundle(prediction, issued=NOON)
        urls = [entry["fullUrl"] for entry in made["entry"]]
        told = {text for where, text in codes_of(made, "") if where.endswith(".reference")}
        assert told <= set(urls)
        assert len(urls) == len(set(urls))


def test_findings_devices_and_scores(predictions: list[Prediction]) -> None:
    scored, alone, rejected = (to_bundle(prediction, issued=NOON) for prediction in predictions)
    models = {answer.model.digest for answer in predictions[0].answers}
    assert {one["identifier"][0]["value"] for one in resources(scored, "Device")} == models
    expected = [
        knee.answer
        for answer in predictions[0].answers
        for knee in ([answer] if answer.lead is None else answer.knees)  # type: ignore[list-item]
    ]
    told = [one.get("valueCodeableConcept", {}).get("coding", [{}])[0].get("code") for one in resources(scored, "Observation")]
    assert told == expected
    assert predictions[0].risk is not None
    scores = {outcome.instrument.code for outcome in predictions[0].risk.assessment.computed}
    assert {one["code"]["coding"][0]["code"] for one in resources(scored, "RiskAssessment")} == scores != set()
    assert resources(alone, "RiskAssessment") == []
    absent = [one["dataAbsentReason"]["coding"][0]["code"] for one in resources(rejected, "Observation")]
    assert set(absent) == {"not-performed"}
    assert len(absent) == len(predictions[2].answers)


def test_no_code_of_dxa_and_nobody_is_named(predictions: list[Prediction]) -> None:
    text = json.dumps(to_bundle(predictions[0], issued=NOON))
    assert not [code for code in ("38267-1", "38263-0", "loinc", "T-score", "Patient/") if code in text]
    assert '"picture"' not in text
    assert text == json.dumps(to_bundle(predictions[0], issued=NOON))


def test_the_command_writes_a_bundle_a_line(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--age", "67", "--sex", "female", "--weight", "58", "--question", "osteoarthritis"]
    assert run(["predict", "--format", "fhir", *given, str(example)]) in (exit_codes.ANSWERED, exit_codes.NO_ANSWER)
    (line,) = capsys.readouterr().out.splitlines()
    assert resources(json.loads(line), "RiskAssessment")
