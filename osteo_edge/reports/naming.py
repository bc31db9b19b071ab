"""Names of what is written of a picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from osteo_edge.integrity import sha256_hex

_MAX_STEM_BYTES: Final = 100


def name_of(source: str, digest: str | None) -> str:
    """The picture's own name, harmless and cut to 100 bytes, and twelve digits that tell it apart.

    The digits come from where the picture lies and from its bytes: pictures of one name in different folders, and the same
    bytes in two places, have files of their own, and an answer given again replaces its older files. What a terminal or a
    file manager does not show as it is (line ends, escapes, marks that turn the direction of writing) is ``_``.
    """
    stem = Path(source).stem.strip("-. ") or "stdin"
    shown = "".join(character if character.isprintable() else "_" for character in stem)
    return f"{shown.encode()[:_MAX_STEM_BYTES].decode(errors='ignore')}-{digits_of(source, digest)}"


def digits_of(source: str, digest: str | None) -> str:
    """These twelve digits, which say nothing of whose picture it is."""
    return sha256_hex(f"{_place(source)}\0{digest}".encode(errors="surrogatepass"))[:12]


def _place(source: str) -> str:
    try:
        return os.path.abspath(source)
    except OSError:  # the working folder was removed
        return source
