"""Answers as DICOM objects, judged by programs of other people: dicom3tools' dciodvfy and dcmtk's dsrdump."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest

from osteo_edge import OsteoPredictor
from osteo_edge.errors import ReportError
from osteo_edge.exchange.dicom_objects import CAPTURE, PDF, to_capture, to_encapsulated
from osteo_edge.exchange.dicom_report import SCHEME, to_report
from osteo_edge.exchange.dicom_study import Study, study_of
from osteo_edge.images import reader
from osteo_edge.labels import Status
from osteo_edge.prediction import Prediction
from osteo_edge.station.dicom import DicomProduct
from tests import dicoms

pytest.importorskip("highdicom", reason="highdicom is not installed")

NOON = datetime(2026, 3, 1, 12)
STUDY: dict[str, Any] = {
    **dicoms.OF_A_KNEE,
    **dicoms.SECRETS,
    "SOPInstanceUID": "1.2.826.0.1.3680043.2.1125.4",
    "StudyInstanceUID": "1.2.826.0.1.3680043.2.1125.1",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.2.1125.2",
    "StudyDate": "20260301",
    "SpecificCharacterSet": "ISO_IR 100",
}
# What dciodvfy says of a private scheme of codes, and of what may be there and is not.
REQUIRED_TOOLS = {"dciodvfy": "dicom3tools", "dsrdump": "dcmtk"}


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: {REQUIRED_TOOLS[name]})")
    return found


@pytest.fixture(scope="module")
def picture(example: Path) -> bytes:
    pixels = cv2.imread(str(example), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    return dicoms.file(pixels, **STUDY)


@pytest.fixture(scope="module")
def prediction(picture: bytes) -> Prediction:
    with OsteoPredictor(questions="all") as predictor:
        return predictor.predict(picture, source="picture", explain=True)


@pytest.fixture(scope="module")
def study(picture: bytes) -> Study:
    return study_of(picture, "key", NOON)


@pytest.fixture(scope="module")
def objects(prediction: Prediction, study: Study) -> dict[str, bytes]:
    """Of each kind one, that of a rejected picture among them."""
    rejected = replace(prediction, answers=tuple(replace(a, status=Status.REJECTED, knees=()) for a in prediction.answers))
    return {
        "report": to_report(prediction, study),
        "report of a rejected picture": to_report(rejected, study),
        "capture": to_capture(prediction, study),
        "pdf": to_encapsulated(b"%PDF-1.7 and so on", study),
    }


KINDS = ["report", "report of a rejected picture", "capture", "pdf"]


@pytest.mark.parametrize("kind", KINDS)
def test_dciodvfy_finds_no_error(objects: dict[str, bytes], kind: str, tmp_path: Path) -> None:
    (tmp_path / "file.dcm").write_bytes(objects[kind])
    done = subprocess.run([tool("dciodvfy"), tmp_path / "file.dcm"], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []


def test_dciodvfy_would_find_one(objects: dict[str, bytes], tmp_path: Path) -> None:
    made = pydicom.dcmread(BytesIO(objects["capture"]))
    del made.ConversionType
    made.save_as(tmp_path / "file.dcm")
    done = subprocess.run([tool("dciodvfy"), tmp_path / "file.dcm"], capture_output=True, text=True, check=False)
    assert "Error" in done.stderr
    assert "ConversionType" in done.stderr


def test_dsrdump_reads_the_report(objects: dict[str, bytes], prediction: Prediction, tmp_path: Path) -> None:
    (tmp_path / "file.dcm").write_bytes(objects["report"])
    done = subprocess.run([tool("dsrdump"), "+Pl", tmp_path / "file.dcm"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    told = done.stdout
    assert "Imaging Measurement Report" in told
    assert "PARTIAL" not in told
    assert "UNVERIFIED" in told.upper()
    for answer in prediction.answers:
        assert answer.model.bundle in told
        assert f"SHA-256 {answer.model.digest}" in told
        assert SCHEME in told


def test_the_report_says_what_was_answered_and_where(objects: dict[str, bytes], prediction: Prediction) -> None:
    made = pydicom.dcmread(BytesIO(objects["report"]))
    assert (made.CompletionFlag, made.VerificationFlag, made.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    items = list(all_items(made))
    regions = [list(item.GraphicData) for item in items if item.ValueType == "SCOORD"]
    asked_of_knees = [answer for answer in prediction.answers if answer.asked.unit == "knee"]
    knees = [knee for answer in asked_of_knees for knee in answer.knees]
    assert len(regions) == len(knees) > 0
    for region, knee in zip(regions, knees, strict=True):
        assert region[:2] == [max(knee.box.x0, 0), max(knee.box.y0, 0)]
        assert region[:2] == region[-2:]
        assert max(region[::2]) <= 10_000
    told = [item.ConceptCodeSequence[0] for item in items if item.ValueType == "CODE" and is_private(item)]
    codes = [getattr(one, "CodeValue", None) or one.LongCodeValue for one in told]
    expected = [
        one.answer or "referred"
        for answer in prediction.answers
        for one in (answer.knees if answer in asked_of_knees else [answer])
    ]
    assert codes == expected


def all_items(dataset: Any) -> Any:
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from all_items(item)


def is_private(item: Any) -> bool:
    return bool(item.ConceptNameCodeSequence[0].CodingSchemeDesignator == SCHEME)


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_of_the_same_patient_and_study_in_a_new_series(objects: dict[str, bytes], kind: str) -> None:
    made = pydicom.dcmread(BytesIO(objects[kind]))
    for keyword in ("StudyInstanceUID", "StudyDate", "PatientID", "PatientName", "PatientBirthDate"):
        assert str(made[keyword].value) == STUDY[keyword]
    assert made.SeriesInstanceUID != STUDY["SeriesInstanceUID"]
    assert "PatientAddress" not in made
    assert made.Manufacturer == "osteo-edge"


def test_the_capture_is_the_overlay(objects: dict[str, bytes], prediction: Prediction) -> None:
    from osteo_edge.reports.overlay import draw_overlay

    made = pydicom.dcmread(BytesIO(objects["capture"]))
    assert (made.SOPClassUID, made.BurnedInAnnotation) == (CAPTURE, "YES")
    assert np.array_equal(made.pixel_array[..., ::-1], draw_overlay(prediction))


def test_the_page_is_whole(objects: dict[str, bytes]) -> None:
    made = pydicom.dcmread(BytesIO(objects["pdf"]))
    assert made.SOPClassUID == PDF
    assert made.EncapsulatedDocument[: made.EncapsulatedDocumentLength] == b"%PDF-1.7 and so on"


def test_the_same_answer_has_the_same_numbers(objects: dict[str, bytes], prediction: Prediction, picture: bytes) -> None:
    again = to_report(prediction, study_of(picture, "key", NOON))
    assert pydicom.dcmread(BytesIO(again)).SOPInstanceUID == pydicom.dcmread(BytesIO(objects["report"])).SOPInstanceUID
    numbers = {pydicom.dcmread(BytesIO(data)).SOPInstanceUID for kind, data in objects.items() if "rejected" not in kind}
    numbers.add(pydicom.dcmread(BytesIO(to_report(prediction, study_of(picture, "other", NOON)))).SOPInstanceUID)
    assert len(numbers) == 4


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_picture_of_no_study_is_a_sentence(missing: str, picture: bytes) -> None:
    made = pydicom.dcmread(BytesIO(picture))
    del made[missing]
    target = BytesIO()
    made.save_as(target)
    with pytest.raises(ReportError, match=f"has no {missing}"):
        study_of(target.getvalue(), "key", NOON)


def test_no_value_of_a_tag_stands_in_an_error(picture: bytes, prediction: Prediction) -> None:
    study = study_of(picture, "key", NOON)
    study.picture.__dict__["Rows"] = "Secretname^Given"
    study.picture["StudyTime"].__dict__["_value"] = "Secretname^Given"
    with pytest.raises(ReportError) as refused:
        to_report(prediction, study)
    assert "Secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_station_writes_them_beside_the_answer(tmp_path: Path, prediction: Prediction, picture: bytes) -> None:
    DicomProduct(tmp_path / "dicom", reader.read).make(prediction, picture, "stem")
    assert {"stem.sr.dcm", "stem.sc.dcm"} <= {path.name for path in (tmp_path / "dicom").iterdir()}
    DicomProduct(tmp_path / "none", reader.read).make(replace(prediction, tags=None), picture, "stem")
    assert list((tmp_path / "none").iterdir()) == []
