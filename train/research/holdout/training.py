"""Epochs against the clock: what does not fit the time budget is not begun, and a stopped training goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight

from osteo_edge.decision.scores import softmax
from train.data.split import HoldOut
from train.fitting.finetune import picture_logits
from train.fitting.material import say
from train.networks.linear import balanced_log_loss
from train.networks.network import LOGITS
from train.research.holdout.config import Fitting, HoldOutConfig
from train.research.holdout.judgement import figures_of
from train.research.holdout.pictures import Pictures, random_views
from train.runs.arrays import Doubles, Floats, Integers
from train.runs.checkpoint import resume, save_checkpoint

BATCH_NORM_MOMENTUM = 0.8
_BATCHES_TO_TIME = 2


@dataclass(frozen=True)
class Epoch:
    """One line of the history; epoch 0 is the state before the training. Losses in nats.

    Attributes:
        loss: mean over the epoch's random views; None before the training.
        validation_loss: classes balanced where the training is; None without a validation part.
        test_accuracy: told for the published way of choosing an epoch; never used by ours.
        seconds: of the epoch with its measurements.
    """

    epoch: int
    loss: float | None
    validation_loss: float | None
    test_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Attributes:
        history: from epoch 0 on.
        validation, test: (epochs, radiographs, classes) float32, logits of the parts after every epoch.
        stopped_early: whether the time budget ended it.
        seconds: spent on the epochs, those of earlier starts included.
    """

    history: tuple[Epoch, ...]
    validation: Floats
    test: Floats
    stopped_early: bool
    seconds: float


