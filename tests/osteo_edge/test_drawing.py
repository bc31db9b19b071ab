"""What is drawn on a radiograph: on films of any form, in letters that can be read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osteo_edge import OsteoPredictor
from osteo_edge.joints import Box
from osteo_edge.labels import Laterality
from osteo_edge.prediction import Prediction
from osteo_edge.radiograph import Radiograph
from osteo_edge.reports import film
from osteo_edge.reports.lettering import BACKGROUND_BGR, Letters, drawable
from osteo_edge.reports.overlay import MAX_SIDE_PX, draw_overlay
from tests.answers import with_first
from tests.bundles import DENSITY

GREEN = np.array(film.BOX_BGR)
SHAPES = [(1600, 256), (3000, 300), (400, 4000), (256, 256), (256, 700), (2660, 2180), (20, 20), (9000, 12)]


@dataclass(frozen=True)
class Line:
    text: str
    left: int
    right: int
    canvas_width: int
    baseline: int
    canvas_height: int


@pytest.fixture(scope="module")
def explained(example: Path) -> Prediction:
    return OsteoPredictor(DENSITY, threads=1).predict(example, explain=True)


@pytest.fixture(scope="module")
def fused(example: Path) -> Prediction:
    return OsteoPredictor(DENSITY, threads=1).predict(example, explain=True, age_years=67, sex="F")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    """Every line that was written on a picture."""
    lines: list[Line] = []
    draw = cv2.putText

    def put(canvas: Any, text: str, at: tuple[int, int], font: int, scale: float, *others: Any) -> Any:
        width = cv2.getTextSize(text, font, scale, 1)[0][0]
        lines.append(Line(text, at[0], at[0] + width, canvas.shape[1], at[1], canvas.shape[0]))
        return draw(canvas, text, at, font, scale, *others)

    monkeypatch.setattr(cv2, "putText", put)
    return lines


def on_film(prediction: Prediction, height: int, width: int, *boxes: Box) -> Prediction:
    """The same answer on a film of another form."""
    pixels = np.random.default_rng(0).integers(40, 60, (height, width), np.uint8)
    knees = tuple(replace(prediction.knees[0], box=box) for box in boxes)
    film = Radiograph(pixels=pixels, source="x", digest="d")
    return with_first(replace(prediction, radiograph=film), knees=knees)


def text_of(lines: list[Line]) -> str:
    return " ".join(line.text for line in lines)


def test_the_caption_names_the_class_the_scores_and_the_picture(explained: Prediction, written: list[Line]) -> None:
    draw_overlay(explained)
    said = text_of(written)
    likeliest = max(explained.image_probabilities, key=lambda name: explained.image_probabilities[name])
    assert f"Orange: speaks for '{likeliest}' (research code)" in said
    assert f"Blue: speaks against '{likeliest}'" in said
    for name, probability in explained.image_probabilities.items():
        assert f"{name} {probability:.2f}" in said
    assert explained.message in said
    assert "not for diagnosis" in said
    assert explained.digest is not None
    assert explained.digest[:8] in said


def test_a_fused_answer_shows_both_scores(fused: Prediction, written: list[Line]) -> None:
    draw_overlay(fused)
    assert "of the picture alone: normal" in text_of(written)
    assert "Together with age 67, sex female: normal <0.01" in text_of(written)


@pytest.mark.parametrize(
    ("side", "said"),
    [
        (Laterality.RIGHT, "knee 1: R? (from the fibula)"),
        (Laterality.LEFT, "knee 1: L? (from the fibula)"),
        (None, "knee 1: side not known"),
    ],
)
def test_a_side_is_a_question_and_says_what_it_comes_from(
    explained: Prediction, written: list[Line], side: Laterality | None, said: str
) -> None:
    (knee,) = explained.knees
    draw_overlay(with_first(explained, knees=(replace(knee, joint=replace(knee.joint, laterality=side)),)))
    assert text_of(written).startswith(said)


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_every_line_stands_on_the_picture_whatever_its_form(
    fused: Prediction, written: list[Line], height: int, width: int
) -> None:
    around = Box(-width // 3, -height // 4, width + width // 3, height + height // 4)
    corner = Box(width - 5, height - 4, width + 40, height + 60)
    drawn = draw_overlay(on_film(fused, height, width, around, corner))
    assert max(drawn.shape[:2]) <= MAX_SIDE_PX + 1000
    assert drawn.shape[1] >= 640
    assert written
    for line in written:
        assert line.left >= 0
        assert line.right <= line.canvas_width, line
        assert 0 < line.baseline <= line.canvas_height, line


def test_a_box_ends_where_the_film_ends(explained: Prediction) -> None:
    drawn = draw_overlay(on_film(explained, 1600, 400, Box(-300, 200, 900, 700)))
    margin = (drawn.shape[1] - 400) // 2
    is_green = (np.abs(drawn.astype(int) - GREEN).sum(axis=2) < 60)[:1600]
    assert is_green[:, margin : margin + 400].any()
    assert not is_green[:, :margin].any()
    assert not is_green[:, margin + 400 :].any()
    assert (drawn[:1600, : margin - 1] == BACKGROUND_BGR).all()
    left, right = is_green[300:600, margin + 1], is_green[300:600, margin + 398]
    assert left.all(), "the cut side is drawn at the film's edge"
    assert right.all()


def test_letters_that_opencv_cannot_draw_become_ascii(explained: Prediction, written: list[Line]) -> None:
    model = replace(explained.model, bundle="knié\u2013膝\u202e\x1b[31m", version="x" * 400)
    draw_overlay(with_first(explained, model=model))
    assert all(line.text.isascii() and line.text.isprintable() for line in written)
    assert "knie-\\u819d" in text_of(written)
    assert drawable("DXA ≥ 18 \u2013 „ok“") == 'DXA \\u2265 18 - \\u201eok"'


def test_wrapping_loses_nothing() -> None:
    text = "one " + "w" * 200 + " two three"
    lines = Letters(0.6).wrap(text, 150)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(Letters(0.6).width_px(line) <= 150 for line in lines)
