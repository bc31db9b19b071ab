"""Which radiographs the ranges of activations are measured on: training patients' alone."""

from __future__ import annotations

from collections.abc import Sequence

from export.errors import ExportError
from export.quantization.records import RepresentativeSet
from export.radiographs import Case
from osteo_edge.integrity import sha256_hex

MAX_REPRESENTATIVE_PICTURES = 64


def representative_set(
    cases: Sequence[Case], training_digests: frozenset[str], *, only: frozenset[str] | None = None
) -> RepresentativeSet:
    """Training radiographs in the order of their digests, which is as good as chance and the same each time.

    Args:
        training_digests: SHA-256 of the radiographs that the network (or the fold's network) was trained on.
        only: digests to choose from, all of them training radiographs; None for any training radiograph.

    Raises:
        ExportError: ``only`` holds a radiograph that was not trained on, or no training radiograph is left.
    """
    foreign = sorted((only or frozenset()) - training_digests)
    if foreign:
        raise ExportError(
            f"the representative set holds {len(foreign)} radiographs of other patients than training's, the first "
            f"{foreign[0][:16]}; int8 ranges may come from training radiographs alone"
        )
    allowed = training_digests if only is None else only
    known = sorted((case for case in cases if case.digest in allowed and case.tensors), key=lambda case: case.digest)
    if not known:
        raise ExportError(
            "the representative set is empty: none of the radiographs under --data was trained on, so int8 ranges cannot be "
            "measured; check --data"
        )
    chosen = known[:MAX_REPRESENTATIVE_PICTURES]
    tensors = tuple(tensor for case in chosen for tensor in case.tensors)
    digests = "".join(f"{case.digest}\n" for case in chosen)
    return RepresentativeSet(len(chosen), len(tensors), sha256_hex(digests.encode()), tensors)
