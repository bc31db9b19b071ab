"""Parts of the documentation that a command writes: between two comments that name them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from osteo_edge.storage import write_file


def replace_part(path: Path, name: str, lines: Sequence[str]) -> None:
    """Put ``lines`` where the page has the part of this name.

    Raises:
        ClickException: the page cannot be read or written, or does not have the part just once.
    """
    try:
        before, _, after = split_at(path.read_text(encoding="utf-8"), name, path)
        write_file(path, "\n".join([before, "", *lines, "", after]).encode())
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be read or written ({error.strerror})") from error


def part_of(path: Path, name: str) -> list[str]:
    """The lines that the page has there.

    Raises:
        ClickException: as ``replace_part``.
    """
    return split_at(path.read_text(encoding="utf-8"), name, path)[1].strip("\n").splitlines()


def split_at(text: str, name: str, path: Path) -> tuple[str, str, str]:
    """What stands before the part, its opening comment with it; the part; and what stands from its closing comment on."""
    start, end = f"<!-- {name}: written by python -m benchmarks -->", f"<!-- end of {name} -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise click.ClickException(f"{path}: must hold the lines {start!r} and {end!r} once, in this order")
    opened, closed = text.index(start) + len(start), text.index(end)
    return text[:opened], text[opened:closed], text[closed:]
