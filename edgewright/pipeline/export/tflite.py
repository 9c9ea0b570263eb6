"""Exports Keras models to float TFLite files, and proves what it exported before anyone uses it."""

from __future__ import annotations

import contextlib

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from edgewright.engines.engine import open_engine
from edgewright.errors import StageError
from edgewright.pipeline.export.exported import INPUT_NAME, OUTPUT_NAME, ExportedModel
from edgewright.pipeline.export.parity import prove_parity
from edgewright.pipeline.export.tflite_converter import convert, input_shape, new_converter, refuse_aware
from edgewright.pipeline.model_engine import plain_engine
from edgewright.pipeline.quantization.tflite_file import TfliteFile, read_tflite
from edgewright.pipeline.training.keras import predict


def export_tflite(model: keras.Model, samples: npt.NDArray[np.float32], parity_tolerance: float) -> ExportedModel:
    """Exports ``model`` with TFLite's own operators and a batch of 1, and proves the file in the device's engine.

    Args:
        model: Maps float32 ``[N, H, W, C]`` to float32 ``[N, K]``.
        samples: Real preprocessed samples, float32 ``[M, C, H, W]``, at least 4.
        parity_tolerance: Largest allowed difference of an output between Keras and LiteRT.

    Raises:
        StageError: The conversion failed, or the file's form or parity on the samples does not hold.
        EngineError: The device's engine cannot load or run the file.
    """
    refuse_aware(model, "a float TFLite file")
    content = convert(new_converter(model), "conversion to TFLite")
    file = read_tflite(content)
    _prove_form(file, input_shape(model))
    found = plain_engine("tflite")
    with contextlib.closing(open_engine(found.name, content, found.settings)) as engine:
        parity = prove_parity("Keras", predict(model, samples), engine, samples, parity_tolerance)
    return ExportedModel(content, None, file.count_operators(), parity)


def _prove_form(file: TfliteFile, shape: tuple[int, int, int]) -> None:
    """Names in the signature, types and shapes of input and output: the converter falls back to others in silence."""
    names = (*file.input_names, *file.output_names)
    if names != (INPUT_NAME, OUTPUT_NAME):
        raise StageError(
            f"the TFLite file names its inputs and outputs {', '.join(names) or 'not at all'}; needed are {INPUT_NAME} and "
            f"{OUTPUT_NAME}."
        )
    found = [f"{tensor.type} {list(tensor.shape)}" for tensor in (file.tensors[each] for each in file.inputs)]
    if found != [f"float32 {[1, *shape]}"]:
        raise StageError(f"the TFLite file takes {', '.join(found)}; needed is float32 {[1, *shape]}.")
    outputs = [file.tensors[each] for each in file.outputs]
    if len(outputs) != 1 or outputs[0].type != "float32" or len(outputs[0].shape) != 2 or outputs[0].shape[0] != 1:
        told = ", ".join(f"{each.type} {list(each.shape)}" for each in outputs)
        raise StageError(f"the TFLite file answers {told}; needed is float32 [1, K].")
