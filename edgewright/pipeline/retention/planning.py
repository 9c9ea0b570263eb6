"""Draws up what a pruning would remove: marks what is needed, and what is not marked goes. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from edgewright.pipeline.retention.plan import PruningPlan, Rules
from edgewright.pipeline.retention.records import StageRecord, needed, read_records
from edgewright.pipeline.retention.store import GRACE_S, named_outside, unnamed
from edgewright.pipeline.tracking import Tracking, artifact_bytes, find_surplus
from edgewright.pipeline.workspace import Workspace


def plan_pruning(
    workspace: Workspace,
    tracking: Tracking,
    keep_days: float = 30.0,
    keep_builds: int = 5,
    *,
    now_s: float | None = None,
) -> PruningPlan:
    """What could go of a workspace and its registry.

    Args:
        workspace: Whose store.
        tracking: The registry.
        keep_days: What is younger stays.
        keep_builds: How many of each model's newest builds stay, however old.
        now_s: The present, seconds since the epoch; None for now.

    Raises:
        UsageError: A number is too small to be safe.
        DataError: A record of delivered samples is damaged: then nothing can be told to be superfluous.
        RegistryError: The registry cannot be reached.
        SharedStoreError: The shared store cannot be asked.
    """
    rules = Rules(keep_days, keep_builds)
    now_s = time.time() if now_s is None else now_s
    oldest_s = now_s - keep_days * 86_400
    surplus = find_surplus(tracking, older_than_ms=int(oldest_s * 1000), keep_builds=keep_builds)
    records = read_records(workspace.store.root)
    outside = named_outside(workspace)
    young = [record for record in records if record.modified_s >= oldest_s]
    stay = needed(records, young, surplus.kept_bundles | outside)
    gone = tuple(record for record in records if record not in stay)
    return PruningPlan(
        rules=rules,
        now_s=now_s,
        versions=surplus.versions,
        runs=tuple((run, artifact_bytes(tracking, run)) for run in surplus.runs),
        records=gone,
        orphans=unnamed(workspace, records, GRACE_S),
        freed_later=_only_named_by(
            workspace.store.root, gone, frozenset(outside).union(*(each.holds for each in stay))
        ),
        reasons=surplus.reasons,
    )


def _only_named_by(root: Path, gone: Sequence[StageRecord], still_named: frozenset[str]) -> tuple[int, int]:
    """Number and bytes of the files that these records name, and nothing else does."""
    digests = frozenset().union(*(record.holds for record in gone)) - still_named
    paths = [root / "sha256" / digest[:2] / digest for digest in digests]
    sizes = [path.stat().st_size for path in paths if path.is_file()]
    return len(sizes), sum(sizes)
