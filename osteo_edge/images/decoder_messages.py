"""What a decoding process says: frames of strict JSON, which whoever reads them does not trust.

A process that decodes strangers' files may have become a stranger itself. So nothing of what it sends is more than numbers and
short texts, each of a known kind and within its limits; pixels follow a frame as bare bytes.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from typing import Final, Literal

from osteo_edge.errors import ImageTooLargeError, InputError, ManifestError, UnreadableImageError, UnsupportedImageError
from osteo_edge.records import parse_json, parse_record, to_plain
from osteo_edge.tags import Tags

LENGTH: Final = struct.Struct("<I")
SIZE: Final = struct.Struct("<Q")
GO_ON: Final = b"\x01"
MAX_FRAME_BYTES: Final = 1 << 16
_LONGEST_TEXT: Final = 1000
_CODE: Final = re.compile(r"[a-z_]{1,40}")

_ERRORS: Final[dict[str, type[InputError]]] = {
    "unreadable": UnreadableImageError,
    "unsupported": UnsupportedImageError,
    "too_large": ImageTooLargeError,
}


class BrokenMessageError(Exception):
    """What came is no message of a decoding process."""


@dataclass(frozen=True)
class Ready:
    """Everything is loaded, and the limits hold.

    Attributes:
        is_filtered: whether the kernel took the filter of system calls.
    """

    is_filtered: bool


@dataclass(frozen=True)
class Wanted:
    """Memory that is about to be taken; the process waits for ``GO_ON``."""

    size: int


@dataclass(frozen=True)
class Refused:
    """The picture cannot be used."""

    kind: Literal["unreadable", "unsupported", "too_large"]
    code: str
    message: str

    @classmethod
    def by(cls, error: InputError) -> Refused:
        kind = next(kind for kind, one in _ERRORS.items() if isinstance(error, one))
        return cls(kind, error.code, str(error)[:_LONGEST_TEXT])  # type: ignore[arg-type]  # a key of the table

    def as_error(self) -> InputError:
        return _ERRORS[self.kind](self.message, code=self.code)


@dataclass(frozen=True)
class Failed:
    """The decoder had too little memory, or an error that nobody foresaw: the class's name of it."""

    fault: str
    is_of_memory: bool


@dataclass(frozen=True)
class Picture:
    """A picture, whose greys follow row by row, in this machine's order of bytes."""

    height_px: int
    width_px: int
    bits: Literal[8, 16]
    coloured_share: float
    tags: Tags | None
    jpeg_quality: int | None

    @property
    def pixels(self) -> int:
        return self.height_px * self.width_px

    @property
    def size(self) -> int:
        return self.pixels * self.bits // 8


Message = Ready | Wanted | Refused | Failed | Picture
_KINDS: Final[dict[str, type[Message]]] = {kind.__name__.lower(): kind for kind in (Ready, Wanted, Refused, Failed, Picture)}


def packed(message: Message) -> bytes:
    """The message as a frame: the length of its JSON, and that."""
    body = json.dumps({type(message).__name__.lower(): to_plain(message)}).encode("ascii")
    return LENGTH.pack(len(body)) + body


def unpacked(body: bytes) -> Message:
    """The message of a frame, by its JSON.

    Raises:
        BrokenMessageError: it is none, or says what cannot be.
    """
    try:
        ((kind, data),) = parse_json(body, what="a message").items()
        message = parse_record(_KINDS[kind], data, where=kind)
    except (ManifestError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BrokenMessageError(str(error)[:_LONGEST_TEXT]) from error
    if not _is_possible(message):
        raise BrokenMessageError(f"an impossible message: {kind}")
    return message


def _is_possible(message: Message) -> bool:
    if isinstance(message, Wanted):
        return message.size >= 0
    if isinstance(message, Refused):
        return _CODE.fullmatch(message.code) is not None and len(message.message) <= _LONGEST_TEXT
    if isinstance(message, Picture):
        notes = message.tags.notes if message.tags else ()
        are_short = all(_CODE.fullmatch(note.code) and len(note.message) <= _LONGEST_TEXT for note in notes)
        return message.height_px > 0 and message.width_px > 0 and 0 <= message.coloured_share <= 1 and are_short
    return True
