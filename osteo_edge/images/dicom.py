"""DICOM: one radiograph a file, from its bytes to grey levels with bone bright (PS3.3, PS3.5, PS3.10).

pydicom parses the data set, imagecodecs decodes; sizes, offsets and codes are checked here first, since a decoder believes what
it is told and takes memory for it. Of the patient's group nothing is read but age and sex.

Only a file that says it is DICOM brings this module and pydicom into memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from osteo_edge.errors import (
    ImageTooLargeError,
    InputError,
    OsteoEdgeError,
    UnreadableImageError,
    UnsupportedImageError,
    first_line,
)
from osteo_edge.findings import FOR_PROCESSING, NOT_A_RADIOGRAPH, TOO_MANY_BYTES, TOO_MANY_PARTS
from osteo_edge.images import dicom_codestreams as codestreams
from osteo_edge.images.dicom_elements import Elements
from osteo_edge.images.header import ImageHeader, several_pictures, unsupported_pixels
from osteo_edge.images.tail import require_no_cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osteo_edge.arrays import Pixels
    from osteo_edge.tags import Tags

Result = TypeVar("Result")

INSTALL: Final = 'pip install "osteo-edge[dicom]"'


_META_START: Final = 132
_MAX_INFLATED_BYTES: Final = 64 << 20
_PIECE_BYTES: Final = 1 << 20
# One picture in pieces of 64 KiB is a thousand.
_MAX_FRAGMENTS: Final = 100_000
_PIXELS, _FLOAT_PIXELS = 0x7FE00010, (0x7FE00008, 0x7FE00009)
_UNDEFINED = 0xFFFFFFFF
_ITEM, _DELIMITER = 0xFFFEE000, 0xFFFEE0DD

_CLASSES: Final = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.7": "SC",
    "1.2.840.10008.5.1.4.1.1.7.2": "SC",
    "1.2.840.10008.5.1.4.1.1.7.3": "SC",
    "1.2.840.10008.5.1.4.1.1.7.4": "SC",
}
_DX_FOR_PROCESSING: Final = "1.2.840.10008.5.1.4.1.1.1.1.1"
_DISC_INDEX: Final = "1.2.840.10008.1.3.10"
_OTHER_MODALITIES: Final = ("CT", "ECG", "ES", "IO", "MG", "MR", "NM", "OP", "PT", "RF", "SM", "US", "XA", "XC")
# What a secondary capture may be of: nothing said, radiography, a film that was scanned, other.
_MODALITIES_OF_CAPTURES: Final = ("", "CR", "DX", "RG", "OT", "SC", "XR")

_IMPLICIT, _EXPLICIT, _DEFLATED, _BIG_ENDIAN = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
_BASELINE_JPEG: Final = "1.2.840.10008.1.2.4.50"
_NATIVE: Final = {
    _IMPLICIT: "uncompressed, implicit",
    _EXPLICIT: "uncompressed",
    _DEFLATED: "deflated",
    _BIG_ENDIAN: "uncompressed, big endian",
}
_COMPRESSED: Final = {
    _BASELINE_JPEG: ("JPEG", "jpeg8"),
    "1.2.840.10008.1.2.4.51": ("JPEG Extended", "jpeg8"),
    "1.2.840.10008.1.2.4.57": ("JPEG Lossless", "jpeg8"),
    "1.2.840.10008.1.2.4.70": ("JPEG Lossless", "jpeg8"),
    "1.2.840.10008.1.2.4.80": ("JPEG-LS", "jpegls"),
    "1.2.840.10008.1.2.4.81": ("JPEG-LS, near-lossless", "jpegls"),
    "1.2.840.10008.1.2.4.90": ("JPEG 2000, lossless", "jpeg2k"),
    "1.2.840.10008.1.2.4.91": ("JPEG 2000", "jpeg2k"),
    "1.2.840.10008.1.2.4.201": ("HTJ2K, lossless", "jpeg2k"),
    "1.2.840.10008.1.2.4.202": ("HTJ2K, lossless", "jpeg2k"),
    "1.2.840.10008.1.2.4.203": ("HTJ2K", "jpeg2k"),
    "1.2.840.10008.1.2.5": ("RLE", "dicomrle"),
}
_CODECS: Final = {syntax: codec for syntax, (_, codec) in _COMPRESSED.items()}
# All transfer syntaxes that are read.
SYNTAXES: Final = (*_NATIVE, *_COMPRESSED)
_BAND_PIXELS: Final = 1 << 16
_GREYS: Final = ("MONOCHROME1", "MONOCHROME2")
_COLOURS: Final = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_OTHER_KINDS: Final = (*_COLOURS, "PALETTE COLOR", "YBR_PARTIAL_420", "HSV", "ARGB", "CMYK")


@dataclass(frozen=True)
class _Meta:
    """Group 2: what kind of object is stored, how, and where its data set begins."""

    class_uid: str
    syntax: str
    end: int


@dataclass(frozen=True)
class Layout:
    """How the pixels are stored (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    photometric: str
    planar: int

    @property
    def sample_bytes(self) -> int:
        return self.bits_allocated // 8

    @property
    def native_bytes(self) -> int:
        return self.rows * self.columns * self.samples * self.sample_bytes


@dataclass(frozen=True)
class Picture:
    """A file whose header was read and found good; nothing is decoded yet.

    Attributes:
        value: the pixels as stored; of compressed ones the codestream of the one picture.
        order: of bytes, as numpy writes it.
        words: ``OB`` where they are stored byte by byte, ``OW`` where in words of two.
    """

    header: ImageHeader
    tags: Tags
    layout: Layout
    syntax: str
    value: memoryview
    order: str
    words: str
    table: Pixels | None

    def decode(self) -> Pixels:
        """Greys (rows, columns) with bone bright, or colours (rows, columns, 3) RGB of a secondary capture.

        Raises:
            UnreadableImageError: the data is cut or damaged.
        """
        stored = self._stored()
        if stored.dtype.itemsize > self.layout.sample_bytes:
            raise damaged("its pixels and its header do not agree")
        if self.syntax in _NATIVE and self.layout.samples == 1:
            require_no_cut(stored)
        shape = (self.layout.rows, self.layout.columns, *((3,) if self.layout.samples == 3 else ()))
        if stored.shape != shape:
            raise damaged("its pixels and its header do not agree")
        return stored if self.table is None else _looked_up(stored, self.layout, self.table)

    def _stored(self) -> NDArray[Any]:
        if self.syntax in _NATIVE:
            return _native(self.value, self.layout, self.order, self.words)
        if self.syntax == _BASELINE_JPEG and self.layout.samples == 1:
            from osteo_edge.images.jpeg_pixels import decode  # which hears of damage

            return decode(bytes(self.value), may_be_coloured=False)[0]
        return _translated(lambda: codestreams.decode(self.value, _CODECS[self.syntax], self.layout))


def read_dicom(data: bytes) -> ImageHeader:
    """Size and kind of a DICOM file's picture.

    Raises:
        InputError: as ``open_picture``.
    """
    return open_picture(data).header


def open_picture(data: bytes, take: Callable[[int], None] = lambda _: None) -> Picture:
    """Read all but the pixels.

    Args:
        take: told of bytes before they are taken to inflate a deflated data set.

    Raises:
        UnsupportedImageError: pydicom or a decoder is not installed; another kind of object; several pictures; pixels that are
            not read.
        UnreadableImageError: cut, damaged, or nested too deeply.
        ImageTooLargeError: a deflated data set of more than 64 MiB.
    """
    return _translated(lambda: _open(data, take))


def _open(data: bytes, take: Callable[[int], None]) -> Picture:
    meta = _read_meta(data)
    _require_pydicom()
    _refuse_class(meta.class_uid)
    if meta.syntax not in _NATIVE and meta.syntax not in _COMPRESSED:
        raise UnsupportedImageError(
            f"this DICOM file is stored as {_name_of(meta.syntax)}; {_OTHERWISE}", code="unsupported_format"
        )
    body = _inflated(data, meta.end, take) if meta.syntax == _DEFLATED else data
    elements, pixels_at = _read_elements(body, 0 if meta.syntax == _DEFLATED else meta.end, meta.syntax)
    kind = _kind_of(meta, elements)
    if pixels_at is None:
        raise UnsupportedImageError("this DICOM file holds no picture", code="not_an_image")
    layout = _read_layout(elements, kind)
    value = _value_at(body, pixels_at, elements, meta.syntax, layout)
    _require_decoder(meta.syntax, value, layout)
    words = "OB" if not elements.is_implicit and body[pixels_at + 4 : pixels_at + 6] == b"OB" else "OW"
    return _picture(elements, kind, meta.syntax, layout, value, words)


_OTHERWISE: Final = "export the picture as PNG or TIFF"


def damaged(what: str) -> InputError:
    return UnreadableImageError(f"the DICOM file is damaged ({what})", code="damaged")


def _truncated() -> InputError:
    return UnreadableImageError("the DICOM file is truncated", code="truncated")


def _require_pydicom() -> None:
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise UnsupportedImageError(
            f"this is a DICOM file, which needs one more package to be read: {INSTALL}", code="needs_extra"
        ) from error
    except Exception as error:  # it imports whatever decoders are installed, and fails as the first of them does
        raise UnsupportedImageError(
            f"pydicom, by which DICOM files are read, cannot be imported here: {first_line(error)}", code="needs_extra"
        ) from error
    _silence_pydicom()


def _silence_pydicom() -> None:
    """What pydicom warns of may quote a file's values, and all that matters of it is in our notes and errors."""
    import warnings

    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")  # again and again the same one filter


def _translated(read: Callable[[], Result]) -> Result:
    """Run what asks pydicom or a decoder, which raise whatever comes of damaged data."""
    try:
        return read()
    except (OsteoEdgeError, MemoryError):
        raise
    except RecursionError as error:
        raise UnreadableImageError("the DICOM file's sequences are nested too deeply", code="too_deep") from error
    except (struct.error, IndexError) as error:
        raise _truncated() from error
    except Exception as error:
        raise damaged(f"it cannot be decoded: {type(error).__name__}") from error


def _read_meta(data: bytes) -> _Meta:
    """PS3.10, 7.1: explicit, little endian, whatever follows."""
    offset, values = _META_START, {}
    while data[offset : offset + 2] == b"\x02\x00":
        (element,) = struct.unpack_from("<H", data, offset + 2)
        is_long = data[offset + 4 : offset + 6] in (b"OB", b"OW", b"UN", b"UT", b"SQ", b"OF")
        start = offset + (12 if is_long else 8)
        (length,) = struct.unpack_from("<I" if is_long else "<H", data, start - (4 if is_long else 2))
        offset = start + length
        if offset > len(data):
            raise _truncated()
        values[element] = data[start:offset].rstrip(b"\0 ").decode("latin-1")
    if not values.get(0x10):
        raise damaged("it does not say how it is stored")
    return _Meta(values.get(0x02, ""), values[0x10], offset)


def _refuse_class(uid: str) -> None:
    """What is plainly something else by its own word; an empty word is looked for in the data set."""
    if uid == _DISC_INDEX:
        raise UnsupportedImageError(
            "this is the index of a disc (DICOMDIR); give the folder that it lies in", code="not_an_image"
        )
    if uid == _DX_FOR_PROCESSING:
        raise UnsupportedImageError(
            "this is a digital radiograph for processing, not made to be looked at; send the one for presentation",
            code=FOR_PROCESSING,
        )
    if uid and uid not in _CLASSES:
        name = _name_of(uid)
        code = NOT_A_RADIOGRAPH if "Image" in name else "not_an_image"
        raise UnsupportedImageError(f"this DICOM file is of the kind {name}; CR, DX and secondary captures are read", code=code)


def _kind_of(meta: _Meta, elements: Elements) -> str:
    uid = elements.text("SOPClassUID") or meta.class_uid
    if not uid:
        raise UnsupportedImageError("this DICOM file does not say what kind of object it is", code="not_an_image")
    _refuse_class(uid)
    if meta.class_uid and uid != meta.class_uid:
        raise damaged("it says twice what kind of object it is, and not the same")
    if elements.text("PresentationIntentType") == "FOR PROCESSING":
        _refuse_class(_DX_FOR_PROCESSING)
    kind, modality = _CLASSES[uid], elements.text("Modality")
    if kind == "SC" and modality not in _MODALITIES_OF_CAPTURES:
        what = elements.word("Modality", _OTHER_MODALITIES)
        raise UnsupportedImageError(f"this secondary capture is of another kind of picture ({what})", code=NOT_A_RADIOGRAPH)
    return kind


def _name_of(uid: str) -> str:
    """By the dictionary; a number that it does not know is shown as far as it is one."""
    from pydicom.uid import UID

    name = UID(uid).name if len(uid) <= 64 and set(uid) <= set("0123456789.") else "an unknown number"
    return str(name)


def _inflated(data: bytes, start: int, take: Callable[[int], None]) -> bytes:
    """A deflated data set (PS3.5, A.5), measured before memory is taken for it."""
    size = sum(map(len, _pieces(data, start)))
    take(size)
    return b"".join(_pieces(data, start))


def _pieces(data: bytes, start: int) -> Iterator[bytes]:
    stream, rest, size = zlib.decompressobj(-zlib.MAX_WBITS), data[start:], 0
    try:
        while piece := stream.decompress(rest, _PIECE_BYTES):
            size += len(piece)
            if size > _MAX_INFLATED_BYTES:
                raise ImageTooLargeError("the DICOM file inflates to more than 64 MiB", code=TOO_MANY_BYTES)
            yield piece
            rest = stream.unconsumed_tail
    except zlib.error as error:
        raise damaged("its deflated data") from error
    if not stream.eof:
        raise _truncated()


def _read_elements(body: bytes, start: int, syntax: str) -> tuple[Elements, int | None]:
    """The few elements that matter, and where the pixels' element begins; None where there is none."""
    from pydicom.filereader import read_dataset
    from pydicom.tag import Tag

    from osteo_edge.images.dicom_elements import KEYWORDS

    file = BytesIO(body)
    file.seek(start)
    dataset = read_dataset(
        file,
        is_implicit_VR=syntax == _IMPLICIT,
        is_little_endian=syntax != _BIG_ENDIAN,
        stop_when=lambda tag, vr, length: tag in (_PIXELS, *_FLOAT_PIXELS),
        specific_tags=[Tag(keyword) for keyword in KEYWORDS],
    )
    at = file.tell()
    return Elements(dataset), at if at + 8 <= len(body) else None


def _read_layout(elements: Elements, kind: str) -> Layout:
    rows, columns = elements.number("Rows"), elements.number("Columns")
    samples, planar = elements.number("SamplesPerPixel"), elements.number("PlanarConfiguration")
    allocated, stored = elements.number("BitsAllocated"), elements.number("BitsStored")
    sign, high = elements.number("PixelRepresentation"), elements.number("HighBit")
    photometric = elements.text("PhotometricInterpretation")
    if not rows or not columns or not allocated or not stored or not photometric or sign not in (0, 1):
        raise damaged("its header does not say how its pixels are stored")
    if elements.frames() > 1:
        raise several_pictures(f"a DICOM file of {elements.frames()} pictures")
    if photometric not in (*_GREYS, *_COLOURS) or (photometric in _COLOURS and kind != "SC"):
        raise unsupported_pixels(
            f"a DICOM file of the photometric kind {elements.word('PhotometricInterpretation', _OTHER_KINDS)}", _OTHERWISE
        )
    if stored > allocated or (samples or 1) != (1 if photometric in _GREYS else 3):
        raise damaged("its header contradicts itself")
    is_read = (allocated in (8, 16) and stored >= 2) if photometric in _GREYS else (allocated, stored, sign) == (8, 8, 0)
    if not is_read or (high is not None and high != stored - 1):
        raise unsupported_pixels(f"a DICOM file of {stored} in {allocated} bit", _OTHERWISE)
    return Layout(rows, columns, samples or 1, allocated, stored, sign == 1, photometric, planar or 0)


def _value_at(body: bytes, at: int, elements: Elements, syntax: str, layout: Layout) -> memoryview:
    order = ">" if syntax == _BIG_ENDIAN else "<"
    group, element = struct.unpack_from(order + "HH", body, at)
    if group << 16 | element != _PIXELS:
        raise unsupported_pixels("a DICOM file of fractions", _OTHERWISE)
    start = at + (8 if elements.is_implicit else 12)
    if start > len(body):
        raise _truncated()
    (length,) = struct.unpack_from(order + "I", body, start - 4)
    view = memoryview(body)
    if syntax in _COMPRESSED:
        if length != _UNDEFINED:
            raise damaged("its compressed pixels are not in pieces")
        return _codestream(body, start)
    if layout.photometric == "YBR_FULL_422":
        raise unsupported_pixels("a DICOM file of colours at half size", _OTHERWISE)
    if length == _UNDEFINED or length < layout.native_bytes:
        raise damaged("it holds fewer pixels than its header says")
    if start + layout.native_bytes > len(body):
        raise _truncated()
    return view[start : min(start + layout.native_bytes + layout.native_bytes % 2, len(body))]


def _codestream(body: bytes, start: int) -> memoryview:
    """The pieces of the one picture, put together (PS3.5, A.4), after the table of offsets."""
    pieces: list[memoryview] = []
    view = memoryview(body)
    for _ in range(_MAX_FRAGMENTS):
        if start + 8 > len(body):
            raise _truncated()
        group, element, length = struct.unpack_from("<HHI", body, start)
        if group << 16 | element == _DELIMITER:
            if len(pieces) < 2:
                raise damaged("its pixels are missing")
            return pieces[1] if len(pieces) == 2 else memoryview(b"".join(pieces[1:]))
        if group << 16 | element != _ITEM:
            raise damaged("its pieces are not where they must be")
        start += 8 + length
        if start > len(body):
            raise _truncated()
        pieces.append(view[start - length : start])
    raise ImageTooLargeError(f"the DICOM file's picture is in more than {_MAX_FRAGMENTS} pieces", code=TOO_MANY_PARTS)


def _require_decoder(syntax: str, value: memoryview, layout: Layout) -> None:
    """And that the codestream is of the size and the numbers that the header gives, and has its end."""
    if syntax in _NATIVE:
        return
    name, codec = _COMPRESSED[syntax]
    codestreams.require_agreement(value, codec, layout)
    if not (syntax == _BASELINE_JPEG and layout.samples == 1) and not codestreams.has_decoder(codec):
        raise UnsupportedImageError(
            f"no decoder for this DICOM file's compression ({name}) is installed: {INSTALL}", code="needs_decoder"
        )


def _native(value: memoryview, layout: Layout, order: str, words: str) -> NDArray[Any]:
    """Pixels that are not compressed."""
    kind = "i" if layout.is_signed else "u"
    pixels = np.frombuffer(value, f"{order}{kind}{layout.sample_bytes}")
    if layout.sample_bytes == 1 and order == ">" and words == "OW":
        pixels = pixels.view("u2").byteswap().view(pixels.dtype)  # each word's second byte comes first
    pixels = pixels[: layout.rows * layout.columns * layout.samples]
    if layout.samples == 1:
        return pixels.reshape(layout.rows, layout.columns)
    if layout.planar == 1:
        return np.ascontiguousarray(pixels.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0))
    return pixels.reshape(layout.rows, layout.columns, 3)