class TimedTrainer:
    """Trains a whole network.

    Every draw is seeded by the epoch's number, hence a resumed training sees what an unbroken one sees.
    """

    def __init__(
        self,
        network: keras.Model,
        pictures: Pictures,
        labels: Integers,
        parts: HoldOut,
        config: HoldOutConfig,
        *,
        checkpoint: Path,
        budget_s: float,
    ) -> None:
        self._network = network
        self._pictures = pictures
        self._labels = labels
        self._parts = parts
        self._config = config
        self._checkpoint = checkpoint
        self._budget_s = budget_s
        self._to_logits = keras.Model(network.input, network.output[LOGITS])
        _penalise(self._to_logits, config.fitting.l2)
        self._optimizer = keras.optimizers.AdamW(config.fitting.learning_rate, weight_decay=config.fitting.weight_decay)
        # Without XLA: so few steps do not pay for its compilation.
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._to_logits.compile(optimizer=self._optimizer, loss=loss, jit_compile=False)
        self._optimizer.build(self._to_logits.trainable_variables)
        self._next_s = 0.0  # what the next epoch is expected to take; before the first, its own first batches tell
        self._history: list[Epoch] = []
        self._validation: list[Floats] = []
        self._test: list[Floats] = []

    def run(self) -> Trained:
        """Train until the epochs, the patience or the seconds are used up."""
        if not self._resume():
            self._note(0, None, time.monotonic())
        stopped_early = False
        while not self._is_done() and not stopped_early:
            stopped_early = not self._fits_another() or not self._train_once()
        return Trained(tuple(self._history), np.stack(self._validation), np.stack(self._test), stopped_early, self._spent_s())

    def _spent_s(self) -> float:
        return sum(line.seconds for line in self._history)

    def _fits_another(self) -> bool:
        """Whether an epoch as long as the last one fits; before the first, the clock inside the epoch decides."""
        return self._spent_s() + self._next_s <= self._budget_s

    def _train_once(self) -> bool:
        """One epoch; False where the clock ended it, and what was begun is left aside."""
        started, epoch = time.monotonic(), self._history[-1].epoch + 1
        rng = np.random.default_rng([self._config.seed, epoch])
        images, owner = self._pictures.of(self._parts.training)
        order = rng.permutation(len(images))
        labels = self._labels[self._parts.training][owner[order]]
        self._reseed_dropout(epoch)
        clock = _Clock(self._budget_s - self._spent_s() - self._history[0].seconds)
        fitted = self._to_logits.fit(
            random_views(images[order], self._config, rng)[..., np.newaxis],
            labels,
            sample_weight=_weights(labels, owner[order], self._config.fitting),
            batch_size=self._config.fitting.batch_size,
            shuffle=False,
            verbose=0,
            callbacks=[clock],
        )
        if clock.rang:
            say(f"  epoch {epoch} would take about {clock.expected_s:.0f} s, more than is left of {self._budget_s:.0f} s")
            return False
        self._note(epoch, float(fitted.history["loss"][0]), started)
        self._next_s = self._history[-1].seconds - clock.tracing_s
        self._tell()
        return True

    def _note(self, epoch: int, loss: float | None, started: float) -> None:
        test, validation = self._score(self._parts.test), self._score(self._parts.validation)
        truth = self._labels[self._parts.test]
        accuracy = figures_of(truth, softmax(test), self._config.classes)["accuracy"]
        validation_loss = self._validation_loss(validation)
        self._test.append(test)
        self._validation.append(validation)
        self._history.append(Epoch(epoch, loss, validation_loss, accuracy, time.monotonic() - started))
        self._save()

    def _score(self, part: Integers) -> Floats:
        if part.size == 0:
            return np.empty((0, len(self._config.classes)), np.float32)
        images, owner = self._pictures.of(part)
        return picture_logits(self._to_logits, images[..., np.newaxis], owner)

    def _validation_loss(self, logits: Floats) -> float | None:
        if len(logits) == 0:
            return None
        labels, probabilities = self._labels[self._parts.validation], softmax(logits)
        if self._config.fitting.class_weights:
            return balanced_log_loss(labels, probabilities)
        return float(log_loss(labels, probabilities, labels=np.arange(probabilities.shape[1])))

    def _is_done(self) -> bool:
        done = self._history[-1].epoch
        if done >= self._config.fitting.max_epochs:
            return True
        if self._config.fitting.epoch_from != "validation":
            return False
        return done - self._history[chosen_epoch(self._history, "validation")].epoch >= self._config.fitting.patience

    def _tell(self) -> None:
        last = self._history[-1]
        left = self._config.fitting.max_epochs - last.epoch
        affordable = int((self._budget_s - self._spent_s()) // self._next_s)
        about = max(min(left, affordable), 0) * self._next_s
        say(f"  epoch {last.epoch}: loss {last.loss:.3f}, {last.seconds:.0f} s; at most about {about:.0f} s more")

    def _reseed_dropout(self, epoch: int) -> None:
        for layer in self._to_logits.layers:
            if isinstance(layer, keras.layers.Dropout) and layer.rate > 0:
                layer.seed_generator.state.assign([self._config.seed, epoch])

    def _save(self) -> None:
        logits = {"validation": np.stack(self._validation), "test": np.stack(self._test)}
        save_checkpoint(self._checkpoint, self._variables(), [asdict(epoch) for epoch in self._history], **logits)

    def _resume(self) -> bool:
        stopped = resume(self._checkpoint, self._variables())
        if stopped is None:
            return False
        self._history = [Epoch(**line) for line in stopped.state]
        self._validation, self._test = list(stopped.arrays["validation"]), list(stopped.arrays["test"])
        return True

    def _variables(self) -> list[keras.Variable]:
        return [*self._to_logits.weights, *self._optimizer.variables]


class _Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends an epoch as soon as its first batches show that it will not be over in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._started = self._first_done = time.monotonic()
        self.expected_s = 0.0
        self.tracing_s = 0.0
        self.rang = False

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        now = time.monotonic()
        if batch == 0:
            self._first_done = now  # The first one pays for the tracing as well.
        if batch + 1 < _BATCHES_TO_TIME:
            return
        each = (now - self._first_done) / batch
        self.tracing_s = max(self._first_done - self._started - each, 0.0)
        self.expected_s = now - self._started + each * (self.params["steps"] - batch - 1)
        if self.expected_s > self._seconds and batch + 1 < self.params["steps"]:
            self.rang = True
            self.model.stop_training = True


def chosen_epoch(history: Sequence[Epoch], epoch_from: str) -> int:
    """Place in the history of the epoch that is judged; the earliest among equals.

    The untrained network, whose head is random, is judged only where nothing else is there.
    """
    places = range(1, len(history)) or range(1)
    if epoch_from == "validation":
        return min(places, key=lambda place: history[place].validation_loss)  # type: ignore[arg-type, return-value]
    if epoch_from == "test":
        return max(places, key=lambda place: history[place].test_accuracy)
    return len(history) - 1


def prepare_for_training(network: keras.Model, *, from_random: bool) -> None:
    """Statistics of BatchNorm that belong to ImageNet stay as they are; those of random weights have to be learnt."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = from_random
            layer.momentum = BATCH_NORM_MOMENTUM


def _penalise(model: keras.Model, l2: float) -> None:
    if l2 == 0:
        return
    for layer in model.layers:
        if layer.trainable and getattr(layer, "kernel", None) is not None:
            layer.kernel.regularizer = keras.regularizers.L2(l2)


def _weights(labels: Integers, owner: Integers, fitting: Fitting) -> Doubles:
    """Every radiograph weighs the same, however many knees it shows; every class as well, where wanted."""
    knees = np.bincount(owner)[owner]
    by_class = compute_sample_weight("balanced", labels) if fitting.class_weights else np.ones(len(labels))
    weights = by_class / knees
    return weights / weights.mean()  # type: ignore[no-any-return]
