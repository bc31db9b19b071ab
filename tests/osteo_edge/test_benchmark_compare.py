"""Two reports beside each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from osteo_edge.benchmark.compare import compare, ratio_interval
from osteo_edge.benchmark.records import (
    SCHEMA_VERSION,
    ColdRun,
    Device,
    Energy,
    Group,
    Health,
    Memory,
    Picture,
    Report,
    Row,
    Series,
    Settings,
    State,
    read_report,
    write_report,
)
from osteo_edge.benchmark.statistics import summarize
from osteo_edge.benchmark.table import comparison_text, to_text
from osteo_edge.device import Processor
from osteo_edge.engines.stored import Circumstances
from osteo_edge.errors import ManifestError

STATE = State(0.0, "performance", 3000.0, {"cpu": 50.0}, 0, None)
HEALTH = Health(STATE, (STATE,), STATE, "no", ())


def noise(median: float, count: int = 200, seed: int = 0) -> list[float]:
    return (median * np.random.default_rng(seed).normal(1, 0.05, count)).tolist()


def series(samples: Sequence[float]) -> Series:
    return Series(tuple(samples), {"run": tuple(samples)}, summarize(samples), {"run": summarize(samples)}, is_complete=True)


def row(samples: Sequence[float], *, engine: str = "onnxruntime", threads: int = 2, cold: Sequence[float] = ()) -> Row:
    circumstances = Circumstances("1", "a" * 64, Processor("A processor", "x86_64", ("avx2",)), threads, {"onnxruntime": "1"})
    return Row(
        bundle="knee",
        circumstances=circumstances,
        engine=engine,
        precision="fp32",
        status="complete",
        message=None,
        fault=None,
        load_ms=100.0,
        first_ms=20.0,
        cold=tuple(ColdRun(one, one + 10, 10**8) for one in cold),
        pictures=(Picture("image.png", "b" * 64, 1),),
        left_out={},
        groups=(Group(1, series(samples), None),),
        memory=Memory(90_000_000, 100_000_000),
        energy=Energy((), {"RAPL": "no zone"}),
        health=HEALTH,
    )


def report(*rows: Row) -> Report:
    settings = Settings("quick", 3.0, 64, 3, None, 0)
    device = Device("Linux", "3.11", 2, 10**9, 0.1)
    return Report(SCHEMA_VERSION, "1", "2026-01-01T00:00:00+00:00", False, settings, device, None, rows, {})


def test_a_second_that_is_faster_or_slower_is_told_and_noise_is_not() -> None:
    first = report(row(noise(10)))
    for median, verdict in ((5, "faster"), (20, "slower"), (10, "no difference shown")):
        (one,) = compare(first, report(row(noise(median, seed=1)))).comparisons
        assert one.verdict == verdict
        assert one.low <= one.ratio <= one.high
        assert one.ratio == pytest.approx(median / 10, rel=0.03)


def test_the_interval_holds_the_true_ratio_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    intervals = [ratio_interval(random.normal(10, 1, 60), random.normal(12, 1, 60), seed=seed) for seed in range(40)]
    assert 33 <= sum(low <= 1.2 <= high for low, high in intervals) <= 40


def test_neighbours_that_are_slow_together_widen_it() -> None:
    slow = np.repeat(np.random.default_rng(0).normal(10, 1, 20), 20)
    shuffled = np.random.default_rng(1).permutation(slow)
    widths = [np.diff(ratio_interval(samples, samples)).item() for samples in (slow, shuffled)]
    assert widths[0] > 1.5 * widths[1]


def test_cold_starts_are_compared_and_too_few_are_told() -> None:
    found = compare(report(row([1.0], cold=[100, 110, 120])), report(row([1.0, 2.0], cold=[50, 55, 60])))
    assert [(one.scope, one.verdict) for one in found.comparisons] == [
        ("end_to_end", "too few samples"),
        ("cold_start", "faster"),
    ]
    assert "too few samples" in comparison_text(found)


def test_rows_are_paired_by_what_ran() -> None:
    first = report(row(noise(1), threads=1), row(noise(2), threads=2))
    second = report(row(noise(4), threads=2), row(noise(3), threads=4))
    (one,) = compare(first, second).comparisons
    assert one.ratio == pytest.approx(2, rel=0.01)
    assert (one.first, one.second) == ("knee onnxruntime fp32, 2 threads",) * 2


def test_one_row_is_paired_with_one_row_whatever_ran_and_that_is_said() -> None:
    found = compare(report(row(noise(1))), report(row(noise(1), engine="litert")))
    assert len(found.comparisons) == 1
    assert any("what ran differs" in warning for warning in found.warnings)
    text = comparison_text(found)
    assert "WARNING" in text
    assert "onnxruntime fp32, 2 threads -> knee litert fp32, 2 threads" in text


def test_nothing_in_common_names_what_there_is() -> None:
    first = report(row(noise(1), threads=1), row(noise(1), threads=2))
    with pytest.raises(ManifestError, match=r"1 thread; knee .*4 threads"):
        compare(first, report(row(noise(1), threads=4)))


def test_everything_that_differs_is_warned_of() -> None:
    first = report(row(noise(1)))
    assert compare(first, first).warnings == ()
    (other,) = first.rows
    circumstances = dataclasses.replace(
        other.circumstances, processor=Processor("B", "aarch64", ()), bundle_digest="c" * 64, engines={"onnxruntime": "2"}
    )
    changed = dataclasses.replace(
        other,
        circumstances=circumstances,
        pictures=(Picture("image.png", "d" * 64, 1),),
        health=dataclasses.replace(HEALTH, throttled="yes", messages=("it fell",)),
    )
    second = dataclasses.replace(
        report(changed),
        osteo_edge="2",
        interrupted=True,
        settings=Settings("edge", 600.0, 1024, 10, 10**9, 0),
        device=Device("Linux", "3.11", 4, 10**9, 0.1),
    )
    text = "\n".join(compare(first, second).warnings)
    for said in (
        "versions of osteo-edge",
        "systems",
        "memory limits",
        "settings",
        "second report was interrupted",
        "devices differ: A processor; B",
        "bundles differ",
        "engines",
        "pictures",
        "slowed down in the second report: it fell",
    ):
        assert said in text


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = report(row(noise(1), cold=[1.0, 2.0, 3.0]))
    write_report(written, tmp_path / "a.json")
    found = read_report(tmp_path / "a.json")
    assert found.rows[0].groups[0].end_to_end == written.rows[0].groups[0].end_to_end
    assert to_text(found) == to_text(written)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1, "other": 1}'])
def test_what_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ManifestError, match=r"a\.json"):
        read_report(tmp_path / "a.json")
