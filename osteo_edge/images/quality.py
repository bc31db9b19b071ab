"""Gates: what a radiograph must have before a network may see it."""

from __future__ import annotations

import numpy as np

from osteo_edge.findings import COLOUR, CONSTANT, TOO_SMALL, Finding
from osteo_edge.images.greys import grey_range
from osteo_edge.manifest import QualityLimits
from osteo_edge.radiograph import Radiograph

_SAMPLES_A_SIDE = 256
# Of 846 radiographs, three of them tinted, none has a coloured pixel; of 19 photographs in colour, each has 4 % or more.
_MAX_COLOURED_SHARE = 0.02


def assess(radiograph: Radiograph, limits: QualityLimits) -> tuple[Finding, ...]:
    """The reasons, if any, why this picture is unfit."""
    findings = (_too_small(radiograph, limits), _constant(radiograph, limits), _coloured(radiograph))
    return tuple(finding for finding in findings if finding)


def _too_small(radiograph: Radiograph, limits: QualityLimits) -> Finding | None:
    shorter = min(radiograph.width_px, radiograph.height_px)
    if shorter >= limits.min_side_px:
        return None
    return Finding(TOO_SMALL, f"the shorter side has {shorter} px; at least {limits.min_side_px} are needed")


def _constant(radiograph: Radiograph, limits: QualityLimits) -> Finding | None:
    """Range of the grey levels between the 0.5th and 99.5th percentile, as a share of the brightest."""
    pixels = radiograph.pixels
    down, across = (max(1, side // _SAMPLES_A_SIDE) for side in pixels.shape)
    sample = np.ascontiguousarray(pixels[::down, ::across])
    low, high = grey_range(sample, 0.5, 99.5)
    # A 12-bit picture in a 16-bit file uses a sixteenth of the range, hence the picture's own maximum.
    full = max(int(sample.max()), np.iinfo(pixels.dtype).max // 16, 1)
    if (high - low) / full >= limits.min_dynamic_range:
        return None
    return Finding(CONSTANT, "the picture is almost one single grey")


def _coloured(radiograph: Radiograph) -> Finding | None:
    if radiograph.coloured_share <= _MAX_COLOURED_SHARE:
        return None
    share = round(100 * radiograph.coloured_share)
    return Finding(COLOUR, f"{share} % of the picture is plainly coloured; a radiograph is grey")
