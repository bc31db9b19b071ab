"""Stand-ins: what counts as the same answers, and what becomes of a run that breaks off."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.devices import Asked, Ended, Place, accepted, difference, judge, measure, table
from benchmarks.growth import EXAMPLE
from osteo_edge.bundle import open_bundle
from tests.bundles import DENSITY

ASKED = Asked("bundle", "onnxruntime", "fp32", ("a.png", "b.png"))
ANSWER: dict[str, Any] = {"status": "referred", "label_set": ["normal"], "probabilities": {"normal": 0.7, "osteopenia": 0.3}}


def ended(*answers: Any, exit_code: int = 4) -> Ended:
    return Ended(exit_code, "\n".join(json.dumps({"answers": [answer]}) for answer in answers), "killed", 50.0, "a limit")


def test_the_same_answers_pass() -> None:
    row = judge("1GB", ASKED, [ANSWER] * 2, ended(ANSWER, ANSWER))
    assert (row.passes, row.answered, row.max_difference, row.peak_mb, row.detail) == (True, 2, 0.0, 50.0, "a limit")


@pytest.mark.parametrize(
    "other",
    [
        ANSWER | {"probabilities": {"normal": 0.699, "osteopenia": 0.301}},
        ANSWER | {"status": "reported"},
        ANSWER | {"label_set": ["normal", "osteopenia"]},
    ],
)
def test_other_answers_do_not(other: Any) -> None:
    row = judge("1GB", ASKED, [ANSWER] * 2, ended(ANSWER, other))
    assert (row.passes, row.answered) == (False, 1)


def test_integers_may_be_off_by_a_step() -> None:
    other = ANSWER | {"probabilities": {"normal": 0.699, "osteopenia": 0.301}}
    assert difference(ANSWER, other) == pytest.approx(0.001)
    assert judge("1GB", replace(ASKED, precision="int8"), [ANSWER] * 2, ended(ANSWER, other)).passes


def test_a_process_that_was_killed_keeps_the_answers_before_and_fails() -> None:
    broken = Ended(-9, json.dumps({"answers": [ANSWER]}) + '\n{"status": "ref', "", 50.0, "a limit")
    row = judge("512MB", ASKED, [ANSWER] * 2, broken)
    assert (row.passes, row.answered) == (False, 1)
    assert "exit code -9" in row.detail


def test_a_limit_that_is_too_small_is_in_force() -> None:
    asked = Asked(str(open_bundle(DENSITY).root), "onnxruntime", "fp32", (str(EXAMPLE),))
    small = Place(dict(os.environ)).run(asked, limit="24MB")
    assert small.exit_code not in (0, 4)
    assert small.limit


@pytest.mark.slow
def test_the_default_bundle_answers_everywhere() -> None:
    bundle = open_bundle(DENSITY)
    found = measure(bundle, [str(EXAMPLE)], many=4, rounds=1)
    assert {(row.engine, row.precision) for row in found.rows} == set(accepted(bundle))
    assert all(row.passes for row in found.rows), table(found)
