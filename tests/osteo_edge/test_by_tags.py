"""What a DICOM file's tags say is used and checked, never trusted alone, and of the patient nothing is passed on."""

from __future__ import annotations

import json
import logging
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from osteo_edge import OsteoPredictor, Prediction, wording
from osteo_edge.errors import InputError
from osteo_edge.images import reader
from osteo_edge.images.dicom_tags import age_of, names_implant
from osteo_edge.joints import Joint
from osteo_edge.labels import Laterality, Status
from osteo_edge.predictor import Respondent
from osteo_edge.reports.structured import to_rows
from osteo_edge.reports.text import to_text
from osteo_edge.tags import Tags
from tests import dicoms, pictures

# Of what is made wrong on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

GREYS = np.arange(90 * 70, dtype=np.uint16).reshape(90, 70) % 4096


@pytest.fixture(scope="module")
def predictor() -> Iterator[OsteoPredictor]:
    with OsteoPredictor("knee-mobilenet_v2", threads=1) as made:
        yield made


@pytest.fixture(scope="session")
def film(example: Path) -> np.ndarray:
    return cv2.imread(str(example), cv2.IMREAD_GRAYSCALE)


def tags_of(**elements: Any) -> Tags:
    tags = reader.read(dicoms.file(GREYS, **{"bits": 12, **dicoms.OF_A_KNEE, **elements})).tags
    assert tags is not None
    return tags


def codes(findings: tuple[Any, ...]) -> list[str]:
    return [finding.code for finding in findings]


def coded(meaning: str) -> Sequence:
    item = Dataset()
    item.CodeMeaning = meaning
    return Sequence([item])


# What the tags say


@pytest.mark.parametrize(
    ("elements", "part", "noted"),
    [
        ({"BodyPartExamined": "KNEE"}, "knee", []),
        ({"BodyPartExamined": "Left Knee"}, "knee", []),
        ({"BodyPartExamined": "HIP"}, "hip", []),
        ({"BodyPartExamined": "C SPINE"}, "cspine", []),
        ({"BodyPartExamined": "LOWER LEG"}, None, ["tags_absent"]),
        ({"BodyPartExamined": "EXTREMITY"}, None, ["tags_absent"]),
        ({"BodyPartExamined": "GIBBERISH"}, None, ["tags_absent", "tags_not_understood"]),
        ({"BodyPartExamined": None}, None, ["tags_absent"]),
        ({"BodyPartExamined": None, "AnatomicRegionSequence": coded("Knee joint")}, "knee", []),
        ({"BodyPartExamined": "", "AnatomicRegionSequence": coded("Elbow")}, "elbow", []),
    ],
)
def test_body_parts_are_known_by_their_words(elements: dict[str, Any], part: str | None, noted: list[str]) -> None:
    tags = tags_of(WindowCenter="2048", WindowWidth="4096", **elements)
    assert (tags.body_part, codes(tags.notes)) == (part, noted)


@pytest.mark.parametrize(
    ("elements", "view"),
    [
        ({"ViewPosition": "AP"}, "ap"),
        ({"ViewPosition": "PA"}, "pa"),
        ({"ViewPosition": "LATERAL"}, "lateral"),
        ({"ViewPosition": "RL"}, "lateral"),
        ({"ViewPosition": "LLO"}, "oblique"),
        ({"ViewPosition": "SKYLINE"}, "axial"),
        ({"ViewPosition": "WHATEVER"}, None),
        ({"ViewPosition": None}, None),
        ({"ViewPosition": "", "ViewCodeSequence": coded("antero-posterior")}, "ap"),
        ({"ViewPosition": None, "ViewCodeSequence": coded("medio-lateral")}, "lateral"),
        ({"ViewPosition": None, "ViewCodeSequence": coded("antero-posterior oblique")}, "oblique"),
    ],
)
def test_views_are_known_by_their_words_and_codes(elements: dict[str, Any], view: str | None) -> None:
    assert tags_of(**elements).view_position == view


def test_sides_and_spacings_are_taken_where_they_make_sense() -> None:
    assert tags_of(ImageLaterality="L").laterality is Laterality.LEFT
    assert tags_of(ImageLaterality=None, Laterality="R").laterality is Laterality.RIGHT
    assert tags_of(ImageLaterality="L", Laterality="R").laterality is None
    assert tags_of(ImageLaterality="B").laterality is None
    assert tags_of(PixelSpacing=["0.15", "0.15"]).pixel_spacing_mm == (0.15, 0.15)
    assert tags_of(PixelSpacing=None, ImagerPixelSpacing=["0.1", "0.1"]).pixel_spacing_mm == (0.1, 0.1)
    for wrong in (["0", "0"], ["-0.2", "0.2"], ["300", "300"], "0.2"):
        tags = tags_of(PixelSpacing=wrong)
        assert tags.pixel_spacing_mm is None
        assert "tags_not_understood" in codes(tags.notes)
    assert tags_of(PixelSpacing=None, PixelAspectRatio=["2", "1"]).aspect == 2


