"""What a TFLite file is, read from the loaded file before any of its memory is asked for.

LiteRT verifies that a file is a sound FlatBuffer and no more. Behind that its kernels trust the numbers: of the 42,240
single bit flips of a small INT8 file 107 ended the process and 5 kept it busy for long, nearly all of them in a scale, a
zero point or a size, which is what is looked at here. ``docs/decisions/0018-litert-engine.md`` says what is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgewright.errors import EngineError

Details = Mapping[str, Any]  # of one tensor or one operator, as LiteRT's interpreter gives them

_IDENTIFIER = b"TFL3"  # bytes 4 to 7, as in every FlatBuffer that has one
_MEMORY_MAX_BYTES = 2 << 30  # far above any model for a device; damaged sizes are larger
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
_TYPES = (np.dtype(np.float32), np.dtype(np.uint8), np.dtype(np.int8))
# What such an operator keeps outlives the answer: the next sample's answer would depend on this one.
_KEEPS_STATE = ("VAR_HANDLE", "HASHTABLE")
_DELEGATE = "DELEGATE"
_NAME_PREFIX, _NAME_SUFFIX = "serving_default_", ":0"


@dataclass(frozen=True)
class Port:
    """The model's input or output.

    Attributes:
        name: Its name, for people.
        index: Number of its tensor.
        shape: Its shape with the batch, which is 1.
        dtype: float32, uint8 or int8.
        scale: Real value of one step of an integer; None for float32.
        zero_point: The integer that stands for 0.
    """

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: np.float32 | None
    zero_point: int


def check_file(model: bytes) -> None:
    """Refuse what is no TFLite file at all.

    Raises:
        EngineError: It is empty, or of another kind.
    """
    if not model:
        raise EngineError("the model is empty (0 bytes): it was not written or not received.")
    if model[4:8] != _IDENTIFIER:
        raise EngineError(
            f"the model is not a TFLite file (bytes 4 to 7 are {model[4:8]!r}, needed {_IDENTIFIER!r}): "
            f"it is of another kind, or corrupt."
        )


def check_operators(operators: Sequence[Details], subgraphs: int) -> None:
    """Refuse operators that LiteRT does not bring, that may run forever, or that remember earlier samples.

    Raises:
        EngineError: There is one.
    """
    names = [str(operator["op_name"]) for operator in operators]
    if subgraphs != 1:
        raise EngineError(
            f"the model has {subgraphs} graphs: loops, branches and initialisers could run for any time. "
            f"Convert a network without them."
        )
    for name in names:
        if name.startswith("Flex"):
            raise EngineError(
                f"the model uses TensorFlow's own operator {name.removeprefix('Flex')}, which litert does not have: "
                f"convert it with TFLITE_BUILTINS alone."
            )
        if name in _KEEPS_STATE:
            raise EngineError(
                f"the model uses {name}, which keeps values from sample to sample: convert a network without variables."
            )


def check_tensors(tensors: Sequence[Details]) -> None:
    """Refuse quantization that kernels do not survive, and sizes beyond any device.

    Raises:
        EngineError: A scale is no positive normal number, a zero point lies outside of its type, or all tensors together
        take more than 2 GiB.
    """
    total_bytes = 0
    for tensor in tensors:
        quantization, kind = tensor["quantization_parameters"], np.dtype(tensor["dtype"])
        scales, zero_points = quantization["scales"], quantization["zero_points"]
        sound = np.isfinite(scales) & (scales >= _SMALLEST_SCALE)
        if len(scales) > 1:
            sound |= scales == 0  # one scale per channel: the converter's word for a channel of zeros
        if not sound.all():
            wrong = float(scales[~sound][0])
            raise EngineError(f"the model's tensor {tensor['name']!r} has the scale {wrong:g}: the file is corrupt.")
        if kind.kind in "iu" and len(zero_points):
            low, high = np.iinfo(kind.name).min, np.iinfo(kind.name).max
            if zero_points.min() < low or zero_points.max() > high:
                raise EngineError(
                    f"the model's tensor {tensor['name']!r} is {kind} with a zero point outside of {low} to {high}: "
                    f"the file is corrupt."
                )
        total_bytes += math.prod(int(size) for size in tensor["shape"]) * kind.itemsize
    if total_bytes > _MEMORY_MAX_BYTES:
        raise EngineError(
            f"the model's tensors take {total_bytes >> 20} MiB, at most {_MEMORY_MAX_BYTES >> 20} are possible: "
            f"the file is corrupt, or not meant for a device."
        )


def find_input(inputs: Sequence[Details], signatures: Mapping[str, Mapping[str, Sequence[str]]]) -> Port:
    """Give the model's one input.

    Args:
        inputs: Details of the input tensors.
        signatures: The file's signatures; a tensor's own name is used where they do not name it.

    Raises:
        EngineError: It is not one input ``[1, H, W, C]`` of float32, or of uint8 or int8 with one scale.
    """
    names = [name for signature in signatures.values() for name in signature["inputs"]]
    port = _find_port("input", inputs, names)
    if len(port.shape) != 4:
        raise EngineError(
            f"the model's input {port.name!r} has the shape {list(port.shape)}, needs [1, height, width, channels]."
        )
    return port


def find_output(outputs: Sequence[Details], signatures: Mapping[str, Mapping[str, Sequence[str]]]) -> Port:
    """Give the model's one output.

    Args:
        outputs: Details of the output tensors.
        signatures: As for `find_input`.

    Raises:
        EngineError: It is not one output ``[1, K]`` of float32, or of uint8 or int8 with one scale.
    """
    names = [name for signature in signatures.values() for name in signature["outputs"]]
    port = _find_port("output", outputs, names)
    if len(port.shape) != 2:
        raise EngineError(f"the model's output {port.name!r} has the shape {list(port.shape)}, needs [1, K].")
    return port


def _find_port(kind: str, found: Sequence[Details], names: Sequence[str]) -> Port:
    if len(names) != len(found):
        names = [_clean_name(str(tensor["name"])) for tensor in found]
    if len(found) != 1:
        raise EngineError(f"the model has {len(found)} {kind}s ({', '.join(names)}), needs exactly 1.")
    tensor, name, dtype = found[0], names[0], np.dtype(found[0]["dtype"])
    if dtype not in _TYPES:
        raise EngineError(f"the model's {kind} {name!r} is {dtype.name}, needs float32, uint8 or int8.")
    # The signature has -1 where a size is free, the shape a 1; older files have no signature.
    shape = tuple(int(size) for size in tensor["shape"])
    signature = [int(size) for size in tensor["shape_signature"]] or list(shape)
    if any(size < 1 for size in (*shape, *signature[1:])):
        raise EngineError(f"the model's {kind} {name!r} has the shape {signature}: only the batch may be free.")
    if not shape or shape[0] != 1:
        frozen = f"the batch frozen at {shape[0]}" if shape else "no batch"
        raise EngineError(f"the model's {kind} {name!r} has {frozen}: convert it with a batch of 1.")
    if dtype == np.float32:
        return Port(name, int(tensor["index"]), shape, dtype, None, 0)
    quantization = tensor["quantization_parameters"]
    scales, zero_points = quantization["scales"], quantization["zero_points"]
    if len(scales) != 1 or len(zero_points) != 1:
        raise EngineError(
            f"the model's {kind} {name!r} is {dtype.name} with {len(scales)} scales, needs 1 to tell which values its "
            f"integers stand for: convert it with a representative data set."
        )
    return Port(name, int(tensor["index"]), shape, dtype, np.float32(scales[0]), int(zero_points[0]))


def _clean_name(name: str) -> str:
    """Give ``image`` for the converter's ``serving_default_image:0``."""
    return name.removeprefix(_NAME_PREFIX).removesuffix(_NAME_SUFFIX)


def find_kernels(operators: Sequence[Details]) -> tuple[str, ...]:
    """Say whose kernels run the operators: ``XNNPACK``, ``builtin``, both, or nobody's in a model without operators.

    LiteRT keeps the operators that a delegate took in its list and adds one ``DELEGATE`` with the inputs and outputs of
    what it took. So whatever lies between those was taken; the rest is run by the built-in kernels.
    """
    maker = {
        int(tensor): number
        for number, operator in enumerate(operators)
        if operator["op_name"] != _DELEGATE
        for tensor in operator["outputs"]
    }
    taken: set[int] = set()
    for delegate in (operator for operator in operators if operator["op_name"] == _DELEGATE):
        borders = {int(tensor) for tensor in delegate["inputs"]}
        pending = [int(tensor) for tensor in delegate["outputs"]]
        while pending:
            number = maker.get(pending.pop())
            if number is None or number in taken:
                continue
            taken.add(number)
            pending += [int(tensor) for tensor in operators[number]["inputs"] if int(tensor) not in borders]
    ran = len(set(maker.values()))
    return (("XNNPACK",) if taken else ()) + (("builtin",) if len(taken) < ran else ())
