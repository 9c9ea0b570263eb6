"""The audit of a calibration: what a person must know to trust INT8 ranges, kept with the model."""

from __future__ import annotations

from dataclasses import dataclass

from edgewright.pipeline.activations import Activation
from edgewright.pipeline.calibration import Ranges, clipped_share

# Five sets tell a figure that moves by points from one that moves by tenths; each costs a calibration.
RESAMPLES = 5


@dataclass(frozen=True)
class Trial:
    """One way to fewer bits that was tried.

    Attributes:
        method: The range estimator; ``aware`` where training learned the ranges; ``dynamic`` or ``float16`` where no ranges
            are calibrated.
        validation_pct: Quality on the validation split, in percent.
        ranges: Tensor name to lowest and highest value; empty where none are calibrated.
    """

    method: str
    validation_pct: float
    ranges: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class TensorRange:
    """The range of one activation.

    Attributes:
        tensor: Name of the tensor.
        node: Name of the node that makes it, or of the model's input.
        operator: The node's type; ``input`` for the model's input.
        low: Lowest value that INT8 covers.
        high: Highest value that INT8 covers.
        observed_low: Lowest value on the calibration samples.
        observed_high: Highest value on the calibration samples.
        clipped_share: Share, 0 to 1, of its values on the calibration samples that lie outside the range.
    """

    tensor: str
    node: str
    operator: str
    low: float
    high: float
    observed_low: float
    observed_high: float
    clipped_share: float


@dataclass(frozen=True)
class Spread:
    """How much the choice of calibration samples matters: the kept method with ranges from other sets of the same size.

    Attributes:
        figures_pct: Quality with each of the other sets, in percent.
        lowest_pct: The lowest of them.
        highest_pct: The highest of them.
        kept_pct: Quality with the set that the model was made with, on the same validation samples.
        resamples: The numbers that salted the digests: ``0, 1, ...``. They are the only seed there is.
        shared_share: Share, 0 to 1, of a set's samples that are also in the kept one; near 1 the spread says little.
        validation_samples: Samples that each figure was taken on.
    """

    figures_pct: tuple[float, ...]
    lowest_pct: float
    highest_pct: float
    kept_pct: float
    resamples: tuple[int, ...]
    shared_share: float
    validation_samples: int


@dataclass(frozen=True)
class CalibrationAudit:
    """How the ranges of one INT8 model came about.

    Attributes:
        method: The range estimator that was kept; ``aware`` where training learned the ranges.
        samples: Number of calibration samples.
        split: The split they are from.
        split_samples: Samples of the split that could have been taken.
        chosen: How they were chosen, for people. No random number has a part in it.
        sample_sha256: Their digests.
        coverage: Their number by class name; for a regression by band of values.
        tensors: The range of every activation, in the order of the graph.
        spread: Quality over other calibration sets; None where it was not measured.
        no_spread_because: Why it was not measured; empty where it was.
        peak_memory_mib: Peak resident memory of the process that calibrated, in MiB, the engine's and the data's included.
            Of Keras also TensorFlow, which is most of it, and the training before in the same process.
        without_range: Nodes of the float model whose output stands in the INT8 file under no name, such as those that the
            converter merged with others: their ranges could not be looked at.
    """

    method: str
    samples: int
    split: str
    split_samples: int
    chosen: str
    sample_sha256: tuple[str, ...]
    coverage: dict[str, int]
    tensors: tuple[TensorRange, ...]
    spread: Spread | None
    no_spread_because: str
    peak_memory_mib: float
    without_range: tuple[str, ...] = ()


def tensor_ranges(activations: tuple[Activation, ...], ranges: Ranges) -> tuple[TensorRange, ...]:
    """The range of every activation that has one beside what was observed, in the order of the graph."""
    return tuple(
        TensorRange(
            tensor=each.tensor,
            node=each.node,
            operator=each.operator,
            low=low,
            high=high,
            observed_low=each.low,
            observed_high=each.high,
            clipped_share=clipped_share(each, low, high),
        )
        for each in activations
        if each.tensor in ranges.low_high
        for low, high in [ranges.low_high[each.tensor]]
    )
