"""The self-test finds an answer that is off, whatever the bundle's record allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from osteo_edge.bundle import open_bundle
from osteo_edge.errors import ManifestError, SelfTestError
from osteo_edge.selftest import (
    EXPECTED,
    MAX_JOINT_TOLERANCE,
    MAX_TOLERANCES,
    SelfTestResult,
    require_self_test,
    run_self_test,
)
from tests.bundles import DENSITY
from tests.making import make_ensemble, rewrite_file


def run_with(folder: Path, change: Any) -> tuple[SelfTestResult, ...]:
    expected = json.loads((folder / EXPECTED).read_text())
    change(expected)
    rewrite_file(folder, EXPECTED, json.dumps(expected).encode())
    return run_self_test(open_bundle(folder))


def shift(record: dict[str, Any], by: float) -> None:
    """Two probabilities moved so that their sum stays, and anything allowed."""
    one, other, *_ = record["probabilities"]
    record["probabilities"][one] += by
    record["probabilities"][other] -= by
    record["tolerance"] = 1.0


@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_that_are_off_fail_in_every_file(bundle_copy: Path, sign: int) -> None:
    def change(expected: dict[str, Any]) -> None:
        for record in expected["files"].values():
            shift(record, 0.05 * sign)

    finder, *files = run_with(bundle_copy, change)
    assert finder.status == "passed"
    assert {result.status for result in files} == {"failed"}
    assert {result.message for result in files} >= {"off by 0.05 in probability, 0.001 allowed"}
    with pytest.raises(SelfTestError, match=r"off by 0\.05"):
        require_self_test(open_bundle(bundle_copy))


def test_a_record_allows_no_more_than_its_precision(bundle_copy: Path) -> None:
    def change(expected: dict[str, Any]) -> None:
        for path, record in expected["files"].items():
            precision = next(name for name in MAX_TOLERANCES if f".{name}." in path)
            shift(record, MAX_TOLERANCES[precision] * 1.1)

    _, *files = run_with(bundle_copy, change)
    assert len(files) == 4
    assert {result.status for result in files} == {"failed"}


def test_a_record_may_allow_less(bundle_copy: Path) -> None:
    def change(expected: dict[str, Any]) -> None:
        for record in expected["files"].values():
            shift(record, 0.0004)
            record["tolerance"] = 0.0003

    _, *files = run_with(bundle_copy, change)
    assert {result.status for result in files} == {"failed"}
    assert {result.message.partition(", ")[2] for result in files} == {"0.0003 allowed"}


def test_a_joint_that_is_off_fails(bundle_copy: Path) -> None:
    def change(expected: dict[str, Any]) -> None:
        for joint in expected["joints"]:
            joint["x_px"] += 1.1 * MAX_JOINT_TOLERANCE * joint["width_px"]
        expected["joint_tolerance"] = 1.0

    finder, *_ = run_with(bundle_copy, change)
    assert (finder.status, finder.message.partition(", ")[2]) == ("failed", f"{MAX_JOINT_TOLERANCE:g} allowed")


def test_all_members_together_are_held_to_their_precision(bundle_copy: Path) -> None:
    make_ensemble(bundle_copy, {"kind": "mean"})

    def change(expected: dict[str, Any]) -> None:
        record = json.loads(json.dumps(next(iter(expected["files"].values()))))
        shift(record, 0.05)
        expected["together"] = {"onnxruntime": record}

    *_, together = run_with(bundle_copy, change)
    assert (together.engine, together.status, together.message.partition(", ")[2]) == ("onnxruntime", "failed", "0.001 allowed")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("x_px", 1e9, "joints must lie on the picture"),
        ("y_px", -1.0, "joints must lie on the picture"),
        ("width_px", 0.0, "width of 1 px"),
        ("width_px", 1e9, "width of 1 px"),
    ],
)
def test_joints_beside_the_picture_are_refused(bundle_copy: Path, field: str, value: float, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        run_with(bundle_copy, lambda expected: expected["joints"][0].update({field: value}))


def test_a_reference_that_is_no_picture_is_the_bundles_fault(bundle_copy: Path) -> None:
    with pytest.raises(ManifestError, match=r"MODEL_CARD\.md is no picture for a self-test"):
        run_with(bundle_copy, lambda expected: expected.update(picture="MODEL_CARD.md"))


def test_this_bundle_passes_closely() -> None:
    """Far below what is allowed: the bounds leave room for other processors, not for other numbers."""
    for result in run_self_test(open_bundle(DENSITY)):
        assert result.status == "passed", result
        assert float(result.message.split()[2]) < 1e-4, result
