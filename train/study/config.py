"""The settings of a study: TOML to frozen records."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from osteo_edge.errors import ManifestError
from osteo_edge.records import parse_record
from train.columns import COLUMNS
from train.config import Candidate, ConfigError, Evaluation, Linear, Rule
from train.ensembles.fit import KINDS as ENSEMBLES
from train.targets import KINDS as TARGETS


@dataclass(frozen=True)
class FeatureSet:
    """One network on one region.

    Attributes:
        backbone: a name of ``train.backbones``; ``name@layer`` ends it after that layer.
        weights: as in ``train.config.Config``; ``.npz`` for a distilled backbone.
        region: a name of the study's regions.
        mask: ``gate`` shows the bone alone, ``replace`` the mask itself in the place of the picture; empty for the picture.
    """

    name: str
    backbone: str
    weights: str
    region: str
    mask: Literal["", "gate", "replace"] = ""


@dataclass(frozen=True)
class System:
    """A classifier: what it is fitted on and what it is taught (``train.targets``).

    Attributes:
        features: a name of the study's feature sets.
        is_candidate: whether the study may choose it, inside each fold, as its model.
    """

    name: str
    features: str
    target: str
    is_candidate: bool = True


@dataclass(frozen=True)
class CovariateSet:
    """Columns that are fused with the image's score; the fused answer is given where the required ones are known."""

    name: str
    columns: tuple[str, ...]
    required: tuple[str, ...] = ()


@dataclass(frozen=True)
class LearningCurve:
    """A system's figures against the number of training radiographs."""

    features: str
    sizes: tuple[int, ...]
    repeats: int


@dataclass(frozen=True)
class StudyConfig:
    """Everything that decides what a study does.

    Attributes:
        folds, repeats: of the outer cross-validation; each repeat has its own split.
        inner_folds: of the cross-validation inside each training part.
        members: systems that the ensembles combine, in the order of a cascade.
        ensembles: kinds of ``train.ensembles``.
        forest: feature set of the random forest; empty for none.
        segmenter: file of the network that outlines bone, where a feature set asks for masks.
        fused: systems whose score is fused with covariates; ``selected`` is the model.
    """

    name: str
    data: str
    finder: str
    output: str
    seed: int
    folds: int
    repeats: int
    inner_folds: int
    regions: tuple[Candidate, ...]
    features: tuple[FeatureSet, ...]
    systems: tuple[System, ...]
    members: tuple[str, ...]
    ensembles: tuple[str, ...]
    forest: str
    fused: tuple[str, ...]
    covariates: tuple[CovariateSet, ...]
    learning: LearningCurve
    linear: Linear
    evaluation: Evaluation
    segmenter: str = ""

    @property
    def candidates(self) -> tuple[System, ...]:
        return tuple(system for system in self.systems if system.is_candidate)


def read_study_config(path: Path) -> StudyConfig:
    """Read and check a TOML file.

    Raises:
        ConfigError: not readable, not TOML, or a key that is missing, unknown or names nothing.
    """
    try:
        config = parse_record(StudyConfig, tomllib.loads(path.read_text(encoding="utf-8")), where=path.name)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error
    except ManifestError as error:
        raise ConfigError(str(error)) from error
    for holds, key, message in _rules(config):
        if not holds:
            raise ConfigError(f"{path.name}: {key} {message}")
    return config


def _rules(config: StudyConfig) -> Iterator[Rule]:
    features = [one.name for one in config.features]
    systems = [one.name for one in config.systems]
    yield config.folds >= 2 and config.inner_folds >= 2, "folds", "and inner_folds must be at least 2"
    yield config.repeats >= 1, "repeats", "must be at least 1"
    yield bool(config.candidates), "systems", "must hold at least one candidate"
    masked = any(one.mask for one in config.features)
    yield bool(config.segmenter) or not masked, "segmenter", "is needed, since a feature set has a mask"
    yield from _unique("regions", [one.name for one in config.regions])
    yield from _unique("features", features)
    yield from _unique("systems", systems)
    yield from _known("features", [one.region for one in config.features], [one.name for one in config.regions])
    yield from _known("systems", [one.features for one in config.systems], features)
    yield from _known("systems.target", [one.target for one in config.systems], TARGETS)
    yield from _known("ensembles", config.ensembles, ENSEMBLES)
    yield from _known("members", config.members, systems)
    yield from _known("forest", [config.forest] if config.forest else [], features)
    yield from _known("fused", config.fused, [*systems, *config.ensembles, "selected"])
    yield from _known("learning.features", [config.learning.features], features)
    for one in config.covariates:
        yield from _known(f"covariates.{one.name}", one.columns, list(COLUMNS))
        yield from _known(f"covariates.{one.name}.required", one.required, one.columns)


def _unique(key: str, names: Sequence[str]) -> Iterator[Rule]:
    yield len(set(names)) == len(names), key, "holds one name twice"


def _known(key: str, names: Sequence[str], known: Sequence[str]) -> Iterator[Rule]:
    for name in names:
        yield name in known, key, f"names {name[:60]!r}, which is not there"
