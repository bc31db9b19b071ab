"""Members that are shown the knees of one side as their mirror images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osteo_edge import OsteoPredictor, open_bundle
from osteo_edge.images import reader
from osteo_edge.images.preprocess import prepare_knee
from osteo_edge.joints import Joint
from osteo_edge.labels import Laterality
from osteo_edge.manifest import InputSpec, RegionProfile
from osteo_edge.selftest import EXPECTED, run_self_test
from tests.making import keep_one_file, rewrite_file, rewrite_manifest

SPEC = InputSpec(64, 48, "float32", "NHWC", (0.0, 255.0), 1.0, 99.0)
REGION = RegionProfile("joint", 0.5, 0.5, 0.6)
NOISE = np.random.default_rng(8).integers(0, 256, (300, 300), np.uint8)
JOINT = Joint(x_px=140.0, y_px=150.0, width_px=120.0, score=1.0, laterality=Laterality.RIGHT)


@pytest.fixture
def mirroring(bundle_copy: Path) -> Path:
    """The embedded network, shown right knees as left ones."""

    def mirror(manifest: dict[str, Any]) -> None:
        manifest["members"][0]["region"]["mirrored"] = "right"

    return rewrite_manifest(keep_one_file(bundle_copy), mirror)


@pytest.mark.parametrize(("side", "mirrored"), [(Laterality.RIGHT, True), (Laterality.LEFT, False), (None, False)])
def test_the_named_side_alone_is_mirrored(side: Laterality | None, mirrored: bool) -> None:
    joint = replace(JOINT, laterality=side)
    plain = prepare_knee(NOISE, joint, REGION, SPEC)
    shown = prepare_knee(NOISE, joint, replace(REGION, mirrored="right"), SPEC)
    assert shown.flags.c_contiguous
    np.testing.assert_array_equal(shown, plain[:, :, ::-1] if mirrored else plain)


def test_a_picture_and_its_mirror_image_get_one_answer(mirroring: Path, example: Path) -> None:
    pixels = reader.read(example).pixels
    with OsteoPredictor(mirroring) as predictor:
        one, other = (predictor.predict(picture, explain=True) for picture in (pixels, np.ascontiguousarray(pixels[:, ::-1])))
    assert {one.knees[0].joint.laterality, other.knees[0].joint.laterality} == {Laterality.LEFT, Laterality.RIGHT}
    # The box is rounded to whole pixels from either side, and so may lie a pixel apart.
    np.testing.assert_allclose(list(one.probabilities.values()), list(other.probabilities.values()), atol=0.05)
    seen, mirrored = one.knees[0].saliency, other.knees[0].saliency
    assert seen is not None
    assert mirrored is not None
    along = np.corrcoef(seen.ravel(), mirrored[:, ::-1].ravel())[0, 1]
    assert along > 0.95
    assert along > np.corrcoef(seen.ravel(), mirrored.ravel())[0, 1]


def test_the_map_lies_over_the_picture_as_it_is(mirroring: Path, example: Path) -> None:
    """The mirrored member's map, turned back, is that of the plain member on the mirrored picture."""
    pixels = np.ascontiguousarray(reader.read(example).pixels[:, ::-1])
    if OsteoPredictor(mirroring).predict(pixels).knees[0].joint.laterality is Laterality.LEFT:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
    with OsteoPredictor(mirroring) as predictor:
        heat = predictor.predict(pixels, explain=True).knees[0].saliency
    plain_bundle = rewrite_manifest(mirroring, lambda manifest: manifest["members"][0]["region"].update(mirrored=""))
    with OsteoPredictor(plain_bundle) as predictor:
        plain = predictor.predict(np.ascontiguousarray(pixels[:, ::-1]), explain=True).knees[0].saliency
    assert heat is not None
    assert plain is not None
    assert np.corrcoef(heat.ravel(), plain[:, ::-1].ravel())[0, 1] > 0.95


def test_the_self_test_holds_the_side_that_decides(mirroring: Path) -> None:
    bundle = open_bundle(mirroring)
    expected = json.loads((mirroring / EXPECTED).read_text())
    pixels = reader.read(bundle.read(expected["picture"])).pixels
    joint = OsteoPredictor(mirroring).predict(pixels).joints[0]
    assert joint.laterality is not None
    for side, outcome in ((joint.laterality, "passed"), ({"left": "right", "right": "left"}[joint.laterality], "failed")):
        expected["joints"][0]["laterality"] = str(side)
        rewrite_file(mirroring, EXPECTED, json.dumps(expected).encode())
        assert run_self_test(open_bundle(mirroring))[0].status == outcome
