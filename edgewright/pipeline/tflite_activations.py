"""What the activations of a float TFLite file are on the calibration samples; see ``activations``.

The file is run as it is, sample by sample, by LiteRT with every tensor kept, and without a delegate, which would merge
operators and keep nothing of what lies between them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgewright.errors import StageError
from edgewright.pipeline.activations import Activation, Maker, TensorValues, collect
from edgewright.pipeline.calibration_set import Batches
from edgewright.pipeline.quantization.tflite_file import TfliteFile, layers_of, read_tflite


def observe_tflite(content: bytes, batches: Batches) -> tuple[Activation, ...]:
    """Runs a float TFLite file on the calibration samples and looks at its input and at every float tensor that follows.

    Args:
        content: The file. One of a network from quantization-aware training rounds between its operators; seen are the
            values before that.
        batches: The samples; asked twice.

    Returns:
        The activations, in the order of the graph; their nodes are named by their layers.

    Raises:
        CalibrationError: A tensor is not finite, has no width, or is absurdly large; the message names the node.
        StageError: The bytes are no float TFLite file, or the engine cannot load it.
    """
    file = read_tflite(content)
    if set(file.types((*file.inputs, *file.outputs))) != {"float32"}:
        types = ", ".join(file.types((*file.inputs, *file.outputs)))
        raise StageError(
            f"the TFLite file is already quantized (input and output are {types}): calibration looks at a float file. Give "
            "the one that it was made from."
        )
    watched, interpreter = _watched(file), _interpreter(content)
    return collect(
        {file.tensors[position].name: maker for position, maker in watched.items()},
        lambda: _over(interpreter, file, tuple(watched), batches),
    )


def _watched(file: TfliteFile) -> dict[int, Maker]:
    """Who makes the tensors that are looked at, by position.

    Of a network from quantization-aware training these are the tensors that it rounds: what lies between them is no tensor of
    the INT8 file.
    """
    rounded = file.rounded()
    watched: dict[int, Maker] = {}
    for position in file.activations():
        tensor, maker = file.tensors[position], file.makers.get(position)
        if maker is None:
            watched[position] = (file.input_names[0] if file.input_names else tensor.name, "input")
        elif position in rounded if rounded else tensor.type == "float32":
            is_output = position in file.outputs and file.output_names
            watched[position] = (file.output_names[0] if is_output else layers_of(tensor.name), maker.name)
    return watched


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        interpreter = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise StageError(f"the float TFLite file cannot be run for calibration: {error}") from error
    return interpreter


def _over(interpreter: Any, file: TfliteFile, positions: tuple[int, ...], batches: Batches) -> TensorValues:
    """Name and values of every watched tensor, batch after batch."""
    for batch in batches():
        kept: list[list[Any]] = [[] for _ in positions]
        for sample in np.moveaxis(batch, 1, -1):
            interpreter.set_tensor(file.inputs[0], sample[np.newaxis])
            interpreter.invoke()
            for values, position in zip(kept, positions, strict=True):
                values.append(interpreter.get_tensor(position))
        for values, position in zip(kept, positions, strict=True):
            yield file.tensors[position].name, np.stack(values)
