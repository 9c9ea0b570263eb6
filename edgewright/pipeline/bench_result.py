"""What the benchmark found, as values with one JSON form: ratios first, since absolute times belong to the machine."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Ratio:
    """How many times faster one model is than another of the same rounds.

    Attributes:
        x: Median over the rounds.
        low_x: Lower bound (order statistics of the rounds).
        high_x: Upper bound.
        confidence: The bounds' two-sided coverage.
        rounds_x: Each round's ratio.
    """

    x: float
    low_x: float
    high_x: float
    confidence: float
    rounds_x: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """One model with one number of threads, given one size of batch at a time.

    Attributes:
        recipe: Name of the recipe's model.
        variant: Name of the variant, or of ONNX Runtime's quantizer.
        threads: Threads of one inference.
        batch: Samples of one inference.
        latency_p50_ms: Median time of one inference (of the whole batch), median over processes.
        latency_p95_ms: 95th percentile, median over processes.
        cpu_p50_ms: Median processor time of one inference over all its threads, median over processes.
        samples_per_s: ``batch`` over the median time.
        over_float: Against the recipe's reference.
        cpu_over_float_x: The same of processor time instead of wall time, median over the rounds: what a busy machine leaves
            of a comparison.
        over_default: Against ONNX Runtime's static default; None where that is not measurable.
        size_kib: Size of the file.
        peak_memory_mib: Highest over the processes.
        quality_pct: The recipe's figure on the validation split, in percent.
        rounds_p50_ms: Each round's median time.
    """

    recipe: str
    variant: str
    threads: int
    batch: int
    latency_p50_ms: float
    latency_p95_ms: float
    cpu_p50_ms: float
    samples_per_s: float
    over_float: Ratio
    cpu_over_float_x: float
    over_default: Ratio | None
    size_kib: float
    peak_memory_mib: float
    quality_pct: float
    rounds_p50_ms: tuple[float, ...]

    @property
    def processor_share(self) -> float | None:
        """How much of an inference's time one thread really had a processor; None where threads wait for each other.

        Below 1 others had it in between. That strikes long inferences and spares those shorter than a scheduler's slice, in
        every round alike: taking turns does not help, and ratios lean towards the smaller model.
        """
        return self.cpu_p50_ms / self.latency_p50_ms if self.threads == 1 else None


@dataclass(frozen=True)
class NotMeasured:
    """A row that has no figures.

    Attributes:
        recipe: Name of the recipe's model.
        variant: Name of the variant, or of ONNX Runtime's quantizer.
        threads: Threads that it would have had.
        batch: Samples that it would have been given.
        not_measurable: Why.
    """

    recipe: str
    variant: str
    threads: int
    batch: int
    not_measurable: str


@dataclass(frozen=True)
class ModelsBench:
    """One recipe's models, for one target.

    Attributes:
        recipe: Name of the recipe's model.
        target: Name of the target whose types and engine were used.
        reference: Name of the float variant that the others are held against.
        quality: What the figure of quality is called.
        rows: By threads and batch, every variant and ONNX Runtime's defaults.
    """

    recipe: str
    target: str
    reference: str
    quality: str
    rows: tuple[Row | NotMeasured, ...]


@dataclass(frozen=True)
class BuildCost:
    """What building costs beside the work itself.

    Attributes:
        recipe: Name of the recipe's model.
        first_s: Wall time of a build from nothing, servers' start included.
        stages_s: Sum of its stages' own compute times.
        again_s: Wall time of the same build again, nothing changed.
        wall_over_compute: ``first_s / stages_s``; below 1 when stages ran side by side.
        again_over_first: ``again_s / first_s``.
    """

    recipe: str
    first_s: float
    stages_s: float
    again_s: float
    wall_over_compute: float
    again_over_first: float


def build_cost(recipe: str, first_s: float, stages_s: float, again_s: float) -> BuildCost:
    """Ratios of a build's times."""
    return BuildCost(recipe, first_s, stages_s, again_s, first_s / stages_s, again_s / first_s)


def median_ratios(models: Sequence[ModelsBench]) -> dict[str, dict[str, float]]:
    """By variant, the medians over recipes, threads and batches of its speed-up over float and over the static default."""
    rows = [row for each in models for row in each.rows if isinstance(row, Row)]
    found: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(row.variant for row in rows):
        own = [row for row in rows if row.variant == name]
        found[name] = {"over_float_x": statistics.median(row.over_float.x for row in own)}
        over_default = [row.over_default.x for row in own if row.over_default]
        if over_default:
            found[name]["over_default_x"] = statistics.median(over_default)
    return found


def to_json(models: Sequence[ModelsBench], builds: Sequence[BuildCost], circumstances: dict[str, Any]) -> str:
    """The result as JSON: medians of ratios on top, then what it was measured with, then all figures.

    Args:
        models: What was measured of models.
        builds: What was measured of builds; none where they were left out.
        circumstances: Machine, versions, commit, time, load.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "medians": {
            "speedup": median_ratios(models),
            **_build_medians(builds),
        },
        **circumstances,
        "builds": [asdict(cost) for cost in builds],
        "models": [asdict(each) for each in models],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _build_medians(builds: Sequence[BuildCost]) -> dict[str, float]:
    if not builds:
        return {}
    return {
        "wall_over_compute": _median(cost.wall_over_compute for cost in builds),
        "again_over_first": _median(cost.again_over_first for cost in builds),
    }


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)
