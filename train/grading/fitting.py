"""The training of a whole grading network: stages of growing pictures, a moving average of the weights, a budget in hours.

Every draw is seeded by the epoch and the knee, hence a training that was stopped and goes on sees what an unbroken one sees.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from osteo_edge.decision.scores import softmax
from osteo_edge.integrity import sha256_hex
from train.fitting.material import open_network, say, weights_digest
from train.grading.config import Fitting, GradingConfig, Precision
from train.grading.judgement import figures_of
from train.grading.knees import GRADES, GradedPart
from train.grading.views import Place, plain_views, random_view
from train.networks.network import LOGITS, apply, set_batch_norm_training, settle_batch_norm
from train.networks.norms import unfold
from train.runs import cache
from train.runs.checkpoint import read_state, restore, save_checkpoint
from train.runs.config import RANDOM_WEIGHTS

Grades = NDArray[np.int64]
Shares = NDArray[np.float32]

_SETTLING_EPOCH = 0  # the draws of an epoch that is none
_SETTLING_BATCHES = 16
_LOWEST_RATE = 0.01  # of the height that the learning rate has risen to


@dataclass(frozen=True)
class PlacedPart:
    """A part of the split and where its knees lie."""

    part: GradedPart
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Epoch:
    """One line of the history. The validation is of the averaged weights, at the size of the stage.

    Attributes:
        loss: mean over the epoch's random views.
        seconds: with the measurements.
    """

    epoch: int
    side_px: int
    loss: float
    validation_loss: float
    quadratic_kappa: float
    accuracy: float
    seconds: float


class GradingTrainer:
    """Trains one network; after a stop it goes on where the checkpoint was written."""

    def __init__(
        self,
        config: GradingConfig,
        training: PlacedPart,
        validation: PlacedPart,
        folder: Path,
        *,
        taught: Shares | None = None,
    ) -> None:
        """``taught``: what the teachers tell of each training knee, (knees, grades) summing to one."""
        self._config, self._training, self._validation = config, training, validation
        self._targets = targets_of(training.part.grades, config.fitting, taught)
        key = _key(config, training, validation, taught)
        self._checkpoint, self._best = folder / f"training-{key}.npz", folder / f"best-{key}.npz"
        self._steps = -(-len(training.part.knees) // config.fitting.batch_size)
        self.history: list[Epoch] = []
        self._build(config.side_px(1))

    def run(self) -> keras.Model:
        """Train until the epochs, the patience or the hours are used up; returns the network of the best epoch."""
        self._resume()
        while len(self.history) < self._config.epochs and not self._is_patience_over() and self._fits_another():
            self._train_once(len(self.history) + 1)
        restore(self._best, self.network.weights)
        return self.network if self._config.fitting.precision == "float32" else self._in_float32()

    def _in_float32(self) -> keras.Model:
        best = [keras.ops.convert_to_numpy(variable) for variable in self.network.weights]
        exact = self._open("float32")
        for variable, value in zip(exact.weights, best, strict=True):
            variable.assign(value)
        return exact

    def _change_size(self, side_px: int) -> None:
        """Go on with pictures of another size: the same weights and the same state of the optimizer."""
        state = [keras.ops.convert_to_numpy(variable) for variable in self._variables()]
        self._build(side_px)
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def _build(self, side_px: int) -> None:
        """An untrained network for pictures of this size."""
        config = self._config
        self.side_px = side_px
        self.region = replace(config.region, height_px=side_px, width_px=side_px)
        self.network = self._open(config.fitting.precision)
        self._trains_batch_norm = config.weights == RANDOM_WEIGHTS or config.fitting.trains_batch_norm
        if self._trains_batch_norm and config.weights != RANDOM_WEIGHTS:
            unfold(self.network, next(self._settling_views()))
        set_batch_norm_training(self.network, self._trains_batch_norm)
        self._to_logits = keras.Model(self.network.input, self.network.output[LOGITS])
        self._optimizer = _optimizer(config.fitting, self._steps * config.epochs)
        self._to_logits.compile(optimizer=self._optimizer, loss=ordinal_loss(config.fitting.grade_weight), jit_compile=False)
        self._optimizer.build(self._to_logits.trainable_variables)
        self._plain = plain_views(self._validation.part.pictures, self._validation.places, self.region)

    def _settling_views(self) -> Iterator[Shares]:
        """Random views of training knees, for BatchNorm's statistics."""
        batches = _Batches(self._config, self._training, self._targets, self.side_px, _SETTLING_EPOCH)
        return (batches[place][0] for place in range(min(_SETTLING_BATCHES, len(batches))))

    def _open(self, precision: Precision) -> keras.Model:
        config = self._config
        with computing_in(precision):
            return open_network(
                config.backbone, config.weights, self.region, labels=GRADES, dropout=config.fitting.dropout, seed=config.seed
            )

    def _train_once(self, epoch: int) -> None:
        started = time.monotonic()
        if self._config.side_px(epoch) != self.side_px:
            self._change_size(self._config.side_px(epoch))
        _reseed_dropout(self._to_logits, self._config.seed, epoch)
        batches = _Batches(self._config, self._training, self._targets, self.region.height_px, epoch)
        own = _OwnWeights()
        fitted = self._to_logits.fit(batches, shuffle=False, verbose=0, callbacks=[own])
        self._note(epoch, float(fitted.history["loss"][0]), own.values, started)

    def _note(self, epoch: int, loss: float, own: list[NDArray[np.float32]], started: float) -> None:
        """Judge the averaged weights, keep them where they are the best, and write the checkpoint with the ``own`` ones."""
        if self._trains_batch_norm:
            settle_batch_norm(self.network, self._settling_views())
        probabilities = softmax(apply(self._to_logits, self._plain[..., np.newaxis]).astype(np.float32))
        grades = self._validation.part.grades
        figures = figures_of(grades, probabilities)
        validation_loss = float(-np.log(probabilities[np.arange(len(grades)), grades]).mean())
        line = Epoch(
            epoch,
            self.side_px,
            loss,
            validation_loss,
            figures["quadratic_kappa"],
            figures["accuracy"],
            time.monotonic() - started,
        )
        self.history.append(line)
        if _best(self.history) == line:
            save_checkpoint(self._best, self.network.weights, asdict(line))
        for variable, value in zip(self._to_logits.trainable_variables, own, strict=True):
            variable.assign(value)
        save_checkpoint(self._checkpoint, self._variables(), [asdict(one) for one in self.history])
        say(
            f"  epoch {epoch}: {line.side_px} px, loss {loss:.3f}; validation loss {line.validation_loss:.3f}, "
            f"kappa {line.quadratic_kappa:.3f}, accuracy {line.accuracy:.3f}; {line.seconds:.0f} s"
        )

    def _resume(self) -> None:
        lines = read_state(self._checkpoint)
        if lines is None:
            return
        self.history = [Epoch(**line) for line in lines]
        if self.history[-1].side_px != self.side_px:
            self._build(self.history[-1].side_px)
        restore(self._checkpoint, self._variables())

    def _variables(self) -> list[keras.Variable]:
        return [*self.network.weights, *self._optimizer.variables]

    def _is_patience_over(self) -> bool:
        return bool(self.history) and self.history[-1].epoch - _best(self.history).epoch >= self._config.fitting.patience

    def _fits_another(self) -> bool:
        spent = sum(line.seconds for line in self.history)
        return spent + (self.history[-1].seconds if self.history else 0) <= self._config.fitting.hours * 3600


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Layers that are made within compute in this precision; their weights are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _key(config: GradingConfig, training: PlacedPart, validation: PlacedPart, taught: Shares | None) -> str:
    """Of all that the training depends on: a checkpoint of other settings, pictures, places or weights is none of this one."""
    shown = [(placed.places, [(knee.sha256, knee.grade) for knee in placed.part.knees]) for placed in (training, validation)]
    # Where it is written, how it is judged and how long it may take change nothing that is trained.
    settings = replace(config, name="", data="", finder="", output="", weights="", resamples=0)
    settings = replace(settings, fitting=replace(settings.fitting, hours=0.0, teachers=()))
    told = "" if taught is None else sha256_hex(taught.tobytes())
    return cache.key(settings, weights_digest(config.weights), shown, told)


