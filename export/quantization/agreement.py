"""Does an int8 file answer as its fp32 form does? Asked of knees without labels, every other answer listed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from export.errors import ExportError
from export.parity import MIN_MARGIN, run_file
from export.plans import Agreement, Flip
from export.quantization.records import Exact
from export.radiographs import Case
from osteo_edge.manifest import EngineName
from train.runs.arrays import Doubles, Floats, Integers

QUICK_KNEES = 96
_FLOOR = 1e-3  # under which a probability's logarithm says nothing


class AgreementBench:
    """Knees without labels and what the fp32 ONNX file says of them, which is asked once.

    Raises:
        ExportError: there is no knee, or a file cannot be run.
    """

    def __init__(self, exact: Exact, cases: Sequence[Case], labels: Sequence[str]) -> None:
        self.exact, self._labels = exact, tuple(labels)
        self._places = [(case.name, knee) for case in cases for knee in range(len(case.tensors))]
        if not self._places:
            raise ExportError(
                "agreement cannot be measured: no knee is found on the unlabelled radiographs; check their folder"
            )
        self.knees: Floats = np.concatenate([tensor for case in cases for tensor in case.tensors])
        self._quick = np.unique(np.linspace(0, len(self._places) - 1, min(QUICK_KNEES, len(self._places))).round().astype(int))

    @cached_property
    def fp32(self) -> Doubles:
        """(knees, labels)."""
        return run_file("onnxruntime", self.exact.onnx, self.knees, spec=self.exact.spec, what="the fp32 file").probabilities

    def judge(self, engine: EngineName, data: bytes) -> Agreement:
        """On all knees, with every flip."""
        return self._judge(engine, data, np.arange(len(self._places)))

    def quick(self, engine: EngineName, data: bytes) -> Agreement:
        """On a fixed part of the knees."""
        return self._judge(engine, data, self._quick)

    def _judge(self, engine: EngineName, data: bytes, chosen: Integers) -> Agreement:
        answers = run_file(engine, data, self.knees[chosen], spec=self.exact.spec, what=f"the int8 file for {engine}")
        places = [self._places[place] for place in chosen]
        return agreement_of(self.fp32[chosen], answers.probabilities, places, self._labels)


def agreement_of(fp32: Doubles, reduced: Doubles, places: Sequence[tuple[str, int]], labels: Sequence[str]) -> Agreement:
    """Compare the probabilities (knees, labels) of two files.

    Args:
        places: picture and place in it of each knee.

    Raises:
        ExportError: a probability is not a number.
    """
    if not np.isfinite(reduced).all():
        raise ExportError("an int8 file gives scores that are not numbers")
    margins, reduced_margins = _margins(fp32), _margins(reduced)
    same = fp32.argmax(axis=1) == reduced.argmax(axis=1)
    clear = margins >= MIN_MARGIN
    flipped = sorted(np.flatnonzero(~same).tolist(), key=lambda knee: -float(margins[knee]))
    difference = np.abs(fp32 - reduced)
    return Agreement(
        knees=len(fp32),
        agreement=round(float((same | ~clear).mean()), 4),
        same_label=round(float(same.mean()), 4),
        max_difference=_short(difference.max()),
        mean_difference=_short(difference.mean()),
        relative_error=_short(relative_error(fp32, reduced)),
        flips=tuple(
            Flip(
                picture=places[knee][0],
                knee=places[knee][1],
                margin=round(float(margins[knee]), 4),
                reduced_margin=round(float(reduced_margins[knee]), 4),
                fp32=_named(labels, fp32[knee]),
                reduced=_named(labels, reduced[knee]),
                is_clear=bool(clear[knee]),
            )
            for knee in flipped
        ),
    )


def relative_error(fp32: Doubles, reduced: Doubles) -> float:
    """L2 norm of the error of centred log-probabilities, by that of fp32's own."""
    exact, other = _centred_logs(fp32), _centred_logs(reduced)
    return float(np.linalg.norm(other - exact) / max(float(np.linalg.norm(exact)), 1e-12))


def _centred_logs(probabilities: Doubles) -> Doubles:
    logs = np.log(np.clip(probabilities, _FLOOR, None))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


def _margins(probabilities: Doubles) -> Doubles:
    ordered = np.sort(probabilities, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def _named(labels: Sequence[str], probabilities: Doubles) -> dict[str, float]:
    return dict(zip(labels, (round(value, 4) for value in probabilities.tolist()), strict=True))


def _short(value: float) -> float:
    return float(f"{value:.3g}")
