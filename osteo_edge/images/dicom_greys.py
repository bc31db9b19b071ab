"""From stored numbers to greys with bone bright, in the order of the standard (PS3.3, C.11; PS3.4, N.2).

All is done on the table of the numbers that there can be, at most 65,536, and not on the picture: modality LUT or rescale, VOI
LUT or window, presentation LUT, and the exchange of dark and bright where the file asks for it, once.

The greys of a file without any of them are its stored numbers. Else the full output range has as many levels as the stored
numbers had, so that a window over all of them changes none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from osteo_edge.errors import InputError, UnreadableImageError
from osteo_edge.findings import NO_WINDOW, SEVERAL_WINDOWS, WINDOW_IGNORED, Finding
from osteo_edge.images.dicom_elements import Elements

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osteo_edge.arrays import Doubles, Pixels


_FUNCTIONS: Final = {"": "LINEAR", "LINEAR": "LINEAR", "LINEAR_EXACT": "LINEAR_EXACT", "SIGMOID": "SIGMOID"}
_MOST_BITS: Final = 16


@dataclass(frozen=True)
class Greys:
    """A grey for each stored number, from the lowest on.

    Attributes:
        table: uint8 where 8 bits hold all greys, else uint16.
        origin: see ``Tags.greys``.
    """

    table: Pixels
    origin: str
    notes: tuple[Finding, ...]


@dataclass(frozen=True)
class _Values:
    """What the numbers have become, within ``low`` to ``high``, which stand for the darkest and brightest of 2**bits levels."""

    values: Doubles
    low: float
    high: float
    bits: int

    def levels(self) -> Doubles:
        """The same from 0 to 2**bits - 1."""
        return (self.values - self.low) * (((1 << self.bits) - 1) / (self.high - self.low))


def make_greys(elements: Elements, bits: int, is_signed: bool, photometric: str, kind: str) -> Greys:
    """The table for a picture of this many bits.

    Raises:
        UnreadableImageError: a LUT or rescaling that makes no sense.
    """
    lowest = -(1 << (bits - 1)) if is_signed else 0
    stored = np.arange(lowest, lowest + (1 << bits), dtype=np.float64)
    seen = _after_modality(elements, _Values(stored, stored[0], stored[-1], bits))
    shown, origin, notes = _after_voi(elements, seen, kind)
    shown = _presented(elements, shown, photometric)
    levels = np.clip(np.rint(shown.levels()), 0, (1 << shown.bits) - 1)
    table: Pixels = levels.astype(np.uint8) if shown.bits <= 8 else levels.astype(np.uint16)
    table[_padding(elements, stored, is_signed)] = 0  # not a part of the picture, and as dark as what lies beside the patient
    return Greys(table, origin, notes)


def _after_modality(elements: Elements, stored: _Values) -> _Values:
    """C.11.1."""
    from pydicom.dataset import Dataset
    from pydicom.pixels.processing import apply_rescale
    from pydicom.valuerep import DSfloat

    item = elements.first_item("ModalityLUTSequence")
    if item is not None:
        return _by_lut(item, stored.values)
    if "RescaleSlope" not in elements and "RescaleIntercept" not in elements:
        return stored
    slope, intercept = (elements.decimals(keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    if not slope or not intercept or slope[0] == 0:
        raise _bad_rescale()
    asked = Dataset()
    asked.RescaleSlope, asked.RescaleIntercept = (DSfloat(value[0], auto_format=True) for value in (slope, intercept))
    values = apply_rescale(stored.values, asked)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(values).all() or not 0 < high - low < float("inf"):
        raise _bad_rescale()
    return _Values(values, low, high, stored.bits)


def _after_voi(elements: Elements, seen: _Values, kind: str) -> tuple[_Values, str, tuple[Finding, ...]]:
    """C.11.2: the LUT where there is one, else the first window, else what there is."""
    item = elements.first_item("VOILUTSequence")
    if item is not None:
        return _by_lut(item, np.rint(seen.values)), "lut", ()
    window, notes = _window(elements)
    if window is not None:
        return _windowed(seen, *window), "window", notes
    if kind != "SC" and not notes:
        notes = (Finding(NO_WINDOW, "the file says nothing of how bright it is to be shown; its greys are taken as stored"),)
    return seen, "stored", notes


def _window(elements: Elements) -> tuple[tuple[float, float, str] | None, tuple[Finding, ...]]:
    """Centre, width and function; None where there is none that makes sense."""
    if "WindowCenter" not in elements and "WindowWidth" not in elements:
        return None, ()
    centers, widths = elements.decimals("WindowCenter"), elements.decimals("WindowWidth")
    function = _FUNCTIONS.get(elements.text("VOILUTFunction"))
    if not centers or not widths or function is None or widths[0] < (1 if function == "LINEAR" else 1e-9):
        return None, (Finding(WINDOW_IGNORED, "the file's window makes no sense; its greys are taken as stored"),)
    several = Finding(SEVERAL_WINDOWS, f"the first of the file's {len(centers)} windows is taken")
    return (centers[0], widths[0], function), (several,) if len(centers) > 1 else ()


def _windowed(seen: _Values, center: float, width: float, function: str) -> _Values:
    """Onto as many levels as before; onto 16 bit where the window is wider than all that there is, and would melt them."""
    from pydicom.dataset import Dataset
    from pydicom.pixels.processing import apply_windowing
    from pydicom.valuerep import DSfloat

    bits = seen.bits if width <= seen.high - seen.low + 1 else _MOST_BITS
    asked = Dataset()
    asked.PhotometricInterpretation, asked.PixelRepresentation, asked.BitsStored = "MONOCHROME2", 0, bits
    asked.WindowCenter, asked.WindowWidth = DSfloat(center, auto_format=True), DSfloat(width, auto_format=True)
    asked.VOILUTFunction = function
    with np.errstate(over="ignore"):  # a sigmoid far from its centre
        values = apply_windowing(seen.values, asked)
    return _Values(values, 0.0, float((1 << bits) - 1), bits)


def _presented(elements: Elements, shown: _Values, photometric: str) -> _Values:
    """C.11.6: the presentation LUT; or dark and bright exchanged, once, be it for the LUT's shape or the photometric kind."""
    item = elements.first_item("PresentationLUTSequence")
    if item is not None:
        return _by_lut(item, _spread_over(item, shown))
    if photometric != "MONOCHROME1" and elements.text("PresentationLUTShape") != "INVERSE":
        return shown
    return _Values(shown.low + shown.high - shown.values, shown.low, shown.high, shown.bits)


