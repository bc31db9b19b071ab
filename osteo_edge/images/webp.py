"""WebP: what its chunks say (RFC 9649), from the first to the last, and whether its picture data is whole.

Neither kind of picture data has a checksum, and libwebp decodes what damage made of it. But a sound picture needs its data
to the last bytes, and libwebp is strict about data that ends too early. So it is shown the picture without its last bytes:
where it still answers, it had stopped reading before them, as only damage makes it do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from osteo_edge.errors import ImageTooLargeError, InputError, UnreadableImageError, UnsupportedImageError
from osteo_edge.findings import TOO_MANY_PARTS
from osteo_edge.images.header import ImageHeader, several_pictures

# A picture, its transparency, profile and notes are five.
MAX_CHUNKS = 1_000
# Of 6,604 radiographs and pictures of one grey, none is decoded without its last four bytes, by OpenCV 4.11 and 5.0.
_NEEDED_BYTES = 8
# OpenCV refuses less as no header.
_LEAST_BYTES = 32

_LOSSY, _LOSSLESS, _EXTENDED, _ALPHA, _EXIF = b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"EXIF"
_ANIMATION = (b"ANIM", b"ANMF")
_HAS_ANIMATION, _HAS_EXIF, _HAS_ALPHA = 0x02, 0x08, 0x10  # flags of VP8X
_START_CODE = b"\x9d\x01\x2a"  # of a key frame of VP8 (RFC 6386, 9.1)
_LOSSLESS_SIGNATURE = 0x2F
_TIFF_STARTS = (b"II*\x00", b"MM\x00*")


@dataclass(frozen=True)
class _Chunk:
    kind: bytes
    content: memoryview


@dataclass(frozen=True)
class _Frame:
    """The picture data's own header."""

    width_px: int
    height_px: int
    has_alpha: bool


def read_webp(data: bytes) -> ImageHeader:
    """Walk all chunks of the file.

    Raises:
        UnsupportedImageError: an animation, also of a single picture, or several pictures.
        UnreadableImageError: it ends early, or its chunks are not where and what they must be.
        ImageTooLargeError: more chunks than any encoder has a use for.
        struct.error, IndexError: a chunk is cut.
    """
    chunks = tuple(_chunks(data))
    first, flags = chunks[0], chunks[0].content[0] if chunks[0].kind == _EXTENDED else 0
    if flags & _HAS_ANIMATION or any(chunk.kind in _ANIMATION for chunk in chunks):
        raise several_pictures("an animated WebP")
    pictures = [chunk for chunk in chunks if chunk.kind in (_LOSSY, _LOSSLESS)]
    if len(pictures) > 1:
        raise several_pictures("a WebP with several pictures")
    if not pictures or first.kind not in (_EXTENDED, _LOSSY, _LOSSLESS):
        raise _damaged("no picture where it must be")
    frame = _read_frame(pictures[0])
    if first.kind == _EXTENDED and _canvas(first.content) != (frame.width_px, frame.height_px):
        raise _damaged("its picture has another size than its header says")
    has_alpha = bool(flags & _HAS_ALPHA) or frame.has_alpha or any(chunk.kind == _ALPHA for chunk in chunks)
    # What libwebp and OpenCV keep of each pixel, and the file's second copy; measured.
    a_pixel = 8 if has_alpha else 7 if pictures[0].kind == _LOSSLESS else 6
    memory_bytes = a_pixel * frame.width_px * frame.height_px + len(pictures[0].content)
    orientation = _orientation(chunks) if flags & _HAS_EXIF else 1
    return ImageHeader("WebP", frame.width_px, frame.height_px, memory_bytes, has_alpha, True, orientation)


def alone(data: bytes) -> bytes:
    """The picture of a file that ``read_webp`` accepted, without transparency, profile and notes.

    libwebp reads on into what follows a picture whose own data ended too early.
    """
    return _file_of(*_picture_of(data))


