"""Growth: pictures of the size that is asked for, points that count right, and a slope of known memory."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner

from benchmarks.growth import EXAMPLE, Point, command, pictures_of, point_of, resized, slope

SOAK = Point("soak", 0, "", 1.0, 1.0, 100.0, 100.0)


@pytest.mark.parametrize("megapixels", [0.25, 2.0])
def test_pictures_have_the_size_asked_for(megapixels: float, tmp_path: Path) -> None:
    for path in resized(EXAMPLE, megapixels, tmp_path):
        assert cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).size == pytest.approx(megapixels * 1e6, rel=0.01)


def test_a_leak_shows_in_the_slope_and_a_start_does_not() -> None:
    flat = [Point("soak", 1000.0 * n, "", 1, 1, 80.0 if n < 2 else 100.0, 100) for n in range(8)]
    leaking = [Point("soak", 1000.0 * n, "", 1, 1, 100.0 + n, 110) for n in range(8)]
    assert slope(flat) == pytest.approx(0.0)
    assert slope(leaking) == pytest.approx(10.0)
    with pytest.raises(ValueError, match="two points"):
        slope(flat[:1])


def test_a_point_counts_pictures() -> None:
    point = point_of("pictures", 10, {"seconds": 2.0, "answered": 10, "rss_mb": 90.04, "peak_mb": 95.0}, "")
    assert (point.per_second, point.rss_mb) == (5.0, 90.0)


def test_it_runs_and_keeps_its_points(tmp_path: Path) -> None:
    target = tmp_path / "growth.json"
    done = CliRunner().invoke(command, ["--what", "pictures", "--most", "10", "--json", str(target)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    points = json.loads(target.read_text())["points"]
    assert [(point["what"], point["at"]) for point in points] == [
        ("pictures", 1),
        ("pictures", 10),
    ]
    assert all(point["peak_mb"] >= point["rss_mb"] * 0.99 > 10 for point in points)


def test_a_folder_without_pictures_is_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--data", str(tmp_path)])
    assert done.exit_code == 1
    assert "name a folder of radiographs" in done.output
    assert pictures_of(None) == [str(EXAMPLE.resolve())]
