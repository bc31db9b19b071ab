"""What a further question costs, in turns with each alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import questions
from benchmarks.pages import part_of
from benchmarks.questions import TOGETHER, Questions, lines_of, turns
from osteo_edge.bundle import DEFAULT_BUNDLE
from osteo_edge.records import parse_record
from tests.benchmarks.graded_pictures import make_graded_bundle

ANOTHER = "knee-mobilenet_v2"  # of another question than the made-up bundle


def test_ratios_are_medians_of_the_ratios_of_a_round() -> None:
    one, other, both = turns("warm", {"a": [10.0, 20.0, 10.0], "b": [5.0, 10.0, 6.0], TOGETHER: [12.0, 22.0, 15.0]})
    assert one.ratios == other.ratios == {}
    assert (one.median_ms, other.median_ms, both.median_ms) == (10, 6, 15)
    assert both.ratios == {"a": 1.2, "b": 2.4}
    assert turns("cold", {"a": [], TOGETHER: []}) == []


def test_bundles_are_asked_together_and_alone(tmp_path: Path, example: Path) -> None:
    target, page = tmp_path / "new" / "questions.json", tmp_path / "page.md"
    page.write_text("<!-- questions: written by python -m benchmarks -->\n<!-- end of questions -->\n")
    options = [example, "--bundle", ANOTHER, "--bundle", make_graded_bundle(tmp_path), "--rounds", 3]
    options += ["--cold-rounds", 1, "--threads", 1, "--json", target, "--page", page]
    done = CliRunner().invoke(questions.command, [str(one) for one in options])
    assert done.exit_code == 0, done.output
    found = parse_record(Questions, json.loads(target.read_text()), where="questions.json")
    names = [ANOTHER, "knee-osteoarthritis", TOGETHER]
    assert [(row.kind, row.asked) for row in found.rows] == [(kind, name) for kind in ("warm", "cold") for name in names]
    assert {len(row.samples_ms) for row in found.rows} == {3, 1}
    assert all(min(row.samples_ms) > 0 for row in found.rows)
    assert set(found.rows[2].ratios) == set(names[:2])
    assert list(found.bundles) == names[:2]
    assert part_of(page, "questions") == lines_of(found)


@pytest.mark.parametrize(
    ("names", "message"),
    [([DEFAULT_BUNDLE], "one bundle alone"), ([DEFAULT_BUNDLE, DEFAULT_BUNDLE], "the same question")],
)
def test_what_cannot_be_asked_together_is_told(names: list[str], message: str) -> None:
    done = CliRunner().invoke(questions.command, [part for name in names for part in ("--bundle", name)])
    assert done.exit_code != 0
    assert message in done.output