def _best(history: list[Epoch]) -> Epoch:
    """Of the last size alone: the epoch of lowest validation loss, the first of equals."""
    last = [line for line in history if line.side_px == history[-1].side_px]
    return min(last, key=lambda line: line.validation_loss)


def ordinal_loss(grade_weight: float) -> Any:
    """Cross-entropy with soft targets, and the squared error of the expected grade.

    Targets are (batch, grades + 1): the soft target, and the grade itself; logits (batch, grades).
    """

    def loss(truth: Any, logits: Any) -> Any:
        shares, grade = truth[:, :GRADES], truth[:, GRADES]
        logits = ops.cast(logits, "float32")
        log_shares = ops.log_softmax(logits, axis=-1)
        places = ops.arange(GRADES, dtype=logits.dtype)
        expected = ops.sum(ops.exp(log_shares) * places, axis=-1)
        return -ops.sum(shares * log_shares, axis=-1) + grade_weight * ops.square(expected - grade)

    return loss


def soft_targets(grades: Grades, spread: float) -> NDArray[np.float32]:
    """(knees, grades + 1), as ``ordinal_loss`` takes them."""
    distance = np.abs(np.arange(GRADES) - grades[:, np.newaxis]).astype(np.float32)
    weights = np.exp(-distance / spread) if spread else (distance == 0).astype(np.float32)
    return np.column_stack([weights / weights.sum(axis=1, keepdims=True), grades]).astype(np.float32)


