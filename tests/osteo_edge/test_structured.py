"""An answer for machines and on one line: only what is reported is a label, and no text holds a terminal's controls."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from osteo_edge import Prediction, Status
from osteo_edge.findings import Finding
from osteo_edge.records import FrozenMapping
from osteo_edge.reports.structured import CSV_COLUMNS, to_rows
from tests.answers import a_prediction, an_answer

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "osteo_edge/reports/prediction.schema.json").read_text())
SCORES = FrozenMapping({"normal": 0.2, "osteopenia": 0.1, "osteoporosis": 0.7})
ANSWER = an_answer(probabilities=SCORES, image_probabilities=SCORES, label_set=("osteoporosis",))
UNPROVEN = (Finding("unproven", "not shown to tell more than chance"),)
NOTHING = FrozenMapping[float]()
REFUSED = replace(
    ANSWER,
    status=Status.REJECTED,
    findings=(Finding("truncated", "the PNG file is truncated"),),
    mode=None,
    probabilities=NOTHING,
    image_probabilities=NOTHING,
    label_set=(),
)
REPORTED = a_prediction(ANSWER)
REFERRED = a_prediction(replace(ANSWER, status=Status.REFERRED, findings=UNPROVEN))
REJECTED = a_prediction(REFUSED)


@pytest.mark.parametrize(
    ("prediction", "label", "likeliest"),
    [(REPORTED, "osteoporosis", "osteoporosis"), (REFERRED, None, "osteoporosis"), (REJECTED, None, None)],
)
def test_only_a_reported_class_is_a_label(prediction: Prediction, label: str | None, likeliest: str | None) -> None:
    assert (prediction.label, prediction.likeliest) == (label, likeliest)
    plain = prediction.to_dict()
    jsonschema.validate(plain, SCHEMA)
    (answer,) = plain["answers"]
    assert (plain["schema_version"], answer["label"], answer["likeliest"]) == (6, label, likeliest)
    (cells,) = to_rows(prediction)
    row = dict(zip(CSV_COLUMNS, cells, strict=True))
    assert (row["label"], row["likeliest"]) == (label or "", likeliest or "")
    assert plain["message"] == answer["message"] == row["message"] == prediction.message
    pieces = answer["told"]
    said = [*(one["sentence"] for one in pieces["knees"]), *pieces["why"], pieces["next_step"]]
    assert " ".join(filter(None, said)) == answer["message"]
    assert bool(plain["findings"]) == (prediction.status is Status.REJECTED)


def test_text_is_one_line_with_the_sentence() -> None:
    assert str(REFERRED).startswith("image.png: referred - This test cannot tell")
    assert str(REJECTED).startswith("image.png: rejected - This picture cannot be read")
    assert str(REJECTED).endswith("This picture cannot be read. The PNG file is truncated.")
    assert str(REPORTED) == f"image.png: reported - {REPORTED.message}"


@pytest.mark.parametrize("source", ["a\nb.png", "\x1b[31mred.png", "\u202egnp.exe", "\udcff.png", "a\u2028b"])
def test_text_holds_no_control_of_a_terminal(source: str) -> None:
    for prediction in (REFERRED, a_prediction(replace(REFUSED, findings=(Finding("x", f"no {source}"),)))):
        assert str(replace(prediction, source=source)).isprintable()


@pytest.mark.parametrize(
    ("overlay", "cell"),
    [(None, ""), ("a.overlay.png", "a.overlay.png"), ("=a\nb.png", "./=a\\nb.png"), ("-2+3|a.png", "./-2+3|a.png")],
)
def test_a_row_names_the_overlay(overlay: str | None, cell: str) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([CSV_COLUMNS, *to_rows(REPORTED, overlay=overlay)])
    (row,) = csv.DictReader(io.StringIO(buffer.getvalue()))
    assert row["overlay"] == cell
