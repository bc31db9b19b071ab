"""What a page costs, against the answer that it is of."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from benchmarks import reports
from benchmarks.pages import part_of
from benchmarks.reports import FILM, PREDICTION, Reports, lines_of
from osteo_edge.records import parse_record
from osteo_edge.reports.pages.catalogue import LANGUAGES

ROOT = Path(__file__).resolve().parents[2]


def test_every_kind_of_page_is_measured_against_a_prediction(tmp_path: Path, example: Path) -> None:
    target = tmp_path / "reports.json"
    done = CliRunner().invoke(reports.command, [str(example), "--rounds", "3", "--json", str(target)])
    assert done.exit_code == 0, done.output
    found = parse_record(Reports, json.loads(target.read_text()), where="reports.json")
    kinds = [f"{kind} {language}" for language in LANGUAGES for kind in ("html", "pdf")]
    assert [part.name for part in found.parts] == [PREDICTION, FILM, *kinds]
    by_name = {part.name: part for part in found.parts}
    assert by_name[PREDICTION].times == 1
    assert by_name[PREDICTION].size_bytes == 0
    assert by_name["html hi"].size_bytes > by_name["html en"].size_bytes > by_name[FILM].size_bytes > 1000


def test_the_document_s_table_is_what_was_measured() -> None:
    plain = json.loads((ROOT / "benchmarks/results/epyc-2core-vm/reports.json").read_text())
    assert part_of(ROOT / "docs/reports.md", "reports") == lines_of(parse_record(Reports, plain, where="reports.json"))
