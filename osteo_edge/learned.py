"""Learned arrays in an .npz file: read strictly, so that a damaged file gives an error and never other numbers."""

from __future__ import annotations

import io
import math
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from osteo_edge.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

# A .npy file's own header, which says what type and shape the numbers have.
_MAX_HEADER_BYTES = 1 << 10


def read_arrays(
    data: bytes, layout: Mapping[str, tuple[tuple[int, ...], str]], *, what: str, remedy: str
) -> dict[str, NDArray[np.generic]]:
    """All arrays of a file.

    Args:
        layout: name -> shape and type of every array that it must hold.
        what: the file is, to begin a sentence with.
        remedy: what is to be done where it is none.

    Raises:
        ManifestError: it is damaged or does not hold what the layout asks for.
    """
    arrays = _read(data, layout, what, remedy)
    for name, (shape, dtype) in layout.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != dtype:
            raise ManifestError(f"{what}'s {name} is {array.dtype} {array.shape} and must be {dtype} {shape}; {remedy}.")
        if not np.isfinite(array.astype(np.float64)).all():
            raise ManifestError(f"{what}'s {name} holds numbers that are not finite; {remedy}.")
    return arrays


def _read(
    data: bytes, layout: Mapping[str, tuple[tuple[int, ...], str]], what: str, remedy: str
) -> dict[str, NDArray[np.generic]]:
    # Of bytes that are no archive of plain arrays, zipfile, zlib and numpy raise a dozen classes, none of which they promise.
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            held = {name.removesuffix(".npy") for name in archive.namelist()}
            if held == set(layout):
                return {name: _read_one(archive.getinfo(f"{name}.npy"), archive, *layout[name]) for name in layout}
    except Exception as error:
        raise ManifestError(f"{what} is no readable .npz file; {remedy}.") from error
    raise ManifestError(f"{what} holds {_enumerated(held)} where {_enumerated(layout)} are needed; {remedy}.")


def _read_one(entry: zipfile.ZipInfo, archive: zipfile.ZipFile, shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    if entry.file_size > math.prod(shape) * np.dtype(dtype).itemsize + _MAX_HEADER_BYTES:
        raise ValueError(f"{entry.filename} is larger than what it should hold")
    array = np.load(io.BytesIO(archive.read(entry)), allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{entry.filename} is no array")
    return array


def _enumerated(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))[:200] or "nothing"
