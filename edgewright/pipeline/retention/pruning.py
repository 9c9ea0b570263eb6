"""Does what a plan says, as far as it still holds: what somebody needs by now is left alone.

A kill anywhere leaves all consistent. Of the registry, what points goes before what it points to: versions, then runs, then
their files. Of the store, records go before the artifacts that they name; a record is removed under its stage's lock, and
its artifacts get a day's grace, since a build that runs now may have taken them up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from edgewright.errors import RegistryError
from edgewright.pipeline.retention.plan import Pruned, PruningPlan
from edgewright.pipeline.retention.planning import plan_pruning
from edgewright.pipeline.retention.records import StageRecord
from edgewright.pipeline.retention.store import GRACE_S, orphans, remove_file
from edgewright.pipeline.tracking import SurplusRun, Tracking, erase_runs, remove_run, remove_version, write_pages
from edgewright.pipeline.workspace import Workspace

OnStep = Callable[[str, int, int], None]


def apply(
    workspace: Workspace, tracking: Tracking, plan: PruningPlan, on_step: OnStep = lambda what, done, total: None
) -> Pruned:
    """Removes what a plan names and what a new plan by the same rules would name, too.

    Args:
        workspace: Whose store.
        tracking: The registry.
        plan: What a person has seen.
        on_step: Hears what is removed, how many are done and how many there are.

    Raises:
        DataError: A record of delivered samples is damaged.
        RegistryError: The registry cannot be reached.
        SharedStoreError: The shared store cannot be asked.
    """
    today = plan_pruning(workspace, tracking, plan.rules.keep_days, plan.rules.keep_builds, now_s=plan.now_s)
    left: list[str] = []
    still = {(version.name, version.version) for version in today.versions}
    versions = 0
    for number, version in enumerate(plan.versions):
        if (version.name, version.version) in still and remove_version(tracking, version):
            versions += 1
        on_step("model versions", number + 1, len(plan.versions))
    for name in sorted({version.name for version in plan.versions}):
        write_pages(tracking, name.partition(".")[0], name.partition(".")[2])
    of_today = {run.run_id for run, _ in today.runs}
    runs, freed = _remove_runs(tracking, [each for each in plan.runs if each[0].run_id in of_today], left, on_step)
    unneeded = {record.path for record in today.records}
    records = _remove_records(workspace.store.root, [each for each in plan.records if each.path in unneeded], on_step)
    freed += sum(record.size_bytes for record in records)
    files = 0
    # Looked for anew: what a record names that was written meanwhile stays.
    planned = {orphan.path for orphan in plan.orphans}
    for orphan in [each for each in orphans(workspace) if each.path in planned]:
        if remove_file(orphan, GRACE_S):
            files, freed = files + 1, freed + orphan.size_bytes
    return Pruned(versions, runs, len(records), files, freed, tuple(left))


def _remove_runs(
    tracking: Tracking, runs: Iterable[tuple[SurplusRun, int]], left: list[str], on_step: OnStep
) -> tuple[int, int]:
    """Removes runs and their files; returns how many, and the bytes."""
    gone, freed, todo = [], 0, list(runs)
    for number, (run, size_bytes) in enumerate(todo):
        try:
            remove_run(tracking, run)
        except RegistryError as error:
            left.append(str(error))
        else:
            gone.append(run.run_id)
            freed += size_bytes
        on_step("runs", number + 1, len(todo))
    rest = erase_runs(tracking, gone)
    if rest:
        left.append(rest)
    return len(gone), freed


def _remove_records(root: Path, records: list[StageRecord], on_step: OnStep) -> list[StageRecord]:
    """Removes records that nobody has used since they were read; returns those that went."""
    gone = []
    for number, record in enumerate(records):
        lock = FileLock(root / "locks" / f"{record.stage}-{record.key[:32]}.lock", timeout=0)
        with suppress(Timeout, FileNotFoundError), lock:  # a build asks for this stage right now, or it is gone already
            if record.path.stat().st_mtime == record.modified_s:
                _give_grace(root, record)
                record.path.unlink()
                gone.append(record)
        on_step("stage records", number + 1, len(records))
    return gone


def _give_grace(root: Path, record: StageRecord) -> None:
    """Makes a record's artifacts young, so that they outlive it by a day."""
    for digest in record.holds:
        with suppress(FileNotFoundError):
            os.utime(root / "sha256" / digest[:2] / digest)
