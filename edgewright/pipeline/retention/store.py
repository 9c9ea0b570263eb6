"""Files of the artifact store that nobody names, and the files that must never go: samples that were delivered.

A file is removed only when it is old and nothing names it at that very moment: a stage writes its artifacts before the
record that names them, and a build that runs now may hold what a record named yesterday.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgewright.pipeline.intake.collection import collected_artifacts
from edgewright.pipeline.retention.records import StageRecord, digests_in, read_records
from edgewright.pipeline.workspace import Workspace

# A build takes hours, not days: what it has made or taken up is younger than this.
GRACE_S = 86_400.0
_JOURNALS = "journals/"


@dataclass(frozen=True)
class Orphan:
    """A file of the store that no record names.

    Attributes:
        path: Where it is.
        sha256: Digest of what it holds.
        size_bytes: Its size.
    """

    path: Path
    sha256: str
    size_bytes: int


def orphans(workspace: Workspace, older_than_s: float = GRACE_S) -> tuple[Orphan, ...]:
    """Files of the store that nothing names, and that are older than so many seconds; removes nothing.

    Raises:
        DataError: What says which samples were delivered is damaged: then nothing can be told to be superfluous.
        SharedStoreError: The shared store cannot be asked.
    """
    return unnamed(workspace, read_records(workspace.store.root), older_than_s)


def unnamed(workspace: Workspace, records: Iterable[StageRecord], older_than_s: float) -> tuple[Orphan, ...]:
    """Files that neither these records nor anything outside of the store names; raises as ``orphans``."""
    named = named_outside(workspace).union(*(record.holds for record in records))
    oldest_s, found = time.time() - older_than_s, []
    for path in sorted((workspace.store.root / "sha256").glob("*/*")):
        if path.name in named:
            continue
        try:
            state = path.stat()
        except FileNotFoundError:  # gone since it was listed
            continue
        if state.st_mtime < oldest_s:
            found.append(Orphan(path, path.name, state.st_size))
    return tuple(found)


def named_outside(workspace: Workspace) -> frozenset[str]:
    """Digests of files that no stage made but that must stay, and of what builds that wait for a person go on with.

    Raises:
        DataError: A record of delivered samples is damaged.
        SharedStoreError: The shared store cannot be asked.
    """
    digests = {artifact.sha256 for artifact in collected_artifacts(workspace)}
    shared = workspace.shared
    for key in shared.keys(_JOURNALS):
        content = shared.read(key)
        if content is not None:
            digests |= set(digests_in(content.decode(errors="replace")))
    return frozenset(digests)


def remove_orphans(workspace: Workspace, older_than_s: float = GRACE_S) -> tuple[int, int]:
    """Removes the files that ``orphans`` finds; raises as it does.

    Returns:
        How many files went, and their bytes.
    """
    files = size_bytes = 0
    for orphan in orphans(workspace, older_than_s):
        if remove_file(orphan, older_than_s):
            files, size_bytes = files + 1, size_bytes + orphan.size_bytes
    return files, size_bytes


def remove_file(orphan: Orphan, older_than_s: float) -> bool:
    """Removes a file unless it was written or taken up again meanwhile; whether it is gone by this."""
    try:
        if orphan.path.stat().st_mtime >= time.time() - older_than_s:
            return False
        orphan.path.unlink()
    except FileNotFoundError:
        return False
    return True