def _spread_over(item: Elements, shown: _Values) -> Doubles:
    """The entry for each value: the LUT's first is for the darkest, its last for the brightest."""
    entries, first, _ = _descriptor(item)
    return first + np.rint((shown.values - shown.low) * ((entries - 1) / (shown.high - shown.low)))


def _by_lut(item: Elements, values: Doubles) -> _Values:
    """Each value by a LUT; those beyond its ends by its first or last entry.

    pydicom's own functions keep the place in a LUT of 8-bit entries in 8 bits, so that from the 257th entry on it is another.
    """
    entries, first, bits = _descriptor(item)
    if first >= 1 << 15 and values[0] < 0:
        first -= 1 << 16  # it has the sign of the numbers that are looked up
    stored = item.bytes_of("LUTData")
    if len(stored) >= 2 * entries:
        lut = np.frombuffer(stored, item.order + "u2", entries)
    elif bits == 8 and len(stored) >= entries:
        lut = np.frombuffer(stored, np.uint8, entries)
    else:
        raise _bad_lut()
    found = lut[np.clip(values - first, 0, entries - 1).astype(np.int64)].astype(np.float64)
    return _Values(np.minimum(found, (1 << bits) - 1), 0.0, float((1 << bits) - 1), bits)


def _descriptor(item: Elements) -> tuple[int, int, int]:
    """Number of entries, the number that the first is for, and bits an entry (C.11.1.1.1)."""
    found = item.numbers("LUTDescriptor")
    if len(found) != 3 or not 8 <= found[2] <= _MOST_BITS:
        raise _bad_lut()
    return found[0] or 1 << 16, found[1], found[2]


def _padding(elements: Elements, stored: Doubles, is_signed: bool) -> NDArray[np.bool_]:
    """Which numbers stand for no part of the picture (C.7.5.1.1.2)."""
    ends = tuple(_padding_ends(elements, is_signed))
    return (stored >= min(ends)) & (stored <= max(ends)) if ends else np.zeros(stored.shape, bool)


def _padding_ends(elements: Elements, is_signed: bool) -> Iterator[int]:
    value, limit = elements.number("PixelPaddingValue"), elements.number("PixelPaddingRangeLimit")
    for number in (value, limit if value is not None else None):
        if number is not None:
            yield number - (1 << 16) if is_signed and number >= 1 << 15 else number


def _bad_rescale() -> InputError:
    return UnreadableImageError("the DICOM file's rescaling makes no sense", code="bad_rescale")


def _bad_lut() -> InputError:
    return UnreadableImageError("the DICOM file's look-up table is not as long as it says", code="damaged")
