"""Models beside each other: which no other beats, and their picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.pareto import Point, draw, frontier, size_of
from osteo_edge.manifest import Metric

POINT = Point("a", "fp32", "fp32", Metric(0.6, 0.5, 0.7), 2.0, 2.0)


def test_only_what_nothing_beats_in_all_three_is_left_the_fastest_first() -> None:
    faster = replace(POINT, group="b", time=1.0, value=Metric(0.5, 0.4, 0.6))
    larger, slower = replace(POINT, group="c", megabytes=3.0), replace(POINT, group="d", time=3.0)
    assert frontier([POINT, faster, larger, slower]) == (faster, POINT)
    assert frontier([POINT, POINT]) == (POINT, POINT)


def test_sizes_have_two_digits_at_least() -> None:
    assert [size_of(one) for one in (0.139, 2.38, 12.99, 111.3)] == ["0.14 MB", "2.4 MB", "13 MB", "111 MB"]


@pytest.mark.parametrize("time", [2.5, 50.0])
def test_the_picture_names_every_point(tmp_path: Path, time: float) -> None:
    path = tmp_path / "new" / "chart.svg"
    draw([POINT, replace(POINT, group="b", time=time)], path, title="t", value="v", time="ms", chance=0.5)
    assert path.read_text().count("<svg") == 1
