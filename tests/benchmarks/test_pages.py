"""Parts of pages that commands write."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from benchmarks.pages import part_of, replace_part

START, END = "<!-- a: written by python -m benchmarks -->", "<!-- end of a -->"


def test_the_part_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# One\n\n{START}\nold\n{END}\n\nlast\n")
    for _ in range(2):
        replace_part(page, "a", ["new", "", "lines"])
    assert page.read_text() == f"# One\n\n{START}\n\nnew\n\nlines\n\n{END}\n\nlast\n"
    assert part_of(page, "a") == ["new", "", "lines"]


@pytest.mark.parametrize("text", ["", f"{END}\n{START}", f"{START}{END}{START}{END}", START])
def test_a_page_without_the_part_stays_as_it_is(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(click.ClickException, match="must hold the lines"):
        replace_part(page, "a", ["new"])
    assert page.read_text() == text
