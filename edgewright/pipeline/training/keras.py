"""Trains a Keras model: AdamW under a one-cycle schedule, random shifts, early stop on the validation loss.

The same function trains the reference, fine-tunes pruned models and trains on with the rounding of INT8 in place, so that all
get the same treatment. Seeded training on a CPU gives the same weights bit by bit for the same machine type and thread
count, not across thread counts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from edgewright.errors import StageError
from edgewright.pipeline.progress import Progress, ProgressListener, ignore_progress
from edgewright.pipeline.training.keras_batches import Batches, channels_last, flat_channels_first
from edgewright.pipeline.training.keras_loss import LossFunction, loss_function
from edgewright.pipeline.training.keras_schedule import OneCycle
from edgewright.pipeline.training.keras_weights import load_weights, weights_to_bytes
from edgewright.pipeline.training.plan import Epoch, Samples, TrainingPlan

__all__ = ["KerasTraining", "load_weights", "predict", "train", "weights_to_bytes"]

_STEPS_PER_REPORT = 10
_PREDICTED_AT_ONCE = 512
# PyTorch's; Keras' own 1e-7 shortens the first steps of weights with small gradients.
_ADAM_EPSILON = 1e-8


@dataclass(frozen=True)
class KerasTraining:
    """What a training did; the weights of the best epoch are in the model.

    Attributes:
        history: One entry per epoch.
        best_epoch: The epoch whose weights were kept (1-based).
        stopped_early: Whether patience ran out.
    """

    history: tuple[Epoch, ...]
    best_epoch: int
    stopped_early: bool


def train(
    model: keras.Model,
    training: Samples,
    validation: Samples,
    plan: TrainingPlan,
    *,
    work: str = "train",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    keep_from_epoch: int = 1,
    logs: Path | None = None,
    on_progress: ProgressListener = ignore_progress,
) -> KerasTraining:
    """Trains ``model`` in place and leaves it with the weights of its best epoch.

    Args:
        model: Maps float32 ``[N, H, W, C]`` to ``[N, K]``; compiled anew.
        training: Samples to learn from, channels first as everywhere.
        validation: Samples to stop by.
        plan: How to train; its threads hold for the whole process (``start_tensorflow``).
        work: Name of this training in progress reports.
        callbacks: Keras callbacks; at an epoch's end they come before its weights are judged and kept, so that what pruning
            sets to zero then is in them. Those that write for TensorBoard come after it, and log the validation figures too.
        keep_from_epoch: First epoch (1-based) whose weights may be kept; pruning schedules must have ended by then.
        logs: Folder for TensorBoard's training curves; None writes none.
        on_progress: Hears of every epoch and, inside one, of every few steps.

    Raises:
        StageError: The loss is not finite, or there are not two samples to learn from.
    """
    if len(training.labels) < 2:
        raise StageError(f"training has {len(training.labels)} samples, of which batch norm needs two. Add data.")
    keras.utils.set_random_seed(plan.seed)
    batches, loss = Batches(training, plan), loss_function(plan)
    judge = _Judge(validation, plan, loss, len(batches), work, keep_from_epoch, on_progress)
    model.compile(optimizer=_optimizer(plan, len(batches) * plan.epochs), loss=loss)
    model.fit(batches, epochs=plan.epochs, verbose=0, shuffle=False, callbacks=_in_order(callbacks, judge, logs))
    epoch, weights = judge.best()
    model.set_weights(weights)
    return KerasTraining(tuple(judge.history), epoch, len(judge.history) < plan.epochs)


def predict(model: keras.Model, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Outputs float32 ``[N, K]`` of inputs float32 ``[N, C, H, W]``, in evaluation mode."""
    outputs: npt.NDArray[np.float32] = model.predict(channels_last(inputs), batch_size=_PREDICTED_AT_ONCE, verbose=0)
    return outputs


