"""Text that is safe to show on one line of a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """File names may hold line ends, terminal escapes or undecodable bytes: these are shown as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii") for character in text
    )
