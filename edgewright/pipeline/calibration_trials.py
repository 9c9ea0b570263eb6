"""Static INT8 by trial: every range estimator that the recipe names is tried, and the best on validation samples is kept.

Which file is calibrated, and what its estimators are, is the affair of a ``Quantizer``: ``StaticQuantizer`` has ONNX files,
``tflite_calibration`` TFLite files. Samples, trials, audit and spread are the same for both.

Afterwards the kept estimator is run on other calibration sets of the same size: how far quality moves then is how much it
was the choice of samples that was measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx

from edgewright.benchmark_worker import read_peak_memory_mib
from edgewright.errors import CalibrationError, StageError
from edgewright.pipeline.activations import Activation, observe
from edgewright.pipeline.calibration import NARROWER, Origin, Ranges, estimate_ranges, refuse_absurd
from edgewright.pipeline.calibration_audit import RESAMPLES, CalibrationAudit, Spread, Trial, tensor_ranges
from edgewright.pipeline.calibration_set import Batches, CalibrationSet, in_batches, select_calibration_set
from edgewright.pipeline.quantization.model import QuantizedModel
from edgewright.pipeline.quantization.onnx import quantize_static
from edgewright.pipeline.snapshot import Split
from edgewright.pipeline.targets import IntegerType
from edgewright.pipeline.task_settings import TaskSettings
from edgewright.pipeline.variant_settings import QuantizeSettings

# With a smaller share of samples that could be others, the sets would be nearly the same one.
_LEAST_ROOM = 0.25


class Judge(Protocol):
    """Tells the quality of a model's answers on validation samples, in percent."""

    samples: int

    def __call__(self, content: bytes) -> float:
        """Quality of a model file."""


@dataclass(frozen=True)
class CalibrationData:
    """The calibration split and how samples are taken from it.

    Attributes:
        split: The calibration split.
        preprocess: Raw samples to model inputs.
        class_names: Names of the classes; none for a regression.
        task: The kind of question.
        samples: How many to take.
    """

    split: Split
    preprocess: Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]
    class_names: tuple[str, ...]
    task: TaskSettings
    samples: int

    def select(self, resample: int | None = None) -> CalibrationSet:
        """See ``select_calibration_set``."""
        split = self.split
        return select_calibration_set(
            split.labels, split.sample_sha256, self.class_names, self.samples, self.task, resample
        )

    def batches(self, chosen: CalibrationSet) -> Batches:
        """The chosen samples as model inputs."""
        return in_batches(self.split.images, chosen.indices, self.preprocess)


class Quantizer(Protocol):
    """A float model and how it shall be quantized."""

    @property
    def methods(self) -> tuple[Origin, ...]:
        """The range estimators to try; ``aware`` alone where training learned the ranges."""

    @property
    def narrower(self) -> str:
        """What gives narrower ranges, as a remedy in messages."""

    @property
    def no_spread_because(self) -> str:
        """Why other calibration sets would give the same ranges; empty where they would not."""

    def observe(self, batches: Batches) -> tuple[Activation, ...]:
        """Looks at the float model's activations on these samples."""

    def quantize(
        self, activations: tuple[Activation, ...], method: Origin, batches: Batches
    ) -> tuple[Ranges, QuantizedModel]:
        """The INT8 model, and the ranges that are in it.

        Args:
            activations: From ``observe``, of the same samples.
            method: One of ``methods``.
            batches: The samples.
        """


@dataclass(frozen=True)
class StaticQuantizer:
    """A prepared float ONNX model and how it shall be quantized."""

    prepared: onnx.ModelProto
    settings: QuantizeSettings
    types: tuple[IntegerType, IntegerType]
    no_spread_because: str = ""
    narrower: str = NARROWER

    @property
    def methods(self) -> tuple[Origin, ...]:
        """The range estimators that the recipe names."""
        return tuple(self.settings.calibration)

    def observe(self, batches: Batches) -> tuple[Activation, ...]:
        """See ``activations.observe``."""
        return observe(self.prepared, batches)

    def quantize(
        self, activations: tuple[Activation, ...], method: Origin, batches: Batches
    ) -> tuple[Ranges, QuantizedModel]:
        """The INT8 model with ranges by one of the estimators, which need no more than the histograms."""
        if method == "aware":
            raise StageError("an ONNX model has no ranges learned in training. Name range estimators.")
        ranges = estimate_ranges(activations, method, self.settings.percentile)
        return ranges, quantize_static(self.prepared, ranges, *self.types, self.settings.per_channel)