@pytest.mark.parametrize(
    ("elements", "day"),
    [
        ({"StudyDate": "20260301"}, "2026-03-01"),
        ({"StudyDate": "20260301", "AcquisitionDate": "20260228"}, "2026-02-28"),
        ({"StudyDate": "20260301", "ContentDate": "20260230"}, "2026-03-01"),
        ({"StudyDate": "2026.03.01"}, None),
        ({"StudyDate": ""}, None),
        ({}, None),
    ],
)
def test_the_day_is_taken_where_it_is_one(elements: dict[str, Any], day: str | None) -> None:
    tags = tags_of(**elements)
    assert tags.taken_on == day
    assert "2026" not in repr(tags)


@pytest.mark.parametrize(
    ("text", "years"),
    [
        *(("067Y", 67.0), ("018M", 1.5), ("052W", pytest.approx(1, abs=0.01)), ("010D", pytest.approx(0.027, abs=0.001))),
        *(
            (text, None)
            for text in ("67", "67Y", "0067Y", "067y", "067X", "-67Y", "000Y", "150Y", "", "067Y\\068Y", "\u0660\u0666\u0667Y")
        ),
    ],
)
def test_ages_are_days_weeks_months_or_years(text: str, years: float | None) -> None:
    assert age_of(text) == years


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        *(
            (text, True)
            for text in ("Knee AP post TKR", "L TKA", "Knie-TEP rechts", "Endoprothese", "status post arthroplasty")
        ),
        *(
            (text, True)
            for text in ("s/p ORIF", "two screws", "tibial prosthesis", "total knee replacement", "No change. TKR in place")
        ),
        *((text, False) for text in ("Knee AP", "no prosthesis", "pre TKR", "preop TKA", "before arthroplasty", "planned TKR")),
        *((text, False) for text in ("growth plate", "fingernail", "step", "STEPHANIE", "", "anteposition")),
    ],
)
def test_implants_are_known_by_name_unless_they_are_not_there_yet(text: str, is_one: bool) -> None:
    assert names_implant(text) == is_one


# What follows


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"BodyPartExamined": "HIP"}, "body_part"),
        ({"ViewPosition": "LATERAL"}, "view"),
        ({"ViewPosition": None, "ViewCodeSequence": coded("lateral")}, "view"),
        ({"PixelSpacing": ["0.2", "0.25"]}, "pixels_not_square"),
        ({"PixelSpacing": None, "PixelAspectRatio": ["1", "2"]}, "pixels_not_square"),
        ({"StudyDescription": "Knee after TKR"}, "implant"),
        ({"ImageComments": "Osteosynthese"}, "implant"),
    ],
)
def test_what_the_tags_forbid_is_rejected_with_its_reason(
    predictor: OsteoPredictor, film: np.ndarray, elements: dict[str, Any], code: str
) -> None:
    prediction = predictor.predict(dicoms.file(film, **{**dicoms.OF_A_KNEE, **elements}), age_years=70, sex="female")
    assert (prediction.status, codes(prediction.findings)[0], prediction.probabilities) == (Status.REJECTED, code, {})
    assert prediction.message.startswith(wording.REJECTIONS[code][0])
    assert prediction.digest


def test_spacing_that_differs_by_rounding_is_no_stretch(predictor: OsteoPredictor, film: np.ndarray) -> None:
    prediction = predictor.predict(dicoms.file(film, **{**dicoms.OF_A_KNEE, "PixelSpacing": ["0.143", "0.1437"]}))
    assert prediction.status is not Status.REJECTED


def test_good_tags_do_not_make_a_knee(predictor: OsteoPredictor) -> None:
    noise = np.random.default_rng(0).integers(0, 4096, (400, 400)).astype(np.uint16)
    prediction = predictor.predict(dicoms.file(noise, bits=12, **dicoms.OF_A_KNEE))
    assert codes(prediction.findings) == ["no_knee"]
    assert prediction.tags is not None
    assert prediction.tags.body_part == "knee"


def test_absent_tags_are_told_and_go_on(predictor: OsteoPredictor, film: np.ndarray) -> None:
    prediction = predictor.predict(dicoms.file(film, kind=dicoms.SC))
    assert prediction.status is not Status.REJECTED
    assert set(codes(prediction.notes)) >= {"secondary_capture", "tags_absent"}
    (absent,) = [note for note in prediction.notes if note.code == "tags_absent"]
    assert "body part, view, side and pixel spacing" in absent.message
    assert (
        predictor.predict(dicoms.file(film, kind=dicoms.DX, **dicoms.OF_A_KNEE, WindowCenter="128", WindowWidth="256")).notes
        == ()
    )


