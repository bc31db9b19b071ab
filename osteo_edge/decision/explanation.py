"""Where in a knee's box the score of a class comes from.

The head is linear on the mean of the feature map, so features @ head weights at each place is that place's
exact share of the logit (class activation map; Zhou et al., CVPR 2016). No gradient and no second model.
"""

from __future__ import annotations

import io
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from osteo_edge.errors import ManifestError


def read_head_weights(data: bytes, *, labels: int) -> NDArray[np.float32]:
    """Head weights, (features, labels) float32, from the bytes of a ``.npy`` file.

    Raises:
        ManifestError: another content.
    """
    try:
        weights = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, TokenError, MemoryError) as error:  # all seen on damaged headers
        raise ManifestError(f"the head weights are not a .npy array: {error}") from error
    if not isinstance(weights, np.ndarray) or weights.dtype != np.float32 or weights.ndim != 2 or weights.shape[1] != labels:
        raise ManifestError(f"the head weights must be float32 of shape (features, {labels})")
    if not np.isfinite(weights).all():
        raise ManifestError("the head weights hold values that are not numbers")
    return weights


def saliency(features: NDArray[np.float32], head_weights: NDArray[np.float32], label_index: int) -> NDArray[np.float32]:
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
