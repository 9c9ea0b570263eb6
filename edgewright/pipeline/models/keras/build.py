"""The architectures in Keras, built by the name that recipes use.

Every architecture is a function that takes the shape of one sample (channels first, as everywhere), the number of outputs,
and its own settings as keyword arguments; its settings and their bounds stand in ``edgewright.pipeline.architecture``.
Layers, widths and numbers of parameters are those of the network of the same name in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from edgewright.errors import StageError
from edgewright.pipeline.architecture import TaskKind
from edgewright.pipeline.entry_points import first_line
from edgewright.pipeline.models.geometry import InputShape
from edgewright.pipeline.models.keras import entry_point
from edgewright.pipeline.models.keras.convolution import image_input
from edgewright.pipeline.models.keras.dense import autoencoder, mlp
from edgewright.pipeline.models.keras.ds_cnn import ds_cnn
from edgewright.pipeline.models.keras.mobilenet_v1 import mobilenet_v1
from edgewright.pipeline.models.keras.resnet8 import resnet8
from edgewright.pipeline.models.keras.vit import vit
from edgewright.pipeline.models.own_network import NEEDED_OUTPUTS

ARCHITECTURES: Mapping[str, Callable[..., keras.Model]] = MappingProxyType(
    {
        "autoencoder": autoencoder,
        "ds_cnn": ds_cnn,
        "entry_point": entry_point.build,
        "mlp": mlp,
        "mobilenet_v1": mobilenet_v1,
        "resnet8": resnet8,
        "vit": vit,
    }
)


def build_model(
    architecture: str,
    input_shape: InputShape,
    outputs: int,
    *,
    task: TaskKind = "classification",
    **settings: Any,
) -> keras.Model:
    """Builds an untrained model and checks that it answers as the question needs.

    Its weights come from the process's random numbers: ``tf_keras.utils.set_random_seed`` right before gives the same ones.

    Args:
        architecture: Name of the architecture.
        input_shape: Channels, height, width of one sample.
        outputs: Number of outputs.
        task: Kind of question.
        settings: The architecture's own settings.

    Returns:
        A model of float32 ``[N, H, W, C]`` to ``[N, outputs]``.

    Raises:
        StageError: The architecture is not known, or a network of your own cannot be built or does not answer as it must.
    """
    make = ARCHITECTURES.get(architecture)
    if make is None:
        raise StageError(f"architecture.name {architecture!r} is not known. Known: {', '.join(ARCHITECTURES)}.")
    model = _with_input(make(input_shape, outputs, **settings), input_shape)
    check_answer(model, input_shape, outputs, task)
    return model


def check_answer(model: keras.Model, input_shape: InputShape, outputs: int, task: TaskKind = "classification") -> None:
    """Whether a batch of two empty samples gives two rows of outputs.

    Args:
        model: The model.
        input_shape: Channels, height, width of one sample.
        outputs: Number of outputs that the question needs.
        task: Kind of question.

    Raises:
        StageError: It does not, or gives probabilities where scores are wanted.
    """
    channels, height, width = input_shape
    try:
        answer = model(np.zeros((2, height, width, channels), np.float32), training=False)
    except Exception as error:
        raise _failure(model, input_shape, error) from error
    if not isinstance(answer, tf.Tensor):
        found = f"a {type(answer).__name__}"
    elif tuple(answer.shape) != (2, outputs) or answer.dtype != tf.float32:
        found = f"{answer.dtype.name} {list(answer.shape)}"
    elif not np.isfinite(answer.numpy()).all():
        found = "outputs that are not finite"
    elif task == "classification" and _are_probabilities(answer.numpy()):
        raise StageError(
            f"architecture: {model.name} answers with probabilities; scores are needed, which training and devices turn into "
            "probabilities themselves. Leave the softmax out of its last layer."
        )
    else:
        return
    raise StageError(
        f"architecture: {model.name} answers a batch {_batch(input_shape)} with {found}; float32 [2, {outputs}] is "
        f"needed, {NEEDED_OUTPUTS[task].format(outputs=outputs)}."
    )


def _with_input(model: keras.Model, input_shape: InputShape) -> keras.Model:
    """The model itself, or one around it where it has no input yet: a class with a call of its own, or layers in a row."""
    if model._is_graph_network:
        return model
    image = image_input(input_shape)
    try:
        return keras.Model(image, model(image), name=model.name)
    except Exception as error:
        raise _failure(model, input_shape, error) from error


def _failure(model: keras.Model, input_shape: InputShape, error: Exception) -> StageError:
    return StageError(
        f"architecture: {model.name} fails on a batch {_batch(input_shape)} of this data: {first_line(error)}. "
        "Make it take that shape, channels last."
    )


def _batch(input_shape: InputShape) -> str:
    channels, height, width = input_shape
    return f"float32 [2, {height}, {width}, {channels}]"


def _are_probabilities(answer: np.ndarray[Any, np.dtype[np.float32]]) -> bool:
    """Whether non-negative rows sum up to one, which scores do by chance at most."""
    return bool((answer >= 0).all() and np.allclose(answer.sum(axis=1), 1, atol=1e-5))
