"""What spoils a joint's picture is told, with its value and limit; what training itself made of films passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.blemishes import HARMLESS, blemishes
from osteo_edge import OsteoPredictor, Status
from osteo_edge.findings import DEFECTS
from osteo_edge.images import defects
from osteo_edge.images.defects import LIMITS, judge, measure
from osteo_edge.images.preprocess import negative
from osteo_edge.images.reader import read
from osteo_edge.joints import Joint
from osteo_edge.wording import DOUBTS, REJECTIONS
from tests.bundles import DENSITY

# Kind of blemish -> code of what is found.
CODES = {
    "exposure": {"exposure"},
    "few grey levels": {"few_grey_levels"},
    "blur": {"blur"},
    "compression": {"compression"},
    "metal": {"metal"},
    "covered": {"covered"},
    "cut off": {"cut_off"},
}


@pytest.fixture(scope="module")
def predictor() -> Iterator[OsteoPredictor]:
    with OsteoPredictor(DENSITY, threads=1) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def joint(predictor: OsteoPredictor, example: Path) -> Joint:
    return predictor.predict(example).joints[0]


def test_every_blemish_is_told_and_what_training_saw_is_none(example: Path, joint: Joint) -> None:
    pixels = read(example).pixels
    assert judge(pixels, [joint], None) == defects.Judged()
    for kind, name, image in blemishes(pixels, joint):
        spoilt = read(image)
        scale = spoilt.width_px / pixels.shape[1]
        place = replace(joint, x_px=joint.x_px * scale, y_px=joint.y_px * scale, width_px=joint.width_px * scale)
        judged = judge(spoilt.pixels, [place], spoilt.jpeg_quality)
        told = {finding.code for finding in (*judged.unfit, *judged.doubtful)}
        if kind == HARMLESS:
            assert not told, name
        elif (kind, name) not in NOT_TOLD:
            assert CODES[kind] & told, (name, measure(spoilt.pixels, place, spoilt.jpeg_quality))


# As far as the limits reach that cost good films next to nothing.
NOT_TOLD = {("blur", "moved by 8 %"), ("blur", "1.5% of the width")}


def test_an_unfit_picture_is_rejected_and_a_doubtful_one_referred(
    predictor: OsteoPredictor, example: Path, joint: Joint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the value, the limit and what to do; a doubtful one keeps its scores and reports nothing."""
    pixels = read(example).pixels
    spoilt = {(kind, name): image for kind, name, image in blemishes(pixels, joint)}
    rejected = predictor.predict(spoilt["compression", "JPEG 5"])
    assert (rejected.status, rejected.findings[0].code) == (Status.REJECTED, "compression")
    assert "quality 5; 15 is needed" in rejected.message
    assert "as PNG" in rejected.message
    referred = predictor.predict(spoilt["compression", "JPEG 20"])
    assert (referred.status, referred.findings[0].code) == (Status.REFERRED, "compression")
    assert referred.answer is None
    assert referred.probabilities
    assert "quality 20; 30 is needed" in referred.message
    assert "as PNG" in referred.message


def test_one_spoilt_joint_of_two_does_not_reject_the_picture(example: Path, joint: Joint) -> None:
    pixels = read(example).pixels
    both = np.hstack([pixels, pixels])
    other = replace(joint, x_px=joint.x_px + pixels.shape[1])
    spoilt = next(image for kind, name, image in blemishes(both, joint) if name == "prosthesis")
    assert isinstance(spoilt, np.ndarray)
    one = judge(spoilt, [joint, other], None)
    assert (one.unfit, [finding.code for finding in one.doubtful]) == ((), ["metal"])
    assert [finding.code for finding in judge(spoilt, [joint], None).unfit] == ["metal"]


def test_a_negative_is_measured_as_it_is_shown(example: Path, joint: Joint) -> None:
    pixels = read(example).pixels
    measured = measure(negative(pixels), replace(joint, is_negative=True))
    assert measured == pytest.approx(measure(pixels, joint))


def test_values_do_not_hang_on_how_many_bits_there_are(example: Path, joint: Joint) -> None:
    pixels = read(example).pixels
    assert measure(pixels.astype(np.uint16) * 257, joint) == pytest.approx(measure(pixels, joint), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("side", [1, 7, 40])
def test_a_joint_at_the_very_edge_of_a_small_or_even_picture_ends_well(side: int, joint: Joint) -> None:
    for greys in (np.zeros((side, side), np.uint8), np.arange(side * side, dtype=np.uint16).reshape(side, side)):
        for place in (0.0, side / 2, 3.0 * side):
            judge(greys, [replace(joint, x_px=place, y_px=place, width_px=float(side))], None)


def test_every_limit_has_its_sentences() -> None:
    assert {limit.code for limit in LIMITS} == set(DEFECTS)
    assert set(DEFECTS) <= set(REJECTIONS)
    assert set(DEFECTS) <= set(DOUBTS)
    for limit in LIMITS:
        assert (limit.unfit > limit.doubtful) == (limit.worse == "above")
