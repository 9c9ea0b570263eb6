"""Pruning of Keras models during training: tfmot zeroes the smallest weights of every layer and holds them at zero.

The weights get a mask beside them and are multiplied by it at every step (Zhu and Gupta 2017). tfmot wraps the layers that it
is given and shares their weights: what is wrapped here is a copy, so that the model that was trained before stays as it was.
The shapes stay too: pruning shrinks the compressed file, not the file, and makes no kernel faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras as keras

from edgewright.errors import StageError
from edgewright.pipeline.entry_points import first_line
from edgewright.pipeline.pruning.keras_layers import (
    count_zeros,
    holds_two_of_four,
    kernels_of,
    layer_sparsity,
    prunable_kernels,
    refuse_unprunable,
    zeros_of_rows,
    zeros_of_share,
)
from edgewright.pipeline.pruning.keras_schedule import AT_ONCE, PruningSteps, pruning_steps
from edgewright.pipeline.training.keras_weights import load_weights, weights_to_bytes
from edgewright.pipeline.training.plan import TrainingPlan, steps_per_epoch
from edgewright.pipeline.variant_settings import PruneSettings

__all__ = ["Pruning", "begin_pruning", "check_prunable", "layer_sparsity", "strip"]

_sparsity = tfmot.sparsity.keras
_TWO_OF_FOUR = (2, 4)
# tfmot counts weights in float32.
_FLOAT32 = 1e-6


@dataclass(frozen=True)
class Pruning:
    """A model that is pruned while it is trained.

    Attributes:
        model: A wrapped copy of the model, to be trained with the callbacks.
        callbacks: What the training must call.
        keep_from_epoch: First epoch (1-based) whose weights may be kept.
        settings: What was asked for.
    """

    model: keras.Model
    callbacks: tuple[keras.callbacks.Callback, ...]
    keep_from_epoch: int
    settings: PruneSettings


def begin_pruning(
    model: keras.Model, settings: PruneSettings, plan: TrainingPlan, samples: int, logs: Path | None = None
) -> Pruning:
    """Wraps a copy of a model for a training that prunes it.

    Args:
        model: The model, which stays as it is.
        settings: How to prune.
        plan: The training.
        samples: How many it learns from.
        logs: Folder for TensorBoard's curves, those of the sparsity and the training's; None writes none.

    Raises:
        StageError: The schedule does not fit the training, or the model cannot be pruned.
    """
    per_epoch = steps_per_epoch(samples, plan.batch_size)
    when = pruning_steps(settings, per_epoch * plan.epochs)
    wrapped = _wrapped(model, settings, when)
    callbacks = [_sparsity.UpdatePruningStep()]
    if logs is not None:
        callbacks.append(_sparsity.PruningSummaries(str(logs), write_graph=False, profile_batch=0))
    return Pruning(wrapped, tuple(callbacks), when.keep_from_epoch(per_epoch, plan.epochs), settings)


def strip(pruning: Pruning) -> keras.Model:
    """A copy of the trained model without what pruning wrapped around its layers, and with the zeros that were asked for.

    Raises:
        StageError: A layer has more or fewer zeros, or pattern 2:4 does not hold.
    """
    model = _copy(_sparsity.strip_pruning(pruning.model))
    settings = pruning.settings
    for name, kernels in prunable_kernels(model).items():
        for kernel in kernels:
            weights = kernel.numpy()
            asked = (
                zeros_of_share(weights.size, settings.sparsity)
                if settings.pattern == "any"
                else zeros_of_rows(weights.shape)
            )
            found = count_zeros(weights)
            if abs(found - asked) > 0.5 + _FLOAT32 * weights.size or (
                settings.pattern != "any" and not holds_two_of_four(weights)
            ):
                raise StageError(
                    f"pruning left {found} zeros among the {weights.size} weights of layer {name}, where sparsity "
                    f"{settings.sparsity:g} (pattern {settings.pattern}) asks for {asked:.0f}. Train it with the callbacks "
                    "of its pruning, or remove prune."
                )
    return model


def check_prunable(make: Callable[[], keras.Model], settings: PruneSettings) -> None:
    """Wraps a model on trial, takes the wrapping off again, and puts the rest into a fresh model.

    Args:
        make: Builds the model anew.
        settings: How to prune.

    Raises:
        StageError: The model cannot be pruned; the message says why.
    """
    model = make()
    stripped = _copy(_sparsity.strip_pruning(_wrapped(model, settings, AT_ONCE)))
    content = weights_to_bytes(stripped)
    load_weights(make(), content)
    if content != weights_to_bytes(model):
        raise StageError(
            f"the weights of {model.name} change their order when it is wrapped for pruning. Remove prune."
        )


def _wrapped(model: keras.Model, settings: PruneSettings, when: PruningSteps) -> keras.Model:
    if settings.pattern == "2:4" and settings.schedule != "one_shot":
        raise StageError("pattern 2:4 sets all of its zeros at once. Set prune.schedule to one_shot.")
    refuse_unprunable(model, rows_of_four=settings.pattern == "2:4")
    if when == AT_ONCE:
        schedule = _sparsity.ConstantSparsity(settings.sparsity, when.begin, when.end, when.frequency)
    else:
        schedule = _sparsity.PolynomialDecay(
            initial_sparsity=settings.initial_sparsity,
            final_sparsity=settings.sparsity,
            begin_step=when.begin,
            end_step=when.end,
            power=settings.power,
            frequency=when.frequency,
        )
    try:
        wrapped = _sparsity.prune_low_magnitude(
            _copy(model),
            pruning_schedule=schedule,
            pruning_policy=_KernelsAlone(),
            sparsity_m_by_n=_TWO_OF_FOUR if settings.pattern == "2:4" else None,
        )
        sample = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype(np.float32)
        same = np.array_equal(wrapped(sample, training=False), model(sample, training=False))
    except Exception as error:
        raise StageError(
            f"{model.name} cannot be copied and wrapped for pruning: {first_line(error)}. Build it from Keras' own layers, "
            "give layers of your own a get_config, or remove prune."
        ) from error
    if not same:
        raise StageError(f"{model.name} answers otherwise when it is wrapped for pruning. Remove prune.")
    return wrapped


def _copy(model: keras.Model) -> keras.Model:
    """A model of its own, with the same weights."""
    copied = keras.models.clone_model(model)
    copied(
        np.zeros((2, *model.input_shape[1:]), np.float32), training=False
    )  # without an input layer it has no weights before
    copied.set_weights(model.get_weights())
    return copied


class _KernelsAlone(tfmot.sparsity.keras.PruningPolicy):  # type: ignore[misc]  # tfmot has no types
    """Wraps layers with weights to prune and leaves all others, which tfmot would otherwise have to know."""

    def allow_pruning(self, layer: Any) -> bool:
        """Whether this layer is wrapped."""
        return bool(kernels_of(layer))

    def ensure_model_supports_pruning(self, model: Any) -> None:
        """Says nothing: the model was looked at before."""
