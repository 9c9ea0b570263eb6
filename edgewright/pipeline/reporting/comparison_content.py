"""What the comparison of builds says, as values: whoever collects them decides what is true, the page only shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgewright.errors import DataError
from edgewright.measurement import Measurement
from edgewright.pipeline.reporting.content import Fact
from edgewright.pipeline.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Answered:
    """How a released variant's answers pair with a champion's, sample by sample.

    Attributes:
        champion: What it is paired with, e.g. ``p50-i8 of 3f2a…``.
        samples: Test samples that both answered; 0 where they share none.
        lost: Samples that the champion answered rightly and it does not.
        gained: The reverse.
    """

    champion: str
    samples: int
    lost: int = 0
    gained: int = 0


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One variant of a build on one target; what was not measured is absent.

    Attributes:
        build: Identity of the build.
        variant: Its name.
        is_reference: Whether it is the uncompressed model that its build is judged against.
        outcome: What the registry says of it, e.g. ``pass`` or ``not put to the gate``.
        release: The model version and its aliases, e.g. ``version 3 (champion)``; empty where it was not released.
        is_champion: Whether devices of the target run it.
        metrics: Its figures, unit in the name.
        verdict: What the gate says of it; None where it was not judged.
        class_pct: Share of each class's test samples that it answers rightly, by class name, in percent.
        latency: What fresh processes measured; None where that is not kept.
        latency_note: Where it was measured, or why it is not kept.
        answered: Against the champion; None where it is not released, or is the champion, or answers are not kept.
    """

    build: str
    variant: str
    is_reference: bool
    outcome: str
    release: str
    is_champion: bool
    metrics: Mapping[str, float]
    verdict: Verdict | None = None
    class_pct: Mapping[str, float] = field(default_factory=dict)
    latency: Measurement | None = None
    latency_note: str = ""
    answered: Answered | None = None


@dataclass(frozen=True, kw_only=True)
class ComparedTarget:
    """One target.

    Attributes:
        target: Its name.
        quality_key: What the metric keys of the judged figure begin with.
        variants: Those of the compared build first.
        class_samples: Number of test samples by class name, of the compared build.
    """

    target: str
    quality_key: str
    variants: tuple[Compared, ...]
    class_samples: Mapping[str, int] = field(default_factory=dict)

    @property
    def quality_word(self) -> str:
        """The judged figure in words."""
        return self.quality_key.replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class ComparedBuild:
    """One build: its identity, and what tells it from the others."""

    build: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that the comparison of builds shows.

    Attributes:
        model: Name of the model.
        builds: The compared one first.
        targets: One per target.

    Raises:
        DataError: There is no build, or a variant is of a build that is not among them.
    """

    model: str
    builds: tuple[ComparedBuild, ...]
    targets: tuple[ComparedTarget, ...]

    def __post_init__(self) -> None:
        """Refuse variants that the page could not place."""
        known = {each.build for each in self.builds}
        strange = sorted({each.build for target in self.targets for each in target.variants} - known)
        if not known or strange:
            raise DataError(
                f"comparison of {self.model}: builds {sorted(known)}, but variants of {strange}; name them all"
            )

    @property
    def build(self) -> str:
        """The compared build."""
        return self.builds[0].build
