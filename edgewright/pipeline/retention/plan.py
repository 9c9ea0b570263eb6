"""What a pruning would remove, as a value and for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from edgewright.errors import UsageError
from edgewright.pipeline.retention.records import StageRecord
from edgewright.pipeline.retention.store import GRACE_S, Orphan
from edgewright.pipeline.tracking import ModelVersion, SurplusRun
from edgewright.pipeline.tracking.words import plain

# More lines than these nobody reads; the counts above them are whole.
_SHOWN = 30


@dataclass(frozen=True)
class Rules:
    """What a pruning leaves alone.

    Attributes:
        keep_days: What is younger.
        keep_builds: The newest builds of each model, however old.

    Raises:
        UsageError: A number is too small: a build that runs now must be among what is young.
    """

    keep_days: float = 30.0
    keep_builds: int = 5

    def __post_init__(self) -> None:
        """Refuse numbers by which running work could be lost."""
        if self.keep_days < GRACE_S / 86_400:
            raise UsageError(f"keep_days is {self.keep_days:g}: at least 1, for a build may take hours. Raise it.")
        if self.keep_builds < 1:
            raise UsageError(
                f"keep_builds is {self.keep_builds}: at least 1, for the newest build always stays. Raise it."
            )


@dataclass(frozen=True)
class PruningPlan:
    """What would go, and why the rest stays.

    Attributes:
        rules: What it was drawn up by.
        now_s: When, seconds since the epoch.
        versions: Model versions.
        runs: Runs, with the bytes of their files.
        records: Stage records.
        orphans: Files of the store that nothing names, old enough to go.
        freed_later: Number and bytes of the files that only those records name: they go a day after them.
        reasons: How many releases stay, by reason.
    """

    rules: Rules
    now_s: float
    versions: tuple[ModelVersion, ...]
    runs: tuple[tuple[SurplusRun, int], ...]
    records: tuple[StageRecord, ...]
    orphans: tuple[Orphan, ...]
    freed_later: tuple[int, int]
    reasons: Mapping[str, int]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not (self.versions or self.runs or self.records or self.orphans)

    @property
    def freed_bytes(self) -> int:
        """What is freed at once, in bytes."""
        return sum(
            [
                *(size_bytes for _, size_bytes in self.runs),
                *(record.size_bytes for record in self.records),
                *(orphan.size_bytes for orphan in self.orphans),
            ]
        )

    def to_markdown(self) -> str:
        """For a person who decides whether to do it."""
        rules, (later, later_bytes) = self.rules, self.freed_later
        of_runs = sum(size_bytes for _, size_bytes in self.runs)
        lines = [
            f"Kept: what is younger than {rules.keep_days:g} days, the newest {rules.keep_builds} builds of each model, "
            "releases with an alias or in a champion's line with their whole builds, releases that were rolled back, and "
            "samples that were delivered.",
            "",
            "| what goes | how many | frees |",
            "| --- | --- | --- |",
            f"| model versions | {len(self.versions):,} | - |",
            f"| runs, with their files | {len(self.runs):,} | {size(of_runs)} |",
            f"| stage records | {len(self.records):,} | {size(sum(each.size_bytes for each in self.records))} |",
            f"| files of the store that nothing names | {len(self.orphans):,} | "
            f"{size(sum(each.size_bytes for each in self.orphans))} |",
            f"| files that only those records name, a day later | {later:,} | {size(later_bytes)} |",
        ]
        if self.versions:
            lines += ["", "### Model versions", ""]
            lines += _first([f"- {each.name} version {each.version}: {_told(each)}" for each in self.versions])
        if self.runs:
            lines += ["", "### Runs", "", *_first(self._builds())]
        if self.reasons:
            lines += ["", "### Releases that stay", ""]
            lines += [f"- {count:,}: {reason}" for reason, count in sorted(self.reasons.items())]
        return "\n".join(lines) + "\n"

    def _builds(self) -> list[str]:
        """One line for each build whose runs go."""
        counts: Counter[tuple[str, str]] = Counter((run.model, run.build) for run, _ in self.runs)
        lines = []
        for (model, build), count in sorted(counts.items()):
            of_build = [(run, size_bytes) for run, size_bytes in self.runs if (run.model, run.build) == (model, build)]
            day = _day(max(run.started_ms for run, _ in of_build))
            lines.append(
                f"- {model}, build `{build}` of {day}: {count} runs, {size(sum(each for _, each in of_build))}"
            )
        return lines


@dataclass(frozen=True)
class Pruned:
    """What was removed.

    Attributes:
        versions: Model versions.
        runs: Runs, with their files.
        records: Stage records.
        files: Files of the store.
        freed_bytes: What that frees.
        left: What could not be removed or is left to do, one sentence each.
    """

    versions: int
    runs: int
    records: int
    files: int
    freed_bytes: int
    left: tuple[str, ...]

    def to_markdown(self) -> str:
        """For the page of a run."""
        lines = [
            f"Removed: {self.versions:,} model versions, {self.runs:,} runs with their files, {self.records:,} stage records "
            f"and {self.files:,} files of the store. Freed: {size(self.freed_bytes)}.",
        ]
        return "\n".join([*lines, *([""] if self.left else []), *(f"- {each}" for each in self.left)]) + "\n"


def size(size_bytes: int) -> str:
    """Bytes for people."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    return next(
        f"{size_bytes / 1024**power:,.1f} {unit}"
        for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB"))
        if size_bytes >= 1024**power
    )


def _told(version: ModelVersion) -> str:
    return f"{plain(version.variant)} of build `{version.build}`, {version.verdict}, of {_day(version.created_ms)}"


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).date().isoformat()


def _first(lines: Sequence[str]) -> list[str]:
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f"- … and {more:,} more"] if more > 0 else [])]
