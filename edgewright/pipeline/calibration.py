"""Calibration: which samples INT8 ranges are taken from, which ranges they give, and the audit of both.

A range that is not finite gives a model that loads, runs and answers nonsense; a range without width comes from a dead
tensor. Both are refused here, by the name of the node that makes the tensor.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx

from edgewright.errors import CalibrationError

Method = Literal["minmax", "percentile"]
# Samples per run: the intermediate tensors of one batch is all that calibration holds at a time.
_BATCH_SAMPLES = 16
# Bins of the histogram that percentiles are read from; coarser ones put the percentile off by whole INT8 steps.
_HISTOGRAM_BINS = 2048


@dataclass(frozen=True)
class CalibrationSet:
    """The samples that ranges are taken from.

    Attributes:
        inputs: Preprocessed samples, float32 ``[N, C, H, W]``.
        sample_sha256: Their digests.
        samples_per_class: Number of samples by class name; every class is present.
    """

    inputs: npt.NDArray[np.float32]
    sample_sha256: tuple[str, ...]
    samples_per_class: dict[str, int]


@dataclass(frozen=True)
class Ranges:
    """Calibrated ranges: tensor name to lowest and highest value."""

    method: Method
    low_high: dict[str, tuple[float, float]]


def select_calibration_set(
    inputs: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    sample_sha256: tuple[str, ...],
    class_names: tuple[str, ...],
    count: int,
) -> CalibrationSet:
    """Takes ``count`` samples of the calibration split, classes in turn, each class in the order of its digests.

    Args:
        inputs: Preprocessed calibration split, float32 ``[N, C, H, W]``.
        labels: Class indices, int64 ``[N]``.
        sample_sha256: Digests of the samples.
        class_names: Names of the classes.
        count: Samples to take.

    Raises:
        CalibrationError: Too few samples, or a class is missing.
    """
    if len(labels) < count:
        raise CalibrationError(
            f"calibration split has {len(labels)} samples, needs at least {count} (data.calibration_samples). "
            "Lower it, or raise data.calibration_share."
        )
    queues = [
        sorted(np.flatnonzero(labels == index), key=lambda i: sample_sha256[i]) for index in range(len(class_names))
    ]
    missing = [class_names[index] for index, queue in enumerate(queues) if not queue]
    if missing:
        raise CalibrationError(
            f"calibration split has no sample of class {missing[0]!r}. Raise data.calibration_share."
        )
    taken: list[int] = []
    depth = 0
    while len(taken) < count:
        taken += [int(queue[depth]) for queue in queues if depth < len(queue)][: count - len(taken)]
        depth += 1
    covered = Counter(class_names[labels[index]] for index in taken)
    return CalibrationSet(
        inputs=np.ascontiguousarray(inputs[taken]),
        sample_sha256=tuple(sample_sha256[index] for index in taken),
        samples_per_class={name: covered[name] for name in class_names},
    )


def calibrate(model: onnx.ModelProto, calibration: CalibrationSet, method: Method, percentile: float) -> Ranges:
    """Runs the float model on the calibration set and estimates the range of every activation.

    Args:
        model: Float model, prepared for quantization.
        calibration: The samples.
        method: ``minmax`` keeps every value; ``percentile`` keeps the given share of them.
        percentile: Share of values to keep, in percent, for ``percentile``.

    Raises:
        CalibrationError: A range is not finite or has no width; the message names the node.
    """
    # Our own extremes: the library's calibrators overlook a single NaN, or fail on it without a name.
    extremes = _observed_extremes(model, calibration)
    _audit(model, extremes)
    if method == "minmax":
        return Ranges(method, extremes)
    low_high = _percentiles(model, calibration, percentile)
    for tensor, (low, high) in low_high.items():
        if not low < high:
            raise CalibrationError(
                f"the range of {_place(model, tensor)} at {percentile:g} % is [{low:g}, {high:g}]: it has no width, though "
                "the tensor has values outside it. Raise quantize.percentile, or calibrate by minmax alone."
            )
    return Ranges(method, low_high)


def _percentiles(
    model: onnx.ModelProto, calibration: CalibrationSet, percentile: float
) -> dict[str, tuple[float, float]]:
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    input_name = model.graph.input[0].name
    # The library tells its progress on stdout.
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        path = Path(scratch) / "float.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            augmented_model_path=str(Path(scratch) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"percentile": percentile, "num_bins": _HISTOGRAM_BINS},
        )
        for start in range(0, len(calibration.inputs), _BATCH_SAMPLES):
            calibrator.collect_data(_OneBatch({input_name: calibration.inputs[start : start + _BATCH_SAMPLES]}))
        computed = calibrator.compute_data()
    return {name: _limits(data.range_value) for name, data in computed.items()}


class _OneBatch:
    """Hands a calibrator one batch, then nothing."""

    def __init__(self, feed: dict[str, npt.NDArray[np.float32]]) -> None:
        self._feeds: Iterator[dict[str, npt.NDArray[np.float32]]] = iter([feed])

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        return next(self._feeds, None)


def _limits(value: tuple[Any, Any]) -> tuple[float, float]:
    return float(np.min(value[0])), float(np.max(value[1]))


def _observed_extremes(model: onnx.ModelProto, calibration: CalibrationSet) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of the input and of every float tensor that a node makes; NaN where one was seen."""
    import onnxruntime

    augmented = onnx.ModelProto()
    augmented.CopyFrom(model)
    known = {value.name for value in augmented.graph.output}
    made = [name for node in augmented.graph.node for name in node.output if name and name not in known]
    augmented.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(augmented.SerializeToString(), options, providers=["CPUExecutionProvider"])
    input_name, names = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]
    extremes: dict[str, tuple[float, float]] = {}
    for start in range(0, len(calibration.inputs), _BATCH_SAMPLES):
        batch = calibration.inputs[start : start + _BATCH_SAMPLES]
        values = {input_name: batch, **dict(zip(names, session.run(names, {input_name: batch}), strict=True))}
        for name, value in values.items():
            if value.dtype == np.float32:
                low, high = extremes.get(name, (np.inf, -np.inf))
                extremes[name] = (float(np.minimum(low, value.min())), float(np.maximum(high, value.max())))
    return extremes


def _audit(model: onnx.ModelProto, extremes: dict[str, tuple[float, float]]) -> None:
    for tensor, (low, high) in extremes.items():
        if not (np.isfinite(low) and np.isfinite(high)):
            raise CalibrationError(
                f"the range of {_place(model, tensor)} is [{low:g}, {high:g}]: a range must be finite, or INT8 gives a dead "
                "model. Look for padding with -inf, division by zero, or non-finite samples."
            )
        if not low < high:
            raise CalibrationError(
                f"the range of {_place(model, tensor)} is [{low:g}, {high:g}]: it has no width, the tensor is dead on all "
                "calibration samples. Train again, prune less, or look at the calibration samples."
            )


def _place(model: onnx.ModelProto, tensor: str) -> str:
    maker = next((node for node in model.graph.node if tensor in node.output), None)
    return f"node {maker.name or tensor!r} ({maker.op_type})" if maker else f"input {tensor!r}"
