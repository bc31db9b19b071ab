"""The settings of a study: TOML to frozen records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from train.data.columns import COLUMNS
from train.ensembles.fit import KINDS as ENSEMBLES
from train.networks.targets import KINDS as TARGETS
from train.runs.config import Candidate, Evaluation, Linear, Rule, read_settings
from train.runs.scores import MODEL

# In the place of a region: the measures of bone instead of a network's features.
MEASURES = "measures"
# Among what is fused: the model, which each fold chooses.
SELECTED = "selected"


@dataclass(frozen=True)
class FeatureSet:
    """One network on one region, or the measures of bone.

    Attributes:
        region: a name of the study's regions; ``measures`` for those of ``train.research.segmentation.measures``, without a
            network.
        backbone: a name of ``train.networks.backbones``; ``name@layer`` ends it after that layer.
        weights: as in ``train.runs.config.Config``; ``.npz`` for a distilled backbone.
        mask: ``gate`` shows the bone alone, ``replace`` the mask itself in the place of the picture; empty for the picture.
    """

    name: str
    region: str
    backbone: str = ""
    weights: str = ""
    mask: Literal["", "gate", "replace"] = ""


@dataclass(frozen=True)
class System:
    """A classifier: what it is fitted on and what it is taught (``train.networks.targets``).

    Attributes:
        features: a name of the study's feature sets.
        is_candidate: whether the study may choose it, inside each fold, as its model.
    """

    name: str
    features: str
    target: str
    is_candidate: bool = True


@dataclass(frozen=True)
class Pool:
    """Some of the candidates, among which each fold chooses as it does among all of them; one system more.

    Attributes:
        systems: names of candidates.
    """

    name: str
    systems: tuple[str, ...]


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
class Proof:
    """What would prove that the picture tells something, said before it is looked; see ``train.research.study.proof``.

    Attributes:
        permutations: of the people over the pictures; for each of them the whole study, with its choices, is done anew.
        largest_p: the p of the model's macro AUC must be below it.
        covariates: name of the covariate set beside which the fused model's paired gain must lie above 0.
    """

    permutations: int
    largest_p: float
    covariates: str


@dataclass(frozen=True)
class StudyConfig:
    """Everything that decides what a study does.

    Attributes:
        folds, repeats: of the outer cross-validation; each repeat has its own split.
        inner_folds: of the cross-validation inside each training part.
        members: systems that the ensembles combine, in the order of a cascade.
        ensembles: kinds of ``train.ensembles``.
        forest: feature set of the random forest; empty for none.
        segmenter: file of the network that outlines bone, where a feature set asks for masks or measures.
        fused: systems whose score is fused with covariates; ``selected`` is the model.
        pools: what is held against the first of them.
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
    linear: Linear
    evaluation: Evaluation
    learning: LearningCurve | None = None
    pools: tuple[Pool, ...] = ()
    proof: Proof | None = None
    segmenter: str = ""

    @property
    def candidates(self) -> tuple[System, ...]:
        return tuple(system for system in self.systems if system.is_candidate)


def read_study_config(path: Path) -> StudyConfig:
    """Read and check a TOML file.

    Raises:
        ConfigError: not readable, not TOML, or a key that is missing, unknown or names nothing.
    """
    return read_settings(StudyConfig, path, _rules)


def _rules(config: StudyConfig) -> Iterator[Rule]:
    features = [one.name for one in config.features]
    systems = [one.name for one in config.systems]
    yield config.folds >= 2 and config.inner_folds >= 2, "folds", "and inner_folds must be at least 2"
    yield config.repeats >= 1, "repeats", "must be at least 1"
    yield bool(config.candidates), "systems", "must hold at least one candidate"
    outlined = any(one.mask or one.region == MEASURES for one in config.features)
    yield bool(config.segmenter) or not outlined, "segmenter", "is needed, since a feature set has a mask or measures"
    yield from _rules_of_features(config)
    yield from _unique("regions", [one.name for one in config.regions])
    yield from _unique("features", features)
    yield from _unique("systems", systems)
    yield from _known("features", [one.region for one in config.features], [MEASURES, *(one.name for one in config.regions)])
    yield from _known("systems", [one.features for one in config.systems], features)
    yield from _known("systems.target", [one.target for one in config.systems], TARGETS)
    yield from _known("ensembles", config.ensembles, ENSEMBLES)
    yield from _known("members", config.members, systems)
    yield bool(config.members) or not config.ensembles, "members", "is empty, and ensembles need some"
    yield from _unique("pools", [MODEL, *systems, *(one.name for one in config.pools)])
    for pool in config.pools:
        yield bool(pool.systems), f"pools.{pool.name[:60]}", "holds no system"
        yield from _known(f"pools.{pool.name[:60]}", pool.systems, [one.name for one in config.candidates])
    yield from _known("forest", [config.forest] if config.forest else [], features)
    yield from _known("fused", config.fused, [*systems, *(one.name for one in config.pools), *config.ensembles, SELECTED])
    yield from _known("learning.features", [config.learning.features] if config.learning else [], features)
    yield from _rules_of_proof(config)
    for one in config.covariates:
        yield from _known(f"covariates.{one.name}", one.columns, list(COLUMNS))
        yield from _known(f"covariates.{one.name}.required", one.required, one.columns)


def _rules_of_proof(config: StudyConfig) -> Iterator[Rule]:
    if config.proof is None:
        return
    yield SELECTED in config.fused, "proof", f"needs {SELECTED!r} among what is fused"
    yield from _known("proof.covariates", [config.proof.covariates], [one.name for one in config.covariates])
    yield 0 < config.proof.largest_p < 1, "proof.largest_p", "must lie between 0 and 1"
    least = 1 / (1 + max(config.proof.permutations, 0))
    yield (
        least < config.proof.largest_p,
        "proof.permutations",
        f"are too few: p would be {least:.3g} or more, whatever is found",
    )


def _rules_of_features(config: StudyConfig) -> Iterator[Rule]:
    """Measures have gaps, which only the linear members fill, inside the fold."""
    measured = {one.name for one in config.features if one.region == MEASURES}
    for one in config.features:
        key = f"features.{one.name[:60]}"
        if one.name in measured:
            yield (
                not (one.backbone or one.weights or one.mask),
                key,
                "has measures for its region: no backbone, weights or mask",
            )
        else:
            yield bool(one.backbone and one.weights), key, "needs a backbone and weights"
    yield MEASURES not in [one.name for one in config.regions], "regions", f"must not be called {MEASURES!r}"
    yield config.forest not in measured, "forest", "cannot take measures of bone, which have gaps"
    learnt = config.learning.features if config.learning else ""
    yield learnt not in measured, "learning.features", "cannot be measures of bone, which have gaps"
    candidates = {one.features for one in config.candidates}
    yield not candidates & measured, "systems", "on measures of bone compare only: set is_candidate = false"


def _unique(key: str, names: Sequence[str]) -> Iterator[Rule]:
    yield len(set(names)) == len(names), key, "holds one name twice"


def _known(key: str, names: Sequence[str], known: Sequence[str]) -> Iterator[Rule]:
    for name in names:
        yield name in known, key, f"names {name[:60]!r}, which is not there"
