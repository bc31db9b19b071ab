"""A form with a picture, read within limits of bytes and of time, and never onto the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from osteo_edge.images.reader import MAX_FILE_BYTES

# Beside the picture: names of fields and the form's token.
_FORM_BYTES: Final = 64 << 10
MAX_BYTES: Final = MAX_FILE_BYTES + _FORM_BYTES
# What is too large is let in up to here and thrown away, since a browser shows no answer before it has sent all.
_THROWN_AWAY_BYTES: Final = 1 << 30
SECONDS: Final = 60.0


class TooLargeError(Exception):
    """More bytes than are taken."""


class TooSlowError(Exception):
    """They took too long."""


class NoFormError(Exception):
    """No form that is understood."""


@dataclass(frozen=True)
class Form:
    """What was filled in.

    Attributes:
        picture: bytes of the file; empty where none was chosen.
    """

    fields: dict[str, str]
    picture: bytes = field(default=b"", repr=False)

    def get(self, name: str) -> str:
        return self.fields.get(name, "")


class _InMemory(MultiPartParser):
    spool_max_size = MAX_BYTES + 1


async def read_form(request: Request, *, with_picture: bool = False, seconds: float = SECONDS) -> Form:
    """The form of a request.

    Args:
        with_picture: whether there may be a file, which makes it large.

    Raises:
        TooLargeError, TooSlowError, NoFormError: as they say.
    """
    most = MAX_BYTES if with_picture else _FORM_BYTES
    try:
        async with asyncio.timeout(seconds):
            if _announced(request) > most:
                most = 0  # nothing of it is kept
            return await _read(request, most, with_picture=with_picture)
    except TimeoutError as error:
        raise TooSlowError from error
    except (MultiPartException, ClientDisconnect, UnicodeDecodeError, AssertionError) as error:
        raise NoFormError from error


async def discard(request: Request, *, seconds: float = SECONDS) -> None:
    """Let a body in and keep nothing of it: a browser shows no answer before it has sent all."""
    with suppress(TimeoutError, TooLargeError, ClientDisconnect):
        async with asyncio.timeout(seconds):
            async for _ in _limited(request, 0):
                pass


async def _read(request: Request, most: int, *, with_picture: bool) -> Form:
    stream = _limited(request, most)
    is_multipart = request.headers.get("content-type", "").startswith("multipart/form-data")
    if with_picture and is_multipart:
        parser: FormParser | MultiPartParser = _InMemory(request.headers, stream, max_files=1, max_fields=8)
    elif not is_multipart:
        parser = FormParser(request.headers, stream)
    else:
        raise NoFormError
    form = await parser.parse()
    try:
        file = form.get("file")
        picture = await file.read() if isinstance(file, UploadFile) else b""
        return Form({name: value for name, value in form.items() if isinstance(value, str)}, picture)
    finally:
        await form.close()


def _announced(request: Request) -> int:
    told = request.headers.get("content-length", "0")
    return int(told) if told.isascii() and told.isdigit() else 0


async def _limited(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The body's pieces as far as they are taken; what comes after them is let in and thrown away."""
    came = 0
    async for piece in request.stream():
        came += len(piece)
        if came <= most:
            yield piece
        elif came > _THROWN_AWAY_BYTES:
            break
    if came > most:
        raise TooLargeError
