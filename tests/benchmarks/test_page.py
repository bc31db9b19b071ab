"""What the page says of grades is what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import questions, saliency
from benchmarks.graded import command as graded
from benchmarks.graded.records import Grades
from benchmarks.pages import part_of
from export.stability import Stability, stability_lines
from osteo_edge.records import parse_record

PAGE = Path("docs/benchmarks.md")
MEASURED = Path("benchmarks/results/epyc-2core-vm")
PARTS: dict[str, tuple[Path, type, Callable[[Any], list[str]]]] = {
    "grades": (MEASURED / "grades.json", Grades, graded.lines_of),
    "external": (MEASURED / "external.json", Grades, graded.external_lines),
    "saliency": (MEASURED / "saliency.json", saliency.Saliency, saliency.lines_of),
    "questions": (MEASURED / "questions.json", questions.Questions, questions.lines_of),
    **{
        f"stability of {name}": (Path(f"export/results/{name}/stability.json"), Stability, stability_lines)
        for name in ("knee-osteoarthritis", "knee-mobilenet_v2")
    },
}


@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_the_page_is_made_of_its_file(part: str) -> None:
    path, record, lines = PARTS[part]
    assert part_of(PAGE, part) == lines(parse_record(record, json.loads(path.read_text()), where=path.name))
