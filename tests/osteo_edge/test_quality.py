"""The first gates."""

from __future__ import annotations

import numpy as np
import pytest

from osteo_edge.images.quality import assess
from osteo_edge.manifest import QualityLimits
from osteo_edge.radiograph import Radiograph

LIMITS = QualityLimits(min_side_px=256, min_dynamic_range=0.05)


def codes(pixels: np.ndarray) -> list[str]:
    return [finding.code for finding in assess(Radiograph(pixels, "x", "0"), LIMITS)]


def textured(height: int, width: int, dtype: type = np.uint8, top: int = 255) -> np.ndarray:
    return np.random.default_rng(0).integers(0, top, (height, width)).astype(dtype)


def test_a_usable_picture_has_no_finding() -> None:
    assert codes(textured(256, 256)) == []
    assert codes(textured(300, 256, np.uint16, 4095)) == []


@pytest.mark.parametrize("shape", [(255, 1000), (1000, 255), (1, 1)])
def test_too_small(shape: tuple[int, int]) -> None:
    assert "too_small" in codes(textured(*shape))


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_constant(grey: int) -> None:
    assert codes(np.full((300, 300), grey, np.uint8)) == ["constant"]
    assert codes(np.full((300, 300), grey * 257, np.uint16)) == ["constant"]
