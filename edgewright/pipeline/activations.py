"""What a float model's activations are on the calibration samples: extremes and histogram of every tensor.

``observe`` looks at an ONNX model; a TFLite file is run by ``tflite_activations`` and looked at by the same ``collect``.

Two passes over the samples, one batch at a time: the first finds the extremes, the second counts values between them. So
a histogram's bins are settled before the first value falls into one: they depend neither on the order of samples nor on
the first batch, and memory does not grow with the number of samples. (ONNX Runtime's own collectors keep every
intermediate tensor of what they are fed, grow their bins from the first batch's, and overlook a single NaN.)

A tensor that would make INT8 meaningless whatever its range is refused here, by the name of the node that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgewright.errors import CalibrationError
from edgewright.pipeline.calibration_set import Batches

if TYPE_CHECKING:
    import onnx

# A tensor's name and its values for some samples, the sample's axis first: float32 ``[N, ...]``.
TensorValues = Iterator[tuple[str, npt.NDArray[np.float32]]]
# Name and type of the node that makes a tensor.
Maker = tuple[str, str]

# One INT8 step of the whole range is 128 bins: where one outlier widens the range a hundredfold, the rest still lies in
# hundreds of bins.
BINS = 2**15
# Inputs have mean 0 and deviation 1, and a trained network's activations stay below a thousand; beyond this there is a
# network that diverged, or a mask of -1e9.
_LARGEST = 1e6
# Below this width an INT8 step is no normal float32 number any more.
_NARROWEST = 1e-30


@dataclass(frozen=True, eq=False)
class Activation:
    """One float tensor on the calibration samples.

    Attributes:
        tensor: Its name.
        node: Name of the node that makes it; the tensor's own for the model's input or a node without a name.
        operator: The node's type; ``input`` for the model's input.
        low: Lowest value seen.
        high: Highest value seen.
        counts: int64 ``[BINS]``, number of values per bin; the bins divide the range with zero in it evenly.
        repeated: How often the values that repeat exactly were seen: 0, which activation functions give, and the most
            frequent value of the first sample, such as a background.
    """

    tensor: str
    node: str
    operator: str
    low: float
    high: float
    counts: npt.NDArray[np.int64]
    repeated: dict[float, int]

    @property
    def place(self) -> str:
        """The tensor's maker, for messages."""
        return _place(self.node, self.operator)

    @property
    def floor(self) -> float:
        """Where the first bin starts. INT8 ranges hold zero, whatever the extremes are."""
        return min(self.low, 0.0)

    @property
    def bin_width(self) -> float:
        """Width of one bin."""
        return (max(self.high, 0.0) - self.floor) / BINS

    def bin_of(self, value: float) -> int:
        """The edge, 0 to BINS, that lies next to a value."""
        return int(np.clip(round((value - self.floor) / self.bin_width), 0, BINS))

    def edge(self, index: int) -> float:
        """Value of an edge, never beyond what was seen."""
        return float(np.clip(self.floor + index * self.bin_width, self.low, self.high))


def observe(model: onnx.ModelProto, batches: Batches) -> tuple[Activation, ...]:
    """Runs a float model on the calibration samples and looks at its input and at every float tensor a node makes.

    Args:
        model: Float model, prepared for quantization.
        batches: The samples; asked twice.

    Returns:
        The activations, in the order of the graph.

    Raises:
        CalibrationError: A tensor is not finite, has no width, or is absurdly large; the message names the node.
    """
    run = _Augmented(model)
    return collect(_makers(model), lambda: run.over(batches))


def collect(makers: Mapping[str, Maker], values_of: Callable[[], TensorValues]) -> tuple[Activation, ...]:
    """Looks at the tensors of a float model, however it is run.

    Args:
        makers: Who makes a tensor, by its name, in the order of the graph.
        values_of: Runs the model on all samples; asked twice.

    Returns:
        The activations of which there are values, in the order of the graph.

    Raises:
        CalibrationError: A tensor is not finite, has no width, or is absurdly large; the message names the node.
    """
    extremes: dict[str, tuple[float, float]] = {}
    for name, values in values_of():
        low, high = extremes.get(name, (np.inf, -np.inf))
        # numpy's minimum and maximum, unlike the library's and Python's, keep a NaN.
        extremes[name] = (float(np.minimum(low, values.min())), float(np.maximum(high, values.max())))
    for name, (low, high) in extremes.items():
        _refuse(_place(*makers[name]), low, high)
    seen = {
        name: Activation(name, *makers[name], low, high, np.zeros(BINS, np.int64), {})
        for name, (low, high) in ((name, extremes[name]) for name in makers if name in extremes)
    }
    for name, values in values_of():
        _count(seen[name], values)
    return tuple(seen.values())


def _count(activation: Activation, values: npt.NDArray[np.float32]) -> None:
    """Adds a batch's values to the histogram and to the repeated values."""
    flat = values.ravel()
    bins = ((flat - np.float32(activation.floor)) * np.float32(1 / activation.bin_width)).astype(np.int32)
    activation.counts[:] += np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)
    if not activation.repeated:
        different, times = np.unique(values[0], return_counts=True)
        activation.repeated.update({0.0: 0, float(different[times.argmax()]): 0})
    for value in activation.repeated:
        activation.repeated[value] += int(np.count_nonzero(flat == np.float32(value)))


class _Augmented:
    """The model with every tensor as an output."""

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnx
        import onnxruntime

        augmented = onnx.ModelProto()
        augmented.CopyFrom(model)
        known = {value.name for value in augmented.graph.output}
        made = [name for node in augmented.graph.node for name in node.output if name and name not in known]
        augmented.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Optimised away, a tensor could not be looked at; and an arena would keep every batch's peak.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_cpu_mem_arena = False
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            augmented.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def over(self, batches: Batches) -> TensorValues:
        """Name and values of every float tensor, batch after batch."""
        for batch in batches():
            yield self._input, batch
            results = self._session.run(self._outputs, {self._input: batch})
            for name, values in zip(self._outputs, results, strict=True):
                if values.dtype == np.float32 and values.size:
                    yield name, values


def _makers(model: onnx.ModelProto) -> dict[str, Maker]:
    """Tensor name to (node, operator), in the order of the graph."""
    makers = {model.graph.input[0].name: (model.graph.input[0].name, "input")}
    for node in model.graph.node:
        makers.update({name: (node.name or name, node.op_type) for name in node.output if name})
    return makers


def _place(node: str, operator: str) -> str:
    return f"input {node!r}" if operator == "input" else f"node {node!r} ({operator})"


def _refuse(place: str, low: float, high: float) -> None:
    if not (np.isfinite(low) and np.isfinite(high)):
        raise CalibrationError(
            f"the range of {place} is [{low:g}, {high:g}]: a range must be finite, or INT8 gives a dead model. "
            "Look for padding with -inf, division by zero, or non-finite samples."
        )
    if not high - low > _NARROWEST:
        raise CalibrationError(
            f"the range of {place} is [{low:g}, {high:g}]: it has no width, the tensor is dead on all calibration samples. "
            "Train again, prune less, or look at the calibration samples."
        )
    if max(-low, high) > _LARGEST:
        raise CalibrationError(
            f"the range of {place} is [{low:g}, {high:g}], absurd beyond {_LARGEST:g}: inputs have mean 0 and deviation 1, "
            "and healthy activations stay far below. Look for samples with huge values, masks of -1e9, or a training that "
            "diverged."
        )
