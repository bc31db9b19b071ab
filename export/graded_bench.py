"""What a reduced precision costs a run of grades: the network itself, reduced, is judged on the validation knees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from export.errors import ExportError
from export.folds import MOVED_TOLERANCE, RECORD_TOLERANCE, RESAMPLES, SEED, FoldScores, MakeFile
from export.parity import run_file
from export.plans import FoldFigures
from export.quantization import Exact
from export.radiographs import Case
from osteo_edge.decision.ensemble import combine
from osteo_edge.decision.scores import mean_logits, softmax
from osteo_edge.manifest import ENGINE_NAMES, EngineName, Ensemble, Metric
from train.grading.judgement import differences, resampled_weights, with_intervals
from train.grading.knees import VALIDATION, GradedKnee
from train.runs.arrays import Doubles, Integers
from train.runs.folder import JUDGED_FILE, read_json

if TYPE_CHECKING:
    from train.runs.folder import Run


class GradedBench:
    """The validation knees that the finder finds, and the fp32 answers for them, which are made once.

    Args:
        cases: in the run's view, the validation knees among them.
        knees: rows of the index, with grades and patients.

    Attributes:
        fp32: scores of the fp32 ONNX file.

    Raises:
        ExportError: no validation knee is there, one was trained on, or the scores are not those that judging recorded.
    """

    def __init__(self, run: Run, exact: Exact, cases: Sequence[Case], knees: Sequence[GradedKnee]) -> None:
        rows = {knee.sha256: knee for knee in knees if knee.part == VALIDATION}
        self._run, self._exact, self._cases = run, exact, cases
        self._judged = [case for case in cases if case.tensors and case.digest in rows]
        if not self._judged:
            raise ExportError("no knee of the validation part is at hand; check --data")
        if foreign := run.training_digests & {case.digest for case in self._judged}:
            raise ExportError(f"{len(foreign)} of the validation knees were trained on; check --data")
        self._knees = [rows[case.digest] for case in self._judged]
        self.fp32 = self._checked(self.score("onnxruntime", lambda form, exact, spec, cases, training: exact))

    @property
    def labels(self) -> Integers:
        """(knees,) grades."""
        return np.array([knee.grade for knee in self._knees])

    def score(self, engine: EngineName, make: MakeFile) -> FoldScores:
        """Make the file and let it answer for the validation knees.

        Raises:
            ExportError: it cannot be made or run.
        """
        spec = self._run.input
        data = make(self._exact.form, self._exact.onnx, spec, self._cases, self._run.training_digests)
        pixels = np.concatenate([tensor for case in self._judged for tensor in case.tensors])
        logits = run_file(engine, data, pixels, spec=spec, what=f"the file for {engine}").logits
        ends = np.cumsum([len(case.tensors) for case in self._judged])[:-1]
        rows = [mean_logits(list(part)) for part in np.split(logits, ends)]
        return FoldScores(tuple(case.digest for case in self._judged), np.stack(rows))

    def figures(self, reduced: FoldScores) -> FoldFigures:
        """Both forms' figures and their paired difference, with 95 % intervals by patient."""
        return self.compare(self.fp32.probabilities, reduced.probabilities)

    def compare(self, fp32: Doubles, other: Doubles) -> FoldFigures:
        """As ``figures``, of any probabilities (knees, grades) of these knees."""
        grades, patients = self.labels, np.array([knee.patient for knee in self._knees])
        weights = resampled_weights(patients, count=RESAMPLES, seed=SEED)
        return FoldFigures(
            _as_metrics(with_intervals(grades, fp32, weights)),
            _as_metrics(with_intervals(grades, other, weights)),
            _as_metrics(differences(grades, other, fp32, weights)),
        )

    def _checked(self, scores: FoldScores) -> FoldScores:
        """Scores of the fp32 ONNX file, which must be those that judging recorded."""
        off = np.abs(scores.probabilities - softmax(self._recorded())).max(axis=1)
        if float(np.median(off)) > RECORD_TOLERANCE or float(off.max()) > MOVED_TOLERANCE:
            raise ExportError(
                f"the network is off the run's recorded scores by {np.median(off):.2g} in the median and {off.max():.2g} at "
                f"most, {RECORD_TOLERANCE:g} and {MOVED_TOLERANCE:g} allowed; judge it again (python -m train judge-grades), "
                "and check --data"
            )
        return scores

    def _recorded(self) -> Doubles:
        """(knees, grades) logits as judging recorded them, divided by the temperature."""
        knees = read_json(self._run.folder / JUDGED_FILE)["knees"]
        assert self._run.calibration is not None
        try:
            rows = np.array([knees[case.digest]["logits"] for case in self._judged], np.float64)
        except (KeyError, TypeError) as error:
            raise ExportError(f"{self._run.folder / JUDGED_FILE}: lacks a validation knee under --data ({error})") from error
        return rows / self._run.calibration.temperature


def judge_together(
    ensemble: Ensemble, benches: Mapping[str, GradedBench], scores: Mapping[str, Mapping[EngineName, FoldScores]]
) -> dict[str, FoldFigures]:
    """All members together in int8, for each engine that every member has such a file for.

    Args:
        benches: of the members, by name, in the ensemble's order.
        scores: member -> engine -> what its int8 file says.
    """
    bench = next(iter(benches.values()))
    fp32 = _combined(ensemble, [one.fp32 for one in benches.values()])
    found: dict[str, FoldFigures] = {}
    for engine in ENGINE_NAMES:
        of_members = [scores[name][engine] for name in benches if engine in scores[name]]
        if len(of_members) == len(benches):
            found[engine] = bench.compare(fp32, _combined(ensemble, of_members))
    return found


def _combined(ensemble: Ensemble, members: Sequence[FoldScores]) -> Doubles:
    """(knees, grades) probabilities of the ensemble."""
    if len({one.digests for one in members}) != 1:
        raise ExportError("the members were judged on different knees; judge them again (python -m train judge-grades)")
    return softmax(np.array([combine(ensemble, knee) for knee in np.stack([one.logits for one in members], axis=1)]))


def _as_metrics(figures: Mapping[str, Mapping[str, float]]) -> dict[str, Metric]:
    return {name: Metric(one["value"], one["low"], one["high"]) for name, one in figures.items()}
