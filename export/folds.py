"""What a reduced precision costs, judged honestly: each fold's network is reduced by the same recipe, with ranges from
that fold's own training radiographs, and answers for the radiographs that the fold held back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from export.errors import ExportError
from export.graph import inference_form
from export.parity import run_file
from export.plans import FoldFigures
from export.radiographs import Case, View
from export.to_onnx import to_onnx
from osteo_edge.decision.scores import mean_logits, softmax
from osteo_edge.manifest import EngineName, InputSpec
from train.fitting.fold_networks import FoldNetwork, load_fold_networks
from train.judging.evaluate import compare
from train.runs.arrays import Doubles, Integers
from train.runs.scores import MODEL, Scores, read_scores

if TYPE_CHECKING:
    import keras

    from train.runs.folder import Run

# Of half of the answers: the recorded scores were made in training's own crops and batches; a fold's network that was trained
# again differs by more.
RECORD_TOLERANCE = 0.005
# Of any: since runs were recorded, large films are shrunk otherwise before their joints are sought, and boxes may lie 2 px
# beside those that training saw, which moved answers by up to 0.03.
MOVED_TOLERANCE = 0.1
RESAMPLES = 2000
SEED = 1
COMPARED = ("macro_auc", "balanced_accuracy", "ece")

# A fold's inference form, its ONNX file in fp32, what it takes and its training cases -> a model file.
MakeFile = Callable[["keras.Model", bytes, InputSpec, Sequence[Case], frozenset[str]], bytes]


@dataclass(frozen=True)
class FoldScores:
    """Out-of-fold scores of one form of a model.

    Attributes:
        digests: SHA-256 of the radiographs, as in the run's own scores.
        logits: (radiographs, labels), the mean over each radiograph's knees.
    """

    digests: tuple[str, ...]
    logits: Doubles = field(repr=False)

    @property
    def probabilities(self) -> Doubles:
        return softmax(self.logits)


class FoldBench:
    """A run's folds, their radiographs and their fp32 answers, which are made once.

    Raises:
        RunError: the run's fold networks are missing or of another run.
        ExportError: a held-back radiograph is not among the cases, or a fold does not give its recorded scores.
    """

    def __init__(self, run: Run, cases: Mapping[View, Sequence[Case]], folds: Sequence[FoldNetwork] | None = None) -> None:
        self._recorded = read_scores(run.folder)[MODEL]
        self._cases = cases
        self._folds = tuple(folds if folds is not None else load_fold_networks(run))
        self._forms = {fold.fold: inference_form(fold.network()) for fold in self._folds}
        self._exact = {fold.fold: to_onnx(self._forms[fold.fold], fold.input) for fold in self._folds}

    @property
    def labels(self) -> Integers:
        """(radiographs,) places in the labels, in the order of the scores."""
        return self._recorded.labels

    @cached_property
    def fp32(self) -> FoldScores:
        """Scores of the fp32 ONNX files, which must be those that training recorded."""
        scores = self.score("onnxruntime", lambda form, exact, spec, cases, training: exact)
        differences = np.abs(scores.probabilities - self._recorded.probabilities[0]).max(axis=1)
        off, most = float(np.median(differences)), float(differences.max())
        if off > RECORD_TOLERANCE or most > MOVED_TOLERANCE:
            raise ExportError(
                f"the networks of the folds are off the run's recorded probabilities by {off:.2g} in the median and {most:.2g} "
                f"at most, {RECORD_TOLERANCE:g} and {MOVED_TOLERANCE:g} allowed; make them again (python -m train "
                "fold-networks), and check --data"
            )
        return scores

    def score(self, engine: EngineName, make: MakeFile) -> FoldScores:
        """Make every fold's file and let it answer for the radiographs that the fold held back.

        Raises:
            ExportError: a file cannot be made or run.
        """
        by_digest: dict[str, Doubles] = {}
        for fold in self._folds:
            cases = self._cases[View(fold.region, fold.input)]
            data = make(self._forms[fold.fold], self._exact[fold.fold], fold.input, cases, fold.training)
            by_digest |= _answers(engine, data, fold, cases)
        missing = [digest for digest in self._recorded.digests if digest not in by_digest]
        if missing:
            raise ExportError(f"{len(missing)} of the run's radiographs are not under --data, or no knee is found on them")
        return FoldScores(self._recorded.digests, np.stack([by_digest[digest] for digest in self._recorded.digests]))

    def figures(self, reduced: FoldScores) -> FoldFigures:
        """Both forms' figures and their paired difference."""
        return compare_forms(self._recorded, self.fp32, reduced)


def compare_forms(recorded: Scores, fp32: FoldScores, reduced: FoldScores) -> FoldFigures:
    """Figures of two forms with labels and patient groups of ``recorded``, all in one order."""
    systems = {"fp32": fp32.probabilities, "reduced": reduced.probabilities}
    figures, differences = compare(
        recorded.labels, systems, recorded.groups, model="reduced", count=RESAMPLES, seed=SEED, compared=COMPARED
    )
    return FoldFigures(figures["fp32"], figures["reduced"], differences["fp32"])


def views_of(folds: Sequence[FoldNetwork]) -> list[View]:
    """What the folds' networks are shown; each fold chose its own region."""
    return list(dict.fromkeys(View(fold.region, fold.input) for fold in folds))


def _answers(engine: EngineName, data: bytes, fold: FoldNetwork, cases: Sequence[Case]) -> dict[str, Doubles]:
    """Digest -> logits (labels,) of the held-back radiographs."""
    held_back = [case for case in cases if case.digest in fold.held_back and case.tensors]
    knees = np.concatenate([tensor for case in held_back for tensor in case.tensors])
    logits = run_file(engine, data, knees, spec=fold.input, what=f"the file of fold {fold.fold} for {engine}").logits
    ends = np.cumsum([len(case.tensors) for case in held_back])[:-1]
    return {
        case.digest: np.asarray(mean_logits(list(part)), np.float64)
        for case, part in zip(held_back, np.split(logits, ends), strict=True)
    }