def _optimizer(plan: TrainingPlan, steps: int) -> keras.optimizers.Optimizer:
    """AdamW for so many steps; like PyTorch's it takes decay times rate off every weight, whatever its gradient."""
    schedule = OneCycle(plan.learning_rate, steps)
    return keras.optimizers.AdamW(schedule, weight_decay=plan.weight_decay, epsilon=_ADAM_EPSILON)


def _in_order(
    callbacks: Sequence[keras.callbacks.Callback], judge: _Judge, logs: Path | None
) -> list[keras.callbacks.Callback]:
    """First what changes weights at an epoch's end, then who judges them, then who writes the figures down."""
    writers = [each for each in callbacks if isinstance(each, keras.callbacks.TensorBoard)]
    others = [each for each in callbacks if each not in writers]
    if logs is not None and not writers:
        writers = [keras.callbacks.TensorBoard(str(logs), write_graph=False, profile_batch=0)]
    return [*others, judge, *writers]


class _Judge(keras.callbacks.Callback):  # type: ignore[misc]  # tf_keras has no types
    """Judges every epoch, keeps the best one's weights, stops in time, and tells how far the training is."""

    def __init__(
        self,
        validation: Samples,
        plan: TrainingPlan,
        loss: LossFunction,
        steps: int,
        work: str,
        keep_from_epoch: int,
        on_progress: ProgressListener,
    ) -> None:
        super().__init__()
        self.history: list[Epoch] = []
        self._best: tuple[float, int, list[npt.NDArray[Any]]] | None = None
        self._validation, self._plan, self._loss, self._steps = validation, plan, loss, steps
        self._work, self._keep_from_epoch, self._on_progress = work, keep_from_epoch, on_progress
        self._started = 0.0

    def best(self) -> tuple[int, list[npt.NDArray[Any]]]:
        """The best epoch's number and weights."""
        assert self._best is not None, "keep_from_epoch lies within the epochs"
        return self._best[1], self._best[2]

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Keras counts epochs from 0."""
        self._started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Reports, every few steps."""
        if batch % _STEPS_PER_REPORT == 0:
            note = f"  {self.history[-1].note()}" if self.history else ""
            self._report(len(self.history) * self._steps + batch + 1, note)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Judges; Keras gives the training loss in ``logs`` and hands on what is added there."""
        assert logs is not None, "Keras tells the loss of an epoch"
        figures = self._figures(epoch + 1, float(logs["loss"]))
        logs["val_loss"] = figures.validation_loss
        if figures.validation_accuracy_pct is not None:
            logs["val_accuracy_pct"] = figures.validation_accuracy_pct
        self.history.append(figures)
        self._report((epoch + 1) * self._steps, f"  {figures.note()}")
        if figures.epoch >= self._keep_from_epoch and (self._best is None or figures.validation_loss < self._best[0]):
            self._best = (figures.validation_loss, figures.epoch, self.model.get_weights())
        if self._best is not None and figures.epoch - self._best[1] >= self._plan.patience_epochs:
            self.model.stop_training = True

    def _figures(self, epoch: int, train_loss: float) -> Epoch:
        outputs = predict(self.model, self._validation.inputs)
        labels = self._validation.labels
        expected = labels
        if self._plan.objective == "reconstruction":
            expected = flat_channels_first(channels_last(self._validation.inputs))
        validation_loss = float(self._loss(tf.constant(expected), tf.constant(outputs)))
        if not np.isfinite(train_loss) or not np.isfinite(validation_loss):
            raise StageError(
                f"training diverged: the loss of epoch {epoch} is not finite. Lower training.learning_rate, or look at the "
                "data."
            )
        accuracy_pct = None
        if self._plan.objective == "classification":
            accuracy_pct = 100 * float((outputs.argmax(1) == labels).mean())
        return Epoch(epoch, train_loss, validation_loss, accuracy_pct, time.monotonic() - self._started)

    def _report(self, done: int, note: str) -> None:
        epoch = -(-done // self._steps)
        words = f"epoch {epoch}/{self._plan.epochs}{note}"
        self._on_progress(Progress(self._work, done, self._steps * self._plan.epochs, words))
