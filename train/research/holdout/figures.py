"""The learning curve of a hold-out run as a PNG file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from train.research.holdout.config import HoldOutConfig
from train.research.holdout.training import Epoch, chosen_epoch

matplotlib.use("Agg")

from matplotlib import pyplot

DOTS_PER_INCH = 100
BLUE, ORANGE = "#0072b2", "#d55e00"


def draw_curves(path: Path, history: Sequence[Epoch], config: HoldOutConfig) -> None:
    """Losses and test accuracy by epoch, the judged epoch marked."""
    epochs = [line.epoch for line in history]
    figure, (losses, accuracy) = pyplot.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    losses.plot(epochs, [line.loss for line in history], "o-", color=BLUE, markersize=3, label="training")
    losses.plot(epochs, [line.validation_loss for line in history], "o-", color=ORANGE, markersize=3, label="validation")
    losses.set(title="Loss (nats)", xlabel="epoch (0: before training)")
    losses.legend(frameon=False)
    accuracy.plot(epochs, [line.test_accuracy for line in history], "o-", color=BLUE, markersize=3)
    chosen = history[chosen_epoch(history, config.fitting.epoch_from)].epoch
    accuracy.axvline(chosen, color="0.6", linestyle="--", linewidth=1)
    accuracy.set(title=f"Test accuracy; epoch {chosen} is judged", xlabel="epoch", ylim=(0, 1))
    for panel in (losses, accuracy):
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="0.92", linewidth=0.8)
        panel.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(f"{config.name}: {config.backbone}", fontsize="medium")
    figure.savefig(path, dpi=DOTS_PER_INCH)
    pyplot.close(figure)