def _picture(elements: Elements, kind: str, syntax: str, layout: Layout, value: memoryview, words: str) -> Picture:
    from osteo_edge.images.dicom_greys import make_greys
    from osteo_edge.images.dicom_tags import read_tags

    is_grey = layout.samples == 1
    greys = make_greys(elements, layout.bits_stored, layout.is_signed, layout.photometric, kind) if is_grey else None
    coding = _NATIVE[syntax] if syntax in _NATIVE else _COMPRESSED[syntax][0]
    tags = read_tags(elements, kind, coding, greys.origin if greys else "stored", greys.notes if greys else ())
    memory_bytes = _memory_bytes(layout, syntax, len(value))
    quality = codestreams.read_plain_jpeg(value).jpeg_quality if syntax == _BASELINE_JPEG and is_grey else None
    header = ImageHeader("DICOM", layout.columns, layout.rows, memory_bytes, may_be_coloured=not is_grey, jpeg_quality=quality)
    return Picture(header, tags, layout, syntax, value, elements.order, words, greys.table if greys else None)


def _memory_bytes(layout: Layout, syntax: str, coded_bytes: int) -> int:
    """What decoding takes at its height, by measurement: numbers as stored, twice, greys, and what decoders keep besides."""
    pixels = layout.rows * layout.columns * layout.samples
    kept = 4 * pixels if _CODECS.get(syntax) == "jpeg2k" else 0
    return 2 * layout.native_bytes + 2 * pixels + kept + (coded_bytes if syntax in _COMPRESSED else 0)


def _looked_up(stored: NDArray[Any], layout: Layout, table: Pixels) -> Pixels:
    """Each stored number by the table of all that there can be, the lowest first; bits above those in use are no part of it."""
    unsigned = stored.astype(f"{stored.dtype.kind}{layout.sample_bytes}", copy=False).view(f"u{layout.sample_bytes}")
    mask = (1 << layout.bits_stored) - 1
    if layout.bits_stored < layout.bits_allocated:
        unsigned = unsigned & np.array(mask, unsigned.dtype)
    if layout.is_signed:
        unsigned = unsigned ^ np.array((mask + 1) >> 1, unsigned.dtype)
    if table.dtype == unsigned.dtype and len(table) > mask and np.array_equal(table, np.arange(len(table))):
        return unsigned
    greys: Pixels = np.empty(unsigned.shape, table.dtype)
    rows = max(1, _BAND_PIXELS // layout.columns)
    for start in range(0, layout.rows, rows):  # numpy makes eight bytes of each place that it looks up
        band = slice(start, start + rows)
        np.take(table, unsigned[band], out=greys[band], mode="clip")
    return greys
