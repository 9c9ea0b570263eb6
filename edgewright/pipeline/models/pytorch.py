"""The architectures in PyTorch, built by the name that recipes use.

Every architecture is a class that takes the shape of one sample, the number of outputs, and its own settings as keyword
arguments; its settings and their bounds stand in ``edgewright.pipeline.architecture``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn

from edgewright.errors import StageError
from edgewright.pipeline.architecture import TaskKind
from edgewright.pipeline.models import entry_point
from edgewright.pipeline.models.dense import Autoencoder, Mlp
from edgewright.pipeline.models.ds_cnn import DsCnn
from edgewright.pipeline.models.geometry import InputShape
from edgewright.pipeline.models.mobilenet_v1 import MobileNetV1
from edgewright.pipeline.models.own_network import NEEDED_OUTPUTS
from edgewright.pipeline.models.resnet8 import BasicBlock, ResNet8
from edgewright.pipeline.models.vit import Vit

__all__ = ["ARCHITECTURES", "BasicBlock", "build_model", "check_answer"]

ARCHITECTURES: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "autoencoder": Autoencoder,
        "ds_cnn": DsCnn,
        "entry_point": entry_point.build,
        "mlp": Mlp,
        "mobilenet_v1": MobileNetV1,
        "resnet8": ResNet8,
        "vit": Vit,
    }
)


def build_model(
    architecture: str,
    input_shape: InputShape,
    outputs: int,
    *settings: object,
    task: TaskKind = "classification",
    **named: object,
) -> nn.Module:
    """Builds an untrained model and checks that it answers as the question needs.

    Args:
        architecture: Name of the architecture.
        input_shape: Channels, height, width of one sample.
        outputs: Number of outputs.
        settings: The architecture's own settings, by place.
        task: Kind of question, for messages.
        named: The architecture's own settings, by name.

    Raises:
        StageError: The architecture is not known, or a network of your own cannot be built or does not answer as it must.
    """
    make = ARCHITECTURES.get(architecture)
    if make is None:
        raise StageError(f"architecture.name {architecture!r} is not known. Known: {', '.join(ARCHITECTURES)}.")
    model = make(input_shape, outputs, *settings, **named)
    check_answer(model, input_shape, outputs, task)
    return model


def check_answer(model: nn.Module, input_shape: InputShape, outputs: int, task: TaskKind = "classification") -> None:
    """Whether a batch of two empty samples gives two rows of outputs; leaves the model as it was.

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
    elif tuple(answer.shape) != (2, outputs) or answer.dtype != torch.float32:
        found = f"{str(answer.dtype).removeprefix('torch.')} {list(answer.shape)}"
    elif not bool(torch.isfinite(answer).all()):
        found = "outputs that are not finite"
    else:
        return
    raise StageError(
        f"architecture: {type(model).__name__} answers a batch float32 {shape} with {found}; float32 [2, {outputs}] is "
        f"needed, {NEEDED_OUTPUTS[task].format(outputs=outputs)}."
    )
