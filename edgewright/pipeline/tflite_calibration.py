"""Calibration of Keras models for TFLite: the quantizer that ``calibration_trials`` tries.

TensorFlow's converter takes the lowest and highest value on the calibration samples and knows no other estimator. So the
ranges of the audit are read from the INT8 file that it made. What the float activations are is seen by running the float
file: a tensor that would make INT8 meaningless is refused by name before anything is converted.
"""

from __future__ import annotations

from functools import cached_property

import tf_keras as keras

from edgewright.errors import StageError
from edgewright.pipeline.activations import Activation
from edgewright.pipeline.calibration import Origin, Ranges
from edgewright.pipeline.calibration_set import Batches
from edgewright.pipeline.export.tflite_converter import convert, is_aware, new_converter
from edgewright.pipeline.quantization.model import QuantizedModel
from edgewright.pipeline.quantization.tflite import convert_static
from edgewright.pipeline.quantization.tflite_file import read_tflite
from edgewright.pipeline.targets import IntegerType
from edgewright.pipeline.tflite_activations import observe_tflite
from edgewright.pipeline.variant_settings import QuantizeSettings


class KerasQuantizer:
    """A Keras model and how it shall become an INT8 TFLite file.

    Attributes:
        methods: ``minmax``; ``aware`` for a network from quantization-aware training.
        no_spread_because: Says so where the ranges were learned.
        narrower: What gives narrower ranges.
    """

    def __init__(self, model: keras.Model, settings: QuantizeSettings, io_type: IntegerType) -> None:
        """Takes a float network, or one from ``make_aware`` that was trained.

        Args:
            model: The network.
            settings: How; ``calibration`` is not asked for a network from quantization-aware training.
            io_type: Integer type of the file's input and output.

        Raises:
            StageError: An estimator is asked for that TFLite's converter does not have.
        """
        aware = is_aware(model)
        others = [method for method in settings.calibration if method != "minmax"]
        if others and not aware:
            raise StageError(
                f"quantize.calibration names {', '.join(others)}: TFLite's converter knows minmax alone. Set calibration: "
                "[minmax]."
            )
        self._model, self._settings, self._io_type = model, settings, io_type
        self.methods: tuple[Origin, ...] = ("aware",) if aware else ("minmax",)
        self.narrower = "quantize with method: dynamic, which needs no ranges"
        self.no_spread_because = (
            "the ranges were learned in quantization-aware training; other calibration samples would give the same."
            if aware
            else ""
        )

    @cached_property
    def _float_content(self) -> bytes:
        return convert(new_converter(self._model), "conversion to TFLite")

    def observe(self, batches: Batches) -> tuple[Activation, ...]:
        """See ``observe_tflite``."""
        return observe_tflite(self._float_content, batches)

    def quantize(
        self, activations: tuple[Activation, ...], method: Origin, batches: Batches
    ) -> tuple[Ranges, QuantizedModel]:
        """The INT8 file, and the ranges that stand in it of those activations that are found there.

        The converter keeps most names. Where it merged layers under another one, a learned range is found by itself.
        """
        quantized = convert_static(self._model, batches, self._io_type, self._settings.per_channel)
        by_name = {tensor.name: tensor.range for tensor in read_tflite(quantized.content).tensors}
        float_file = read_tflite(self._float_content)
        learned = {
            float_file.tensors[position].name: float_file.tensors[made].range
            for position, made in float_file.rounded().items()
            if float_file.tensors[made].range in by_name.values()
        }
        low_high = {each.tensor: by_name.get(each.tensor) or learned.get(each.tensor) for each in activations}
        return Ranges(method, {name: found for name, found in low_high.items() if found}), quantized
