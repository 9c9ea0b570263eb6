"""What a build came to, as a value: what the command prints, the summary file holds and the exit status says."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from edgewright.pipeline.verdict import Outcome, Verdict

EXIT_PASSED, EXIT_ERROR, EXIT_REFUSED, EXIT_NOT_MEASURABLE = 0, 1, 3, 4
EXIT_INTERRUPTED = 130  # what shells say of a command that was ended by Ctrl-C


@dataclass(frozen=True)
class VariantSummary:
    """One variant on one target.

    Attributes:
        variant: Its name.
        run_id: Its MLflow run.
        metrics: The very figures that the run carries; what was not measured is absent.
        quality_low_pct: Lower bound of the judged figure (95 %, two-sided), in percent; None where it cannot be bounded.
        quality_high_pct: Upper bound.
        drop_high_points: Upper bound on the drop against the reference (95 %, one-sided), in points; None for the reference
            and where it cannot be bounded.
        provider: What really ran it.
        outcome: The gate's word; None where it was not put to the gate.
    """

    variant: str
    run_id: str
    metrics: dict[str, float]
    quality_low_pct: float | None
    quality_high_pct: float | None
    drop_high_points: float | None
    provider: str
    outcome: Outcome | None


@dataclass(frozen=True)
class TargetSummary:
    """One target.

    Attributes:
        target: Its name.
        platform: What it runs, e.g. ``linux/arm64``.
        measured_here: Whether latency was measured on this machine.
        reference: The uncompressed variant.
        chosen: The variant that was put forward.
        of_fold: What each fold chose; the verdict is about these answers together. One entry without folds.
        outcome: The verdict on it.
        verdict: The verdict, with every check.
        version: The model version of this build.
        bundle_sha256: Its bundle.
        champion: The version that devices run; None when there is none.
        note: What happened, in words.
        variants: All variants.
    """

    target: str
    platform: str
    measured_here: bool
    reference: str
    chosen: str
    of_fold: tuple[str, ...]
    outcome: Outcome
    verdict: Verdict
    version: int
    bundle_sha256: str
    champion: int | None
    note: str
    variants: tuple[VariantSummary, ...]


@dataclass(frozen=True)
class MissingVariant:
    """A variant that could not be built, and why.

    Attributes:
        variant: Its name.
        error: Why, for people.
        log: Where what its process had printed lies; empty where there is nothing.
        targets: The targets that lack it; empty where all do.
    """

    variant: str
    error: str
    log: str = ""
    targets: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Its name, with the targets where it is not missing everywhere."""
        return f"{self.variant} on {', '.join(self.targets)}" if self.targets else self.variant


@dataclass(frozen=True)
class BuildSummary:
    """What a build came to.

    Attributes:
        model: Name of the model.
        build: Identity of the build.
        quality: What the judged figure is called, e.g. ``accuracy``.
        quality_key: What its metrics begin with.
        data_sha256: Digest of the data.
        samples: Number of samples by split.
        tracking_uri: Where the runs are.
        targets: One entry per target.
        missing: Variants that could not be built.
        report: Where the report lies, one HTML file; empty where none was made.
    """

    model: str
    build: str
    quality: str
    quality_key: str
    data_sha256: str
    samples: dict[str, int]
    tracking_uri: str
    targets: tuple[TargetSummary, ...]
    missing: tuple[MissingVariant, ...]
    report: str = ""

    @property
    def exit_code(self) -> int:
        """0 when every target that can be measured here passed, or all did; otherwise what stood in the way.

        3: the gate refused one; 1: a variant is missing; 4: only what is not measurable remains.
        """
        outcomes = [target.outcome for target in self.targets]
        here = [target.outcome for target in self.targets if target.measured_here] or outcomes
        if "fail" in outcomes:
            return EXIT_REFUSED
        if self.missing:
            return EXIT_ERROR
        return EXIT_PASSED if set(here) == {"pass"} else EXIT_NOT_MEASURABLE

    @property
    def judged(self) -> str:
        """What was built and how it was judged, as JSON: the same however often the same is built again.

        Single checks do not count: a release that took office is compared with itself from then on, which is no news.
        """
        targets = [
            [
                *(each.target, each.version, each.champion, each.chosen, each.outcome),
                [asdict(waiver) for waiver in each.verdict.waivers],
                [[variant.variant, variant.outcome, variant.metrics] for variant in each.variants],
            ]
            for each in self.targets
        ]
        return json.dumps([self.model, self.build, targets, [asdict(each) for each in self.missing]])

    def to_json(self) -> str:
        """The summary file: figures exactly as tracked."""
        content: dict[str, Any] = asdict(self)
        for entry, target in zip(content["targets"], self.targets, strict=True):
            entry["verdict"] = json.loads(target.verdict.to_json())
        content["exit_code"] = self.exit_code
        return json.dumps(content, indent=2) + "\n"
