"""What a report says, as values: whoever builds them decides what is true, the figures and the page only show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgewright.errors import DataError
from edgewright.pipeline.calibration_audit import CalibrationAudit
from edgewright.pipeline.reporting.answers import Answers
from edgewright.pipeline.summary import MissingVariant
from edgewright.pipeline.verdict import Outcome, Verdict


@dataclass(frozen=True)
class Fact:
    """One line of a table of facts, e.g. ``training.epochs`` and ``8``; both as people shall read them."""

    name: str
    value: str


@dataclass(frozen=True)
class SplitFacts:
    """One split of the data.

    Attributes:
        name: ``train``, ``calibration``, ``validation`` or ``test``.
        samples: Number of samples.
        groups: Number of groups; None where samples stand alone.
        class_samples: Number of samples by class name; empty where there are no classes.
    """

    name: str
    samples: int
    groups: int | None = None
    class_samples: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DataFacts:
    """The data that a build used.

    Attributes:
        name: Name of the data set.
        splits: Its splits, in the order in which they are shown.
        class_names: Names of the classes; empty where there are none.
        facts: What else people should know, e.g. the shape of a sample, the licence, the columns.
    """

    name: str
    splits: tuple[SplitFacts, ...]
    class_names: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True)
class EpochPoint:
    """What one epoch did.

    Attributes:
        epoch: Number of the epoch, 1-based.
        train_loss: Mean loss over the training samples.
        validation_loss: Mean loss over the validation samples; None where it was not taken.
        validation_pct: Quality on the validation samples, in percent; None where there is no such figure.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None = None
    validation_pct: float | None = None


@dataclass(frozen=True)
class Curve:
    """One training.

    Attributes:
        name: ``base``, or the variant that was fine-tuned.
        points: One per epoch.
        best_epoch: The epoch whose weights were kept; None where it is not known.
    """

    name: str
    points: tuple[EpochPoint, ...]
    best_epoch: int | None = None


@dataclass(frozen=True, kw_only=True)
class VariantReport:
    """One variant on one target; what was not measured is None.

    Attributes:
        name: Its name.
        is_reference: Whether it is the uncompressed model.
        quality_pct: The figure that the task is judged by, on the test split, in percent.
        quality_low_pct: Lower bound; None where it cannot be said.
        quality_high_pct: Upper bound.
        drop_points: What it loses against the reference, in points; None for the reference.
        drop_high_points: Upper bound of that; None where it cannot be said.
        latency_p50_ms: Median latency.
        latency_p50_low_ms: Lower bound.
        latency_p50_high_ms: Upper bound.
        latency_p95_ms: 95th percentile of the latency.
        speedup: Times as fast as the reference.
        size_kib: Size of the model file.
        compressed_size_kib: Its size after gzip.
        peak_memory_mib: Peak memory of a process that runs it.
        sparsity_pct: Share of weights that are gone or zero.
        provider: What ran it.
        outcome: The gate's word; None where it was not put to the gate.
        calibration: The audit of its integer ranges; None where it has none.
        class_pct: Share of each class's samples that are answered rightly, by class name, in percent.
        class_drop_bounds: Lower and upper bound of the drop of a class, in points, where they are known.
    """

    name: str
    is_reference: bool = False
    quality_pct: float
    quality_low_pct: float | None = None
    quality_high_pct: float | None = None
    drop_points: float | None = None
    drop_high_points: float | None = None
    latency_p50_ms: float | None = None
    latency_p50_low_ms: float | None = None
    latency_p50_high_ms: float | None = None
    latency_p95_ms: float | None = None
    speedup: float | None = None
    size_kib: float
    compressed_size_kib: float | None = None
    peak_memory_mib: float | None = None
    sparsity_pct: float | None = None
    provider: str = ""
    outcome: Outcome | None = None
    calibration: CalibrationAudit | None = None
    class_pct: Mapping[str, float] = field(default_factory=dict)
    class_drop_bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TargetReport:
    """One target.

    Attributes:
        target: Its name.
        platform: What it runs, e.g. ``linux/arm64``.
        measured_here: Whether latency was measured on the machine that built.
        chosen: Name of the variant that was put forward.
        verdict: What the gate says of it, waivers included.
        note: What followed, in words, e.g. ``digits.linux-x86 version 3 is champion``.
        variants: All variants, the reference among them.
        class_margin_points: What the gate lets a class lose, in points; None where it does not ask.
        reference_answers: The reference's answers on the test split; None where they are not drawn.
        chosen_answers: The chosen variant's answers, of the same kind.

    Raises:
        DataError: The chosen variant is missing, there is not one reference, or a name is there twice.
    """

    target: str
    platform: str
    measured_here: bool
    chosen: str
    verdict: Verdict
    note: str
    variants: tuple[VariantReport, ...]
    class_margin_points: float | None = None
    reference_answers: Answers | None = None
    chosen_answers: Answers | None = None

    def __post_init__(self) -> None:
        """Refuse a target whose figures would have nothing to point at."""
        names = [variant.name for variant in self.variants]
        references = [variant.name for variant in self.variants if variant.is_reference]
        if len(set(names)) != len(names) or self.chosen not in names or len(references) != 1:
            raise DataError(
                f"report of {self.target}: variants {names}, chosen {self.chosen!r}, references {references}; it needs "
                "distinct names, the chosen one among them, and one reference"
            )
        if type(self.reference_answers) is not type(self.chosen_answers):
            raise DataError(f"report of {self.target}: give the answers of both reference and {self.chosen}, or none")

    @property
    def reference(self) -> VariantReport:
        """The uncompressed model."""
        return next(variant for variant in self.variants if variant.is_reference)

    @property
    def latency_known(self) -> bool:
        """Whether every variant's latency is: only then can they be compared by it."""
        return all(variant.latency_p50_ms is not None for variant in self.variants)


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """All that the report of a build shows.

    Attributes:
        model: Name of the model.
        description: What it does.
        build: Identity of the build.
        data_sha256: Digest of the data snapshot.
        data: The data.
        task_word: The kind of question, e.g. ``classification``.
        quality_word: The figure that answers are judged by, e.g. ``balanced accuracy``.
        targets: One per target.
        curves: The base training first, then fine-tunings.
        missing: Variants that could not be built.
        settings: What the build was asked for, and the versions of what built it.
        registry_url: Where the registry's page of this model is; None where it has none.

    Raises:
        DataError: The registry's address is none that a browser may follow safely, or a target is there twice.
    """

    model: str
    description: str
    build: str
    data_sha256: str
    data: DataFacts
    task_word: str
    quality_word: str
    targets: tuple[TargetReport, ...]
    curves: tuple[Curve, ...] = ()
    missing: tuple[MissingVariant, ...] = ()
    settings: tuple[Fact, ...] = ()
    registry_url: str | None = None

    def __post_init__(self) -> None:
        """Refuse links that could run a script."""
        if self.registry_url is not None and not self.registry_url.startswith(("http://", "https://")):
            raise DataError(f"registry_url {self.registry_url!r} is not http:// or https://; leave it out")
        names = [target.target for target in self.targets]
        if len(set(names)) != len(names):
            raise DataError(f"report of build {self.build}: targets {names} are not distinct; give one entry for each")
