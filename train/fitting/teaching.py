"""What the linear classifiers of a run are taught, with the measurements that training alone knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.data.dataset import Dataset
from train.data.split import Groups
from train.networks.targets import KINDS, FittedTarget, TargetKind, fit_target
from train.runs.arrays import Integers, Reals
from train.runs.config import ConfigError, Linear


@dataclass(frozen=True)
class Teaching:
    """A target of ``train.networks.targets`` for some radiographs.

    Attributes:
        t_scores, ages: (radiographs,), NaN where unknown; only ``t_score`` and ``privileged`` look at them.
    """

    kind: TargetKind
    t_scores: Reals
    ages: Reals

    def of(self, rows: Integers) -> Teaching:
        """The same for some of the radiographs."""
        return Teaching(self.kind, self.t_scores[rows], self.ages[rows])

    def fit(self, features: Reals, labels: Integers, groups: Groups, settings: Linear, *, seed: int) -> FittedTarget:
        """Fit a linear classifier; see ``train.networks.targets.fit_target``."""
        return fit_target(self.kind, features, labels, groups, settings, seed=seed, t_scores=self.t_scores, ages=self.ages)


def teaching_of(radiographs: Dataset, kind: str) -> Teaching:
    """The target ``kind`` for the radiographs of a dataset.

    Raises:
        ConfigError: an unknown kind.
    """
    for known in KINDS:
        if known == kind:
            ages = [row.covariates.get("age_years", np.nan) for row in radiographs.radiographs]
            t_scores = [np.nan if row.t_score is None else row.t_score for row in radiographs.radiographs]
            return Teaching(known, np.array(t_scores), np.array(ages))
    raise ConfigError(f"there is no target {kind[:40]!r}; known are {', '.join(KINDS)}")


def plain_classes(count: int) -> Teaching:
    """The classes alone, for so many radiographs."""
    unknown = np.full(count, np.nan)
    return Teaching("classes", unknown, unknown)
