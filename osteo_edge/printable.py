"""Text for people: safe to show on one line of a terminal; numbers and lists in words."""

from __future__ import annotations

from collections.abc import Collection


def printable(text: str) -> str:
    """File names and manifests may hold line ends, terminal escapes, marks that turn the direction of writing, or undecodable
    bytes and halves of characters: these are shown as escapes. What is shown once stays as it is when it is shown again.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii") for character in text
    )


def printable_lines(text: str) -> str:
    """The same for text whose line ends are meant."""
    return "\n".join(map(printable, text.split("\n")))


def counted(number: int, what: str, ending: str = "s") -> str:
    """``1 picture``, ``2 pictures``."""
    return f"{number} {what}{'' if number == 1 else ending}"


def enumerate_words(words: Collection[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
