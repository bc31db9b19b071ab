"""Where a command's figures go: the terminal, a file, and the part of a page that two comments name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from osteo_edge.records import to_plain
from osteo_edge.storage import write_file

json_option = click.option(
    "--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Also write all that was measured."
)
page_option = click.option(
    "--page", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Markdown page to bring up to date."
)
chart_option = click.option(
    "--chart", type=click.Path(dir_okay=False, path_type=Path), help="Also draw a picture of it (PNG, SVG)."
)


def hand_on(found: object, lines: Sequence[str], part: str, *, target: Path | None, page: Path | None) -> None:
    """Print the lines, write the record that they are made of, and bring a page's part up to date.

    Raises:
        ClickException: the file or the page cannot be written.
    """
    click.echo("\n".join(lines))
    if target:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_file(target, (json.dumps(to_plain(found), indent=1) + "\n").encode())
        except OSError as error:
            raise click.ClickException(f"{target}: cannot be written ({error.strerror})") from error
    if page:
        replace_part(page, part, lines)


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
