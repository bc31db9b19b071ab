"""The compressed picture within a DICOM file: what its own header says, before a decoder believes it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from osteo_edge.errors import InputError, UnreadableImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osteo_edge.images.dicom import Layout
    from osteo_edge.images.header import ImageHeader

_JPEG_START, _J2K_START, _JP2_START = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "
_END = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike
# Starts of frames of JPEG and, the last one, of JPEG-LS.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_MOST_SEGMENTS = 2_000


def require_agreement(code: memoryview, codec: str, layout: Layout) -> None:
    """Refuse a codestream of another size or other numbers than the file says, or without its end.

    Raises:
        UnreadableImageError: it is.
    """
    if codec == "dicomrle":
        _require_runs(code, layout)
        return
    if not bytes(code[-64:]).rstrip(b"\0\xff").endswith(_END):  # filled up to an even length, with either
        raise UnreadableImageError("the DICOM file's compressed picture is truncated", code="truncated")
    try:
        frame = _jpeg_frame(code) if code[:2] == _JPEG_START else _j2k_frame(code)
    except (struct.error, IndexError) as error:
        raise UnreadableImageError("the DICOM file's compressed picture is truncated", code="truncated") from error
    if (frame.rows, frame.columns, frame.samples) != (layout.rows, layout.columns, layout.samples):
        raise _damaged("its compressed picture has another size than its header says")
    if frame.bits > layout.bits_allocated or (codec == "jpeg8" and layout.bits_stored > frame.bits):
        raise _damaged("its compressed picture has other numbers than its header says")


@dataclass(frozen=True)
class _Frame:
    """What a codestream says of itself."""

    bits: int
    rows: int
    columns: int
    samples: int


def read_plain_jpeg(code: memoryview) -> ImageHeader:
    """Walk all markers of an 8-bit JPEG to its end, as for a file of that kind.

    Raises:
        InputError: as ``images.jpeg.read_jpeg``.
    """
    from osteo_edge.images.jpeg import read_jpeg

    try:
        return read_jpeg(bytes(code))
    except (struct.error, IndexError) as error:
        raise _damaged("its compressed picture ends within a marker") from error


def has_decoder(codec: str) -> bool:
    """Whether imagecodecs is installed, with this codec."""
    try:
        import imagecodecs

        return bool(getattr(imagecodecs, codec.upper()).available)
    except (ImportError, AttributeError):
        return False


def decode(code: memoryview, codec: str, layout: Layout) -> NDArray[Any]:
    """(rows, columns) or (rows, columns, 3) RGB of a codestream that ``require_agreement`` accepted.

    Raises:
        Exception: whatever the decoder makes of damage.
    """
    import imagecodecs

    if codec == "dicomrle":
        planes = np.frombuffer(imagecodecs.dicomrle_decode(bytes(code), f"<u{layout.sample_bytes}"), f"<u{layout.sample_bytes}")
        pixels = planes.reshape(layout.samples, layout.rows, layout.columns)
        pixels = pixels[0] if layout.samples == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    elif codec == "jpeg8" and layout.samples == 3:
        stored_as = "RGB" if layout.photometric == "RGB" else "YCBCR"
        return np.asarray(imagecodecs.jpeg8_decode(bytes(code), colorspace=stored_as, outcolorspace="RGB"))
    else:
        pixels = np.asarray(getattr(imagecodecs, f"{codec}_decode")(bytes(code)))
    is_luminance = layout.samples == 3 and layout.photometric in ("YBR_FULL", "YBR_FULL_422")
    return cv2.cvtColor(pixels[..., [0, 2, 1]], cv2.COLOR_YCrCb2RGB) if is_luminance else pixels


def _require_runs(code: memoryview, layout: Layout) -> None:
    """The table of segments (PS3.5, G.5): one for each byte of each sample, in order, within the data."""
    number, *offsets = struct.unpack("<16I", code[:64]) if len(code) >= 64 else (0,)
    used = [*offsets[:number], len(code)]
    if number != layout.samples * layout.sample_bytes or used[0] != 64 or used != sorted(used):
        raise _damaged("its run lengths are not where they must be")


def _jpeg_frame(code: memoryview) -> _Frame:
    """By the frame's header (T.81, B.2.2; T.87, C.2.2)."""
    offset = 2
    for _ in range(_MOST_SEGMENTS):
        while code[offset] == 0xFF and code[offset + 1] == 0xFF:
            offset += 1
        if code[offset] != 0xFF:
            break
        (length,) = struct.unpack_from(">H", code, offset + 2)
        if code[offset + 1] in _FRAMES:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", code, offset + 4)
            return _Frame(bits, rows, columns, samples)
        offset += 2 + length
    raise _damaged("its compressed picture has no size")


def _j2k_frame(code: memoryview) -> _Frame:
    """By the SIZ marker (T.800, A.5.1), of a bare codestream or within boxes."""
    start = 0 if code[:4] == _J2K_START else bytes(code[:4096]).find(_J2K_START)
    if start < 0 or (start and bytes(code[:8]) != _JP2_START):
        raise _damaged("its compressed picture has no beginning")
    right, bottom, left, top = struct.unpack_from(">4I", code, start + 8)
    components, depth = struct.unpack_from(">HB", code, start + 40)
    return _Frame((depth & 0x7F) + 1, bottom - top, right - left, components)


def _damaged(what: str) -> InputError:
    return UnreadableImageError(f"the DICOM file is damaged ({what})", code="damaged")
