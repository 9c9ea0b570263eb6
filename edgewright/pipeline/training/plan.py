"""What a training is given and what it tells, whatever framework trains: a plan, samples, and figures of each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

# classification: cross entropy in nats; reconstruction: mean squared difference to the sample itself; regression: Huber
# loss of the standardised value.
Objective = Literal["classification", "reconstruction", "regression"]


@dataclass(frozen=True)
class Noise:
    """White noise on training samples, in the units of a model's input; each sample gets up to so much of it.

    Attributes:
        deviation: Largest standard deviation, per channel.
        lowest: What no value falls below, per channel; None where values have no bounds.
        highest: What no value exceeds, per channel; None likewise.
    """

    deviation: tuple[float, ...]
    lowest: tuple[float, ...] | None = None
    highest: tuple[float, ...] | None = None


@dataclass(frozen=True)
class TrainingPlan:
    """How to train.

    Attributes:
        epochs: Passes over the samples.
        batch_size: Samples per step.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Decoupled weight decay of AdamW.
        shift_steps: Largest random shift of a training sample, in pixels of an image or samples of a window; rows stay.
        patience_epochs: Epochs without a better validation loss before stopping.
        seed: Seed of order and augmentation.
        threads: CPU threads.
        objective: What is made small (see ``Loss``).
        class_weights: How much a sample of each class counts; None where all count alike.
        noise: White noise on training samples; None for none.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    shift_steps: int
    patience_epochs: int
    seed: int
    threads: int
    objective: Objective = "classification"
    class_weights: tuple[float, ...] | None = None
    noise: Noise | None = None


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Batches of one pass over so many samples. A last batch of one sample is left out: batch norm needs two."""
    return samples // batch_size + (samples % batch_size > 1)


@dataclass(frozen=True)
class Samples:
    """Preprocessed samples.

    Attributes:
        inputs: float32 ``[N, C, H, W]``.
        labels: int64 ``[N]`` classes; for regression float32 ``[N]`` standardised values; for reconstruction anything.
        full_noise: What a noise share of 1 is for such samples; None where noise cannot be asked for.
    """

    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64] | npt.NDArray[np.float32]
    full_noise: Noise | None = None


@dataclass(frozen=True)
class Epoch:
    """What one epoch did.

    Attributes:
        epoch: Its number, from 1.
        train_loss: In the objective's unit (nats for classes).
        validation_loss: Likewise.
        validation_accuracy_pct: In percent; None without classes.
        seconds: How long it took.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    validation_accuracy_pct: float | None
    seconds: float

    def note(self) -> str:
        """The figure to watch, in a few words."""
        if self.validation_accuracy_pct is None:
            return f"val loss {self.validation_loss:.4g}"
        return f"val {self.validation_accuracy_pct:.2f} %"