def try_estimators(
    quantizer: Quantizer, data: CalibrationData, judge: Judge, judge_few: Judge, say: Callable[[str], None]
) -> tuple[QuantizedModel, tuple[Trial, ...], CalibrationAudit]:
    """Calibrates by every estimator, keeps the best on validation (the first among equals), and audits it.

    Args:
        quantizer: What to quantize.
        data: What to calibrate on.
        judge: Quality on the validation split.
        judge_few: Quality on some of it, for the spread over calibration sets.
        say: Hears what is done next, in a few words.

    Raises:
        CalibrationError: The samples or a range are unusable; the message names the node.
        StageError: Quantization failed.
    """
    chosen = data.select()
    batches = data.batches(chosen)
    activations = quantizer.observe(batches)
    peak_memory_mib = read_peak_memory_mib()
    tried: list[tuple[Trial, Ranges, QuantizedModel]] = []
    for method in quantizer.methods:
        say("converting with learned ranges" if method == "aware" else f"calibrating by {method}")
        ranges, quantized = quantizer.quantize(activations, method, batches)
        tried.append((Trial(method, judge(quantized.content), ranges.low_high), ranges, quantized))
    _, ranges, best = max(tried, key=lambda each: each[0].validation_pct)
    refuse_absurd(activations, ranges, quantizer.narrower)
    spread = _spread(quantizer, data, chosen, ranges, best, judge_few, say)
    audit = CalibrationAudit(
        method=ranges.method,
        samples=len(chosen.indices),
        split="calibration",
        split_samples=chosen.eligible,
        chosen=chosen.chosen,
        sample_sha256=chosen.sample_sha256,
        coverage=chosen.coverage,
        tensors=tensor_ranges(activations, ranges),
        spread=None if isinstance(spread, str) else spread,
        no_spread_because=spread if isinstance(spread, str) else "",
        peak_memory_mib=round(peak_memory_mib, 1),
        without_range=tuple(each.node for each in activations if each.tensor not in ranges.low_high),
    )
    return best, tuple(trial for trial, _, _ in tried), audit


def _spread(
    quantizer: Quantizer,
    data: CalibrationData,
    kept: CalibrationSet,
    kept_ranges: Ranges,
    best: QuantizedModel,
    judge: Judge,
    say: Callable[[str], None],
) -> Spread | str:
    """Quality over other calibration sets, or why it cannot be had."""
    if quantizer.no_spread_because:
        return quantizer.no_spread_because
    if kept.eligible - data.samples < _LEAST_ROOM * data.samples:
        return (
            f"the calibration split has {kept.eligible} samples to take {data.samples} from: other sets would be nearly the "
            "same. Lower data.calibration_samples, or give the calibration split more (calibration_share, or with folds "
            "calibration_groups)."
        )
    figures, shared = [], []
    for resample in range(RESAMPLES):
        say(f"other calibration samples {resample + 1}/{RESAMPLES}")
        other = data.select(resample)
        batches = data.batches(other)
        try:
            _, quantized = quantizer.quantize(quantizer.observe(batches), kept_ranges.method, batches)
        except CalibrationError as error:
            return f"another set of as many samples cannot be used (resample {resample}): {error}"
        figures.append(judge(quantized.content))
        shared.append(len(set(other.indices) & set(kept.indices)) / len(kept.indices))
    return Spread(
        figures_pct=tuple(figures),
        lowest_pct=min(figures),
        highest_pct=max(figures),
        kept_pct=judge(best.content),
        resamples=tuple(range(RESAMPLES)),
        shared_share=float(np.mean(shared)),
        validation_samples=judge.samples,
    )