def test_text_that_was_burned_in_is_told(predictor: OsteoPredictor, film: np.ndarray) -> None:
    for said, expected in (("YES", True), ("NO", False)):
        prediction = predictor.predict(dicoms.file(film, **dicoms.OF_A_KNEE, BurnedInAnnotation=said))
        assert ("burned_in_text" in codes(prediction.notes)) == expected


def test_a_side_that_the_fibula_contradicts_is_told(predictor: OsteoPredictor, film: np.ndarray) -> None:
    (joint,) = predictor.predict(pictures.encoded(".png", film)).joints
    own = {Laterality.RIGHT: "R", Laterality.LEFT: "L"}
    assert joint.laterality in own
    other = "L" if own[joint.laterality] == "R" else "R"
    for said, expected in ((own[joint.laterality], False), (other, True)):
        prediction = predictor.predict(dicoms.file(film, **{**dicoms.OF_A_KNEE, "ImageLaterality": said}))
        assert ("side_contradicted" in codes(prediction.notes)) == expected
        assert prediction.joints == (joint,)


def test_the_same_film_in_every_form_gives_the_same_tensors(
    predictor: OsteoPredictor, film: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[bytes]] = []
    prepare = Respondent.prepare

    def watched(self: Respondent, pixels: np.ndarray, joints: tuple[Joint, ...], tensors: dict[Any, Any]) -> None:
        prepare(self, pixels, joints, tensors)
        seen.append([tensor.tobytes() for made in tensors.values() for tensor in made])

    monkeypatch.setattr(Respondent, "prepare", watched)
    deep = film.astype(np.uint16)
    whole = {"WindowCenter": "128", "WindowWidth": "256"}
    forms = [
        pictures.encoded(".png", film),
        pictures.encoded(".png", deep),
        film,
        deep,
        dicoms.file(film, **dicoms.OF_A_KNEE),
        dicoms.file(film, dicoms.JPEG_LOSSLESS_FIRST, **dicoms.OF_A_KNEE, **whole),
        dicoms.file(255 - film, dicoms.JPEG_LS, **dicoms.OF_A_KNEE, PhotometricInterpretation="MONOCHROME1"),
        dicoms.file(deep, dicoms.J2K_LOSSLESS, bits=12, **dicoms.OF_A_KNEE),
        dicoms.file(film.astype(np.int16) - 128, dicoms.BIG_ENDIAN, bits=8, BitsStored=8, HighBit=7, **dicoms.OF_A_KNEE),
    ]
    for form in forms:
        predictor.predict(form)
    assert len(seen) == len(forms)
    assert all(tensors == seen[0] for tensors in seen)


# The person


def given(prediction: Prediction) -> tuple[float | None, str | None]:
    return prediction.age_years, prediction.sex


def test_age_and_sex_are_taken_from_the_file_where_none_are_given(predictor: OsteoPredictor, film: np.ndarray) -> None:
    person = {"PatientAge": "045Y", "PatientSex": "F"}
    prediction = predictor.predict(dicoms.file(film, **dicoms.OF_A_KNEE, **person))
    assert given(prediction) == (45, "female")
    assert "person_from_file" in codes(prediction.notes)
    (note,) = [note for note in prediction.notes if note.code == "person_from_file"]
    assert note.message == "age and sex are taken from the file's own tags"
    by_hand = predictor.predict(pictures.encoded(".png", film), age_years=45, sex="female")
    assert (by_hand.probabilities, by_hand.covariates_used) == (prediction.probabilities, prediction.covariates_used)
    half = predictor.predict(dicoms.file(film, **dicoms.OF_A_KNEE, **person), age_years=45)
    assert "sex is taken" in next(note.message for note in half.notes if note.code == "person_from_file")


def test_what_is_given_wins_and_a_contradiction_is_told(predictor: OsteoPredictor, film: np.ndarray) -> None:
    data = dicoms.file(film, **dicoms.OF_A_KNEE, PatientAge="045Y", PatientSex="F")
    prediction = predictor.predict(data, age_years=60, sex="M")
    assert given(prediction) == (60, "male")
    (note,) = [note for note in prediction.notes if note.code == "person_contradicted"]
    assert "another age and sex" in note.message
    assert "45" not in note.message
    near = predictor.predict(data, age_years=46, sex="female")
    assert "person_contradicted" not in codes(near.notes)
    assert "person_from_file" not in codes(near.notes)


@pytest.mark.parametrize(("age", "is_child"), [("010D", True), ("006W", True), ("030M", True), ("017Y", True), ("018Y", False)])
def test_a_child_by_the_file_s_tags_is_refused(predictor: OsteoPredictor, film: np.ndarray, age: str, is_child: bool) -> None:
    prediction = predictor.predict(dicoms.file(film, **dicoms.OF_A_KNEE, PatientAge=age))
    assert ("immature" in codes(prediction.findings)) == is_child


