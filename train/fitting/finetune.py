"""Fine-tuning of the network's upper blocks on stored activations of its frozen trunk.

The trunk never changes, so its activations of each knee's augmented views are computed once. Training then
costs a fraction of the network and is exact, but for the stored activations' half precision.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import keras
import numpy as np
from sklearn.utils.class_weight import compute_sample_weight

from osteo_edge.decision.scores import softmax
from train.fitting.augmentation import make_views
from train.fitting.regions import mean_by_owner
from train.judging.evaluate import class_aucs
from train.networks.heads import standardise, t_score_auxiliary
from train.networks.linear import balanced_log_loss
from train.networks.network import apply, bag_of_two
from train.runs.arrays import Doubles, Floats, Halves, Integers, Reals
from train.runs.cache import kept
from train.runs.checkpoint import resume, save_checkpoint
from train.runs.config import Augmentation, Training

PLAIN_VIEW = 0
KNEES_AT_A_TIME = 8


@dataclass(frozen=True)
class Activations:
    """What the trunk makes of every view of every knee.

    Attributes:
        views: (knees, views, rows, columns, channels) float16; view 0 is the plain crop.
        owner: (knees,) the picture that each knee is of.
    """

    views: Halves
    owner: Integers

    def draw(self, pictures: Integers, rng: np.random.Generator) -> list[Halves]:
        """Two knees of each picture in random views: two arrays (pictures, rows, columns, channels).

        A picture of one knee fills both places with two different views of it.
        """
        drawn = [self._draw_one(picture, rng) for picture in pictures]
        return [np.stack([pair[place] for pair in drawn]) for place in range(2)]

    def _draw_one(self, picture: int, rng: np.random.Generator) -> tuple[Halves, Halves]:
        knees = np.flatnonzero(self.owner == picture)
        first, second = rng.choice(knees, 2, replace=False) if len(knees) > 1 else (knees[0], knees[0])
        one, other = rng.choice(self.views.shape[1], 2, replace=False)
        return self.views[first, one], self.views[second, other]

    def plain(self, pictures: Integers) -> tuple[Halves, Integers]:
        """Plain views of all the pictures' knees, and the place in ``pictures`` that each is of."""
        knees = np.flatnonzero(np.isin(self.owner, pictures))
        place = {picture: index for index, picture in enumerate(pictures.tolist())}
        return self.views[knees, PLAIN_VIEW], np.array([place[picture] for picture in self.owner[knees].tolist()])


@dataclass(frozen=True)
class Epoch:
    """One line of a training's history; epoch 0 is the state before it. The validation is None without one."""

    epoch: int
    loss: float
    validation_loss: float | None
    validation_macro_auc: float | None


def cached_activations(
    trunk: keras.Model, images: Floats, owner: Integers, settings: Augmentation, *, seed: int, file: Path
) -> Activations:
    """The trunk's activations, from ``file`` where it exists; otherwise computed and kept there."""
    stored = kept(file, lambda: {"views": compute_views(trunk, images, settings, seed=seed)})
    return Activations(stored["views"], owner)


def compute_views(trunk: keras.Model, images: Floats, settings: Augmentation, *, seed: int) -> Halves:
    """Activations (knees, views, rows, columns, channels) float16 of images (knees, height, width) in 0 to 255."""
    parts = []
    starts = range(0, len(images), KNEES_AT_A_TIME)
    with click.progressbar(starts, label="Frozen layers", file=sys.stderr) as progress:
        for start in progress:
            knees = range(start, min(start + KNEES_AT_A_TIME, len(images)))
            views = np.stack([make_views(images[knee], settings, np.random.default_rng([seed, knee])) for knee in knees])
            flat = apply(trunk, views.reshape(-1, *views.shape[2:], 1))
            parts.append(flat.reshape(*views.shape[:2], *flat.shape[1:]).astype(np.float16))
    return np.concatenate(parts)


@dataclass(frozen=True)
class AuxiliaryTask:
    """The T-score as a second task.

    Attributes:
        upper: as the ``Trainer``'s, with the second head: ``train.networks.network.with_auxiliary``.
        t_scores: (pictures,), NaN where unknown.
    """

    upper: keras.Model
    t_scores: Reals


