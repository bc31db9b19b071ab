"""Where in a knee's box the score of a class comes from.

The head is linear on the mean of the feature map, so features @ head weights at each place is that place's
exact share of the logit (class activation map; Zhou et al., CVPR 2016). No gradient and no second model.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from osteo_edge.errors import ManifestError
from osteo_edge.joints import Box

if TYPE_CHECKING:
    from osteo_edge.arrays import Floats

# Cells on the longer side of the map that several members' maps are laid on.
GRID = 64


def read_head_weights(data: bytes, *, labels: int) -> Floats:
    """Head weights, (features, labels) float32, from the bytes of a ``.npy`` file.

    Raises:
        ManifestError: another content.
    """
    try:
        weights = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # of damaged headers numpy raises a dozen classes, none of which it promises
        raise ManifestError(f"the head weights are not a .npy array: {error}") from error
    if not isinstance(weights, np.ndarray) or weights.dtype != np.float32 or weights.ndim != 2 or weights.shape[1] != labels:
        raise ManifestError(f"the head weights must be float32 of shape (features, {labels})")
    if not np.isfinite(weights).all():
        raise ManifestError("the head weights hold values that are not numbers")
    return weights


def saliency(features: Floats, head_weights: Floats, label_index: int) -> Floats:
    """Share of each place in the class's logit above the mean class.

    Args:
        features: (1, rows, columns, features) as the exported graph gives them.
        head_weights: (features, labels).

    Returns:
        (rows, columns) float32. Positive: speaks for the class; negative: against it. The mean over the map is the
        class's logit less the mean logit, biases left out.
    """
    contrast = head_weights[:, label_index] - head_weights.mean(axis=1)
    return features[0] @ contrast  # type: ignore[no-any-return]


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of them."""
    return Box(
        min(box.x0 for box in boxes), min(box.y0 for box in boxes), max(box.x1 for box in boxes), max(box.y1 for box in boxes)
    )


def laid_together(maps: Sequence[Floats], boxes: Sequence[Box], weights: Sequence[float]) -> Floats:
    """Several members' maps, each over its own box, as one over the union of the boxes.

    One map stays as it is, and so exact. Several are enlarged to a common grid, each in its own place, and summed
    with the weights. A map counts by the area of its box, so that the mean of what comes out is, but for the enlarging,
    the weighted mean of the members' contrasts of logits. That is exact for no ensemble's own score: they are
    averaged as probabilities, or not at all; it tells where the members looked.

    Returns:
        (rows, columns) float32.
    """
    if len(maps) == 1:
        return maps[0]
    whole = union(boxes)
    scale = GRID / max(whole.width, whole.height)
    total = np.zeros((max(1, round(whole.height * scale)), max(1, round(whole.width * scale))), np.float32)
    for values, box, weight in zip(maps, boxes, weights, strict=True):
        top, bottom = _cells(box.y0 - whole.y0, box.y1 - whole.y0, scale, total.shape[0])
        left, right = _cells(box.x0 - whole.x0, box.x1 - whole.x0, scale, total.shape[1])
        enlarged = cv2.resize(values, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
        share = weight * total.size / enlarged.size
        total[top:bottom, left:right] += np.float32(share) * enlarged
    return total


def _cells(start: int, end: int, scale: float, count: int) -> tuple[int, int]:
    first = min(round(start * scale), count - 1)
    return first, min(max(round(end * scale), first + 1), count)
