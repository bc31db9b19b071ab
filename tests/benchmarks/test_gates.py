"""How much of what is no knee is refused: counts, intervals and the page."""

from __future__ import annotations

from benchmarks.gates import Gates, _row, lines_of


def test_counts_go_by_kind_with_their_reasons() -> None:
    told = [("no_knee", True)] * 6 + [("not_a_knee", False)] * 3 + [("", False)]
    row = _row("not knees", "photograph", told)
    assert (row.pictures, row.refused, row.by_finder_alone) == (10, 9, 6)
    assert row.codes == {"no_knee": 6, "not_a_knee": 3}
    low, high = row.interval
    assert 0.59 < low < 0.9 < high < 1


def test_the_page_has_a_table_a_group() -> None:
    rows = (_row("not knees", "chart", [("no_knee", True)]), _row("knees", "knee_oa", [("", False), ("not_a_knee", False)]))
    lines = lines_of(Gates(1, "a processor", 0.22, 0.07, 9.0, rows))
    assert "0.07 ms a joint" in lines[0]
    assert [line for line in lines if line.startswith("**")] == ["**No knee**", "**Knees**"]
    assert any("1 (50.0 %)" in line and "not_a_knee 1" in line for line in lines)