class Trainer:
    """Trains ``upper`` epoch by epoch; after a stop it goes on where the checkpoint was written.

    Every draw is seeded by the epoch's number, hence a resumed training sees what an unbroken one sees.

    Attributes:
        best_logits: (validation, labels) at the epoch of lowest validation loss so far; None without a validation part.
    """

    def __init__(
        self,
        upper: keras.Model,
        activations: Activations,
        labels: Integers,
        settings: Training,
        *,
        seed: int,
        checkpoint: Path,
        auxiliary: AuxiliaryTask | None = None,
    ) -> None:
        self._upper = upper
        self._activations = activations
        self._labels = labels
        self._settings = settings
        self._seed = seed
        self._checkpoint = checkpoint
        self._auxiliary = auxiliary
        self._optimizer = keras.optimizers.AdamW(settings.learning_rate, weight_decay=settings.weight_decay)
        classes = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if auxiliary is None:
            self._bag = bag_of_two(upper)
            self._bag.compile(optimizer=self._optimizer, loss=classes)
        else:
            task = t_score_auxiliary(settings.t_score_weight)
            self._bag = bag_of_two(auxiliary.upper)
            self._bag.compile(optimizer=self._optimizer, loss=[classes, task.loss], loss_weights=[1.0, task.weight])
        self._optimizer.build(self._bag.trainable_variables)
        self.best_logits: Doubles | None = None

    def run(self, training: Integers, validation: Integers | None, *, epochs: int) -> tuple[Epoch, ...]:
        """Train on the pictures ``training``; with ``validation``, stop when its loss no longer falls.

        Returns:
            The history from epoch 0. The weights are those after its last epoch.
        """
        history = self._resume()
        if not history:
            self._measure(history, self._loss_before(training), validation)
        while history[-1].epoch < epochs and not self._is_done(history):
            epoch = history[-1].epoch + 1
            self._measure(history, self._train_once(training, epoch), validation)
            self._save(history)
        return tuple(history)

    def _train_once(self, training: Integers, epoch: int) -> float:
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(training)
        self._reseed_dropout(epoch)
        weights = compute_sample_weight("balanced", self._labels[order])
        truth = self._labels[order]
        if self._auxiliary is not None:
            truth, weights = [truth, standardise(self._auxiliary.t_scores, training)[order]], [weights, weights]
        fitted = self._bag.fit(
            self._activations.draw(order, rng),
            truth,
            sample_weight=weights,
            batch_size=self._settings.batch_size,
            shuffle=False,
            verbose=0,
        )
        return float(fitted.history["loss"][0])

    def _loss_before(self, training: Integers) -> float:
        knees, place = self._activations.plain(training)
        return balanced_log_loss(self._labels[training], softmax(picture_logits(self._upper, knees, place)))

    def _measure(self, history: list[Epoch], loss: float, validation: Integers | None) -> None:
        """Add a line to the history, and keep the logits where it is the best."""
        epoch = len(history)
        if validation is None:
            history.append(Epoch(epoch, loss, None, None))
            return
        labels = self._labels[validation]
        logits = picture_logits(self._upper, *self._activations.plain(validation)).astype(np.float64)
        probabilities = softmax(logits)
        auc = float(class_aucs(labels, probabilities).mean())
        history.append(Epoch(epoch, loss, balanced_log_loss(labels, probabilities), auc))
        if best_epoch(history) == epoch:
            self.best_logits = logits

    def _is_done(self, history: list[Epoch]) -> bool:
        if history[0].validation_loss is None:
            return False
        return history[-1].epoch - best_epoch(history) >= self._settings.patience

    def _reseed_dropout(self, epoch: int) -> None:
        dropout = self._upper.get_layer("dropout")
        if dropout.rate > 0:
            dropout.seed_generator.state.assign([self._seed, epoch])

    def _save(self, history: list[Epoch]) -> None:
        best = {} if self.best_logits is None else {"best_logits": self.best_logits}
        save_checkpoint(self._checkpoint, self._variables(), [asdict(epoch) for epoch in history], **best)

    def _resume(self) -> list[Epoch]:
        stopped = resume(self._checkpoint, self._variables())
        if stopped is None:
            return []
        self.best_logits = stopped.arrays.get("best_logits")
        return [Epoch(**line) for line in stopped.state]

    def _variables(self) -> list[keras.Variable]:
        return [*self._bag.weights, *self._optimizer.variables]


def best_epoch(history: list[Epoch] | tuple[Epoch, ...]) -> int:
    """The epoch of lowest validation loss; 0 where training only made it worse."""
    return min(history, key=lambda line: line.validation_loss).epoch


def picture_logits(model: keras.Model, knees: Reals, owner: Integers) -> Floats:
    """Logits (pictures, labels): the mean over each picture's knees, as the runtime takes it.

    Args:
        model: from one knee to its logits.
        owner: (knees,) the picture that each is of, counted from 0 without gaps.
    """
    return mean_by_owner(apply(model, knees), owner)