@pytest.mark.parametrize("age", ["45", "ABC", "450Y", "000Y"])
def test_an_age_that_is_none_is_told_and_not_used(predictor: OsteoPredictor, film: np.ndarray, age: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = dicoms.file(film, **dicoms.OF_A_KNEE, PatientSex="O").replace(b"PN", b"PN")
        aged = dicoms.file(film, **dicoms.OF_A_KNEE, PatientAge="045Y").replace(b"045Y", age.encode().ljust(4))
    assert given(predictor.predict(data)) == (None, None)
    prediction = predictor.predict(aged)
    assert given(prediction) == (None, None)
    assert "person_not_understood" in codes(prediction.notes)


def test_an_age_beyond_what_a_bundle_takes_is_told_and_not_used(predictor: OsteoPredictor, film: np.ndarray) -> None:
    prediction = predictor.predict(dicoms.file(film, **dicoms.OF_A_KNEE, PatientAge="119Y"))
    assert prediction.status is not Status.REJECTED
    assert given(prediction) == (119, None) or "person_not_understood" in codes(prediction.notes)


def test_of_a_table_s_persons_each_file_s_tags_are_their_own(
    predictor: OsteoPredictor, film: np.ndarray, tmp_path: Path
) -> None:
    for name, age in (("a.dcm", "045Y"), ("b.dcm", "050Y")):
        (tmp_path / name).write_bytes(dicoms.file(film, **dicoms.OF_A_KNEE, PatientAge=age, PatientSex="F"))
    paths = [str(tmp_path / "a.dcm"), str(tmp_path / "b.dcm")]
    assert [given(one) for one in predictor.predict_many(paths)] == [(45, "female"), (50, "female")]
    told = predictor.predict_files([(paths[0], {"age": 46.0}), (paths[1], {})])
    assert [given(one) for one in told] == [(46, "female"), (50, "female")]


# Privacy


def test_nothing_of_the_patient_is_passed_on(
    predictor: OsteoPredictor, film: np.ndarray, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    good = dicoms.file(film, **dicoms.OF_A_KNEE, **dicoms.SECRETS, PatientAge="045Y", PatientSex="F")
    lateral = dicoms.file(film, **{**dicoms.OF_A_KNEE, "ViewPosition": "Secretname"}, **dicoms.SECRETS)
    described = dicoms.file(
        film, **{**dicoms.OF_A_KNEE, "BodyPartExamined": "SECRETID77"}, StudyDescription="TKR of Secretname"
    )
    broken = [good[:-2000], good[:400], good.replace(b"045Y", b"Sec\xe9"), good.replace(b"MONOCHROME2", b"SECRETID777")]
    caplog.clear()  # what was said while the files were made
    caplog.set_level(logging.DEBUG)
    said = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for data in (good, lateral, described):
            prediction = predictor.predict(data, explain=True)
            said += [
                json.dumps(prediction.to_dict()),
                to_text(prediction, is_verbose=True),
                repr(prediction),
                str(to_rows(prediction)),
            ]
            assert pickle.loads(pickle.dumps(prediction)) == prediction
        for data in broken:
            try:
                said.append(repr(predictor.predict(data)))
            except InputError as error:
                said.append(f"{error!r} {error.__cause__}")
    said += [str(warning.message) for warning in warned] + [caplog.text, *capfd.readouterr()]
    for secret in ("secret", "19410203"):
        assert [text for text in said if secret in text.lower()] == []


def test_age_and_sex_are_not_printed_with_the_tags() -> None:
    tags = tags_of(PatientAge="045Y", PatientSex="F")
    assert (tags.age_years, tags.sex) == (45, "female")
    assert "45" not in repr(tags)
    assert "female" not in repr(tags)


# How it is told


def test_json_and_text_tell_the_tags(predictor: OsteoPredictor, film: np.ndarray) -> None:
    prediction = predictor.predict(
        dicoms.file(film, dicoms.JPEG_LS, **dicoms.OF_A_KNEE, WindowCenter="128", WindowWidth="256", StudyDate="20260301")
    )
    assert prediction.to_dict()["tags"] == {
        "kind": "CR",
        "coding": "JPEG-LS",
        "greys": "window",
        "body_part": "knee",
        "view_position": "ap",
        "laterality": "right",
        "pixel_spacing_mm": [0.2, 0.2],
        "taken_on": "2026-03-01",
    }
    assert "tags          CR, JPEG-LS, greys by window; knee, ap, right, 0.2 x 0.2 mm a pixel" in to_text(
        prediction, is_verbose=True
    )
    assert predictor.predict(pictures.encoded(".png", film)).to_dict()["tags"] is None