def without_end(data: bytes) -> bytes:
    """As ``alone``, without the last bytes of the picture's data.

    A decoder that answers to this did not need them: the data before is damaged.
    """
    kind, content = _picture_of(data)
    return _file_of(kind, content[:-_NEEDED_BYTES])


def _picture_of(data: bytes) -> tuple[bytes, memoryview]:
    return next((chunk.kind, chunk.content) for chunk in _chunks(data) if chunk.kind in (_LOSSY, _LOSSLESS))


def _file_of(kind: bytes, content: memoryview) -> bytes:
    header = struct.pack("<4sI4s4sI", b"RIFF", 12 + len(content), b"WEBP", kind, len(content))
    return b"".join((header, content, bytes(max(0, _LEAST_BYTES - len(header) - len(content)))))


def not_whole() -> InputError:
    return _damaged("its picture data is not whole")


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """All within the RIFF; what follows the last is not looked at."""
    view = memoryview(data)
    (size,) = struct.unpack_from("<I", data, 4)
    end, offset = 8 + size, 12
    if end > len(data):
        raise UnreadableImageError("the WebP file is truncated", code="truncated")
    for _ in range(MAX_CHUNKS):
        kind, length = struct.unpack_from("<4sI", data, offset)
        start, offset = offset + 8, offset + 8 + length
        if offset > end:
            raise _damaged("a chunk is larger than the file")
        yield _Chunk(kind, view[start:offset])
        offset += length % 2  # chunks begin at even places
        if offset + 8 > end:
            return
    raise ImageTooLargeError(f"the WebP has more than {MAX_CHUNKS} chunks", code=TOO_MANY_PARTS)


def _canvas(content: memoryview) -> tuple[int, int]:
    """Width and height, which VP8X keeps less one in three bytes each."""
    return 1 + int.from_bytes(content[4:7], "little"), 1 + int.from_bytes(content[7:10], "little")


def _read_frame(picture: _Chunk) -> _Frame:
    return _read_lossy(picture.content) if picture.kind == _LOSSY else _read_lossless(picture.content)


def _read_lossy(content: memoryview) -> _Frame:
    """RFC 6386, 9.1: a tag of three bytes, the start code, and sizes of 14 bits below a scale that nobody applies."""
    tag = int.from_bytes(content[:3], "little")
    width, height = struct.unpack_from("<HH", content, 6)
    is_key_frame, profile, is_shown, first_part = not tag & 1, tag >> 1 & 7, tag >> 4 & 1, tag >> 5
    if content[3:6] != _START_CODE or not is_key_frame or not is_shown:
        raise _damaged("its picture data has no beginning")
    if profile > 3:
        raise UnsupportedImageError("this is a WebP of a later version; export it as PNG", code="unsupported_format")
    if 10 + first_part > len(content):
        raise _damaged("a part of its picture data is missing")
    return _Frame(width & 0x3FFF, height & 0x3FFF, has_alpha=False)


def _read_lossless(content: memoryview) -> _Frame:
    """RFC 9649, 3.4: a signature, and in 32 bits width and height less one, whether alpha is used, and the version."""
    signature, bits = struct.unpack_from("<BI", content)
    if signature != _LOSSLESS_SIGNATURE:
        raise _damaged("its picture data has no beginning")
    if bits >> 29:
        raise UnsupportedImageError("this is a WebP of a later version; export it as PNG", code="unsupported_format")
    return _Frame(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1))


def _orientation(chunks: tuple[_Chunk, ...]) -> int:
    from osteo_edge.images.tiff import exif_orientation  # few files have notes

    notes = next((bytes(chunk.content) for chunk in chunks if chunk.kind == _EXIF), b"")
    return exif_orientation(b"Exif\x00\x00" + notes if notes.startswith(_TIFF_STARTS) else notes)


def _damaged(what: str) -> InputError:
    return UnreadableImageError(f"the WebP file is damaged ({what})", code="damaged")
