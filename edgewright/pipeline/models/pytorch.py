"""The architectures in PyTorch, built by the name that recipes use.

Every architecture is a class that takes the shape of one sample, the number of classes, and its own settings as keyword
arguments; its settings and their bounds stand in ``edgewright.pipeline.architecture``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn

from edgewright.errors import StageError
from edgewright.pipeline.models import entry_point
from edgewright.pipeline.models.ds_cnn import DsCnn
from edgewright.pipeline.models.geometry import InputShape
from edgewright.pipeline.models.mobilenet_v1 import MobileNetV1
from edgewright.pipeline.models.resnet8 import BasicBlock, ResNet8
from edgewright.pipeline.models.vit import Vit

__all__ = ["ARCHITECTURES", "BasicBlock", "build_model", "check_answer"]

ARCHITECTURES: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "ds_cnn": DsCnn,
        "entry_point": entry_point.build,
        "mobilenet_v1": MobileNetV1,
        "resnet8": ResNet8,
        "vit": Vit,
    }
)


def build_model(
    architecture: str, input_shape: InputShape, classes: int, *settings: object, **named: object
) -> nn.Module:
    """Builds an untrained model and checks that it answers as a classifier of this data must.

    Args:
        architecture: Name of the architecture.
        input_shape: Channels, height, width of one sample.
        classes: Number of outputs.
        settings: The architecture's own settings, by place.
        named: The architecture's own settings, by name.

    Raises:
        StageError: The architecture is not known, or a network of your own cannot be built or does not answer as it must.
    """
    make = ARCHITECTURES.get(architecture)
    if make is None:
        raise StageError(f"architecture.name {architecture!r} is not known. Known: {', '.join(ARCHITECTURES)}.")
    model = make(input_shape, classes, *settings, **named)
    check_answer(model, input_shape, classes)
    return model


def check_answer(model: nn.Module, input_shape: InputShape, classes: int) -> None:
    """Whether a batch of two empty samples gives two rows of scores; leaves the model as it was.

    Raises:
        StageError: It does not.
    """
    training = model.training
    shape = f"[2, {', '.join(str(length) for length in input_shape)}]"
    try:
        with torch.inference_mode():
            answer = model.eval()(torch.zeros(2, *input_shape))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StageError(
            f"architecture: {type(model).__name__} fails on a batch float32 {shape} of this data: {reason}. "
            "Make its forward take that shape."
        ) from error
    finally:
        model.train(training)
    if not isinstance(answer, torch.Tensor):
        found = f"a {type(answer).__name__}"
    elif tuple(answer.shape) != (2, classes) or answer.dtype != torch.float32:
        found = f"{str(answer.dtype).removeprefix('torch.')} {list(answer.shape)}"
    elif not bool(torch.isfinite(answer).all()):
        found = "scores that are not finite"
    else:
        return
    raise StageError(
        f"architecture: {type(model).__name__} answers a batch float32 {shape} with {found}; float32 [2, {classes}] is "
        f"needed, one score for each of the {classes} classes. Correct its last layer."
    )