def targets_of(grades: Grades, fitting: Fitting, taught: Shares | None) -> Shares:
    """(knees, grades + 1), as ``ordinal_loss`` takes them: soft targets of the grades, mixed with what the teachers tell."""
    own = soft_targets(grades, fitting.spread)
    if taught is None:
        return own
    told = np.column_stack([taught, taught @ np.arange(GRADES)])
    return ((1 - fitting.teacher_weight) * own + fitting.teacher_weight * told).astype(np.float32)


def _optimizer(fitting: Fitting, steps: int) -> keras.optimizers.Optimizer:
    rate = keras.optimizers.schedules.CosineDecay(
        fitting.learning_rate * _LOWEST_RATE,
        max(steps - fitting.warm_up, 1),
        alpha=_LOWEST_RATE,
        warmup_target=fitting.learning_rate,
        warmup_steps=fitting.warm_up,
    )
    return keras.optimizers.AdamW(
        rate,
        weight_decay=fitting.weight_decay,
        clipnorm=1.0,
        use_ema=True,
        ema_momentum=fitting.average,
    )


def _reseed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0:
            layer.seed_generator.state.assign([seed, epoch])


class _OwnWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """The weights at the end of the epoch, before ``fit`` puts their moving average in their place: the next epoch goes on with
    them, else each would begin where the average lags behind."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.values = [keras.ops.convert_to_numpy(variable) for variable in self.model.trainable_variables]


class _Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """An epoch's random views, made on a thread of their own while the network learns."""

    def __init__(self, config: GradingConfig, training: PlacedPart, targets: Shares, side_px: int, epoch: int) -> None:
        super().__init__(workers=1, max_queue_size=4)
        self._config, self._training, self._side_px, self._epoch = config, training, side_px, epoch
        self._order = np.random.default_rng([config.seed, epoch]).permutation(len(training.part.knees))
        self._targets = targets

    def __len__(self) -> int:
        return -(-len(self._order) // self._config.fitting.batch_size)

    def __getitem__(self, batch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        size = self._config.fitting.batch_size
        chosen = self._order[batch * size : (batch + 1) * size]
        views, targets = np.stack([self._view(knee) for knee in chosen.tolist()])[..., np.newaxis], self._targets[chosen]
        return self._mixed(views, targets, batch) if self._config.fitting.mixing else (views, targets)

    def _mixed(self, views: Shares, targets: Shares, batch: int) -> tuple[Shares, Shares]:
        """Each view with a share of another one of the batch, and their targets likewise."""
        rng = np.random.default_rng([self._config.seed, self._epoch, batch, 1])
        share = rng.beta(self._config.fitting.mixing, self._config.fitting.mixing, len(views)).astype(np.float32)
        share, other = np.maximum(share, 1 - share), rng.permutation(len(views))
        return (
            views * share[:, None, None, None] + views[other] * (1 - share[:, None, None, None]),
            targets * share[:, None] + targets[other] * (1 - share[:, None]),
        )

    def _view(self, knee: int) -> NDArray[np.float32]:
        rng = np.random.default_rng([self._config.seed, self._epoch, knee])
        picture, place = self._training.part.pictures[knee], self._training.places[knee]
        return random_view(picture, place, self._config.region, self._side_px, self._config.variation, rng)
