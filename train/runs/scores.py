"""Out-of-fold scores of a run's systems: ``oof.json``, by which any two runs can be compared picture by picture."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osteo_edge.decision.scores import softmax
from osteo_edge.integrity import sha256_hex
from train.data.dataset import LABELS
from train.data.split import Groups
from train.runs.arrays import Doubles, Integers
from train.runs.folder import SCORES_FILE, RunError, read_json

MODEL = "model"
SCHEMA_VERSION = 2
SMALLEST_PROBABILITY = 1e-30

_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Scores:
    """What one system says of radiographs that it was not fitted on.

    Attributes:
        name: of the system: ``"model"``, or a baseline's.
        digests: SHA-256 of each radiograph, each once.
        labels: (radiographs,) places in ``LABELS``.
        groups: digest of each radiograph's patient group, as ``group_digests`` gives it; never the group's name.
        fold_of: (repeats, radiographs), the fold that held the radiograph back.
        logits: (repeats, radiographs, labels); logarithms of the probabilities where a system gives those.
    """

    name: str
    digests: tuple[str, ...]
    labels: Integers
    groups: tuple[str, ...]
    fold_of: Integers
    logits: Doubles

    @property
    def probabilities(self) -> Doubles:
        """(repeats, radiographs, labels), summing to one."""
        return softmax(self.logits)

    def subset(self, digests: Sequence[str]) -> Scores:
        """The scores of these radiographs, in their order; all must be here."""
        place_of = {digest: place for place, digest in enumerate(self.digests)}
        places = [place_of[digest] for digest in digests]
        groups = tuple(self.groups[place] for place in places)
        return Scores(self.name, tuple(digests), self.labels[places], groups, self.fold_of[:, places], self.logits[:, places])


def group_digests(groups: Groups, digests: Sequence[str]) -> tuple[str, ...]:
    """A name for each radiograph's patient group that tells nothing of the patient: the digest of its radiographs' digests.

    The digest of the group's own name would not do: patient numbers are few enough to be tried one by one.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for group, digest in zip(groups, digests, strict=True):
        members[str(group)].append(digest)
    names = {group: sha256_hex("\n".join(sorted(of_group)).encode()) for group, of_group in members.items()}
    return tuple(names[str(group)] for group in groups)


def log_probabilities(probabilities: Doubles) -> Doubles:
    """Logits whose softmax gives the probabilities back; JSON knows no infinity, hence 1e-30 stands for zero."""
    logits: Doubles = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))
    return logits


def write_scores(folder: Path, systems: Iterable[Scores]) -> None:
    """Write ``oof.json``: label and group by the files' SHA-256, and each system's folds and logits in that order.

    Raises:
        RunError: the systems are not of the same radiographs, a number is not finite, or a group is not a digest.
    """
    systems = list(systems)
    path = folder / SCORES_FILE
    if not systems:
        raise RunError(f"{path}: there is no system to write")
    digests = sorted(systems[0].digests)
    first = _checked(systems[0], digests, path)
    if not all(_DIGEST.fullmatch(group) for group in first.groups):
        raise RunError(f"{path}: patient groups must be digests; see train.runs.scores.group_digests")
    people = zip(digests, first.labels.tolist(), first.groups, strict=True)
    by_name = {one.name: _plain(_checked(one, digests, path)) for one in systems}
    if len(by_name) < len(systems):
        raise RunError(f"{path}: two systems carry one name")
    plain = {
        "schema_version": SCHEMA_VERSION,
        "labels": LABELS,
        "radiographs": {digest: {"label": LABELS[label], "group": group} for digest, label, group in people},
        "systems": by_name,
    }
    # Here only: it brings Keras along, which takes seconds to start.
    from train.runs.cache import save_json

    save_json(path, plain)


def _plain(scores: Scores) -> dict[str, Any]:
    return {"folds": scores.fold_of.tolist(), "logits": scores.logits.tolist()}


def _checked(scores: Scores, digests: Sequence[str], path: Path) -> Scores:
    """The scores in the order of ``digests``."""
    if sorted(scores.digests) != list(digests):
        raise RunError(f"{path}: {scores.name!r} was not scored on the same radiographs as the others")
    return _validated(scores, str(path)).subset(digests)


def _validated(scores: Scores, where: str) -> Scores:
    count = len(scores.digests)
    repeats = len(scores.logits)
    if len(set(scores.digests)) != count or count == 0 or repeats == 0:
        raise RunError(f"{where}: {scores.name!r} has no scores, or a radiograph twice")
    shapes = (scores.labels.shape, (len(scores.groups),), scores.fold_of.shape, scores.logits.shape)
    if shapes != ((count,), (count,), (repeats, count), (repeats, count, len(LABELS))):
        raise RunError(f"{where}: {scores.name!r} has folds or logits of another shape than its {count} radiographs")
    if not np.isfinite(scores.logits).all():
        raise RunError(f"{where}: {scores.name!r} has a logit that is not a finite number")
    return scores


def read_scores(folder: Path) -> dict[str, Scores]:
    """Every system of a run's ``oof.json``, by name.

    Files of schema version 1 hold the model alone and no patient groups: each radiograph counts as a patient.

    Raises:
        RunError: the file is missing, damaged, of other labels or of a later version.
    """
    path = folder / SCORES_FILE
    plain = read_json(path)
    if not isinstance(plain, dict) or plain.get("schema_version") not in (1, SCHEMA_VERSION):
        raise RunError(f"{path}: is not a file of out-of-fold scores of version 1 or {SCHEMA_VERSION}; run it again")
    if plain.get("labels") != list(LABELS):
        raise RunError(f"{path}: its labels are {plain.get('labels')!r}; scores of {', '.join(LABELS)} are needed")
    try:
        systems = _read_first(plain) if plain["schema_version"] == 1 else _read_second(plain)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{path}: is damaged ({error!r}); run it again") from error
    return {name: _validated(scores, str(path)) for name, scores in systems.items()}


def _read_first(plain: Mapping[str, Any]) -> dict[str, Scores]:
    rows = plain["radiographs"].values()
    logits, folds = [[row["logits"] for row in rows]], [[row["fold"] for row in rows]]
    digests = tuple(plain["radiographs"])
    return {MODEL: _scores(MODEL, digests, rows, group_digests(digests, digests), folds, logits)}


def _read_second(plain: Mapping[str, Any]) -> dict[str, Scores]:
    rows = plain["radiographs"].values()
    digests, groups = tuple(plain["radiographs"]), tuple(str(row["group"]) for row in rows)
    return {
        name: _scores(name, digests, rows, groups, system["folds"], system["logits"])
        for name, system in plain["systems"].items()
    }


def _scores(
    name: str, digests: tuple[str, ...], rows: Iterable[Mapping[str, Any]], groups: tuple[str, ...], folds: Any, logits: Any
) -> Scores:
    labels = np.array([LABELS.index(row["label"]) for row in rows], np.int64)
    return Scores(name, digests, labels, groups, np.array(folds, np.int64), np.array(logits, np.float64))
