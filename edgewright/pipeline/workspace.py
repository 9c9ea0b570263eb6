"""The folder where a workshop keeps its state: artifacts, stage records, the embedded servers, locks."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.errors import SharedStoreError
from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.code_identity import package_digest
from edgewright.pipeline.object_store import FolderStore, ObjectStore
from edgewright.pipeline.shared_store import SHARED_VARIABLE, identity_of, team_store

VARIABLE = "EDGEWRIGHT_HOME"
DEFAULT_FOLDER = ".edgewright"


class Workspace:
    """One workshop's state.

    Where a team shares a store, a workspace that is sent to another process becomes that process's own: its folder is one of
    that machine's, and what both need of each other's travels through the shared store.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    @property
    def home(self) -> Path:
        """The folder; absolute."""
        return self._home

    @property
    def store(self) -> ArtifactStore:
        """The artifact store."""
        return ArtifactStore(self.home / "store")

    @property
    def prefect_home(self) -> Path:
        """Where the embedded Prefect server keeps its database."""
        return self.home / "prefect"

    @property
    def shared(self) -> ObjectStore:
        """What all machines of a team see: what ``$EDGEWRIGHT_SHARED`` names, else a folder of this workspace.

        Raises:
            SharedStoreError: The variable names no store.
        """
        return team_store() or FolderStore(self.home / "shared")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Workspace) and self.home == other.home

    def __hash__(self) -> int:
        return hash(self.home)

    def __repr__(self) -> str:
        return f"Workspace({str(self._home)!r})"

    def __reduce__(self) -> tuple[Callable[..., Workspace], tuple[Any, ...]]:
        store = team_store()
        if store is None:
            return Workspace, (self._home,)
        return _SentWorkspace, (_Origin(identity_of(store), store.location, package_digest()),)


def open_workspace() -> Workspace:
    """The workspace of this process: ``$EDGEWRIGHT_HOME``, or ``.edgewright`` in the current folder."""
    return Workspace(Path(os.environ.get(VARIABLE) or DEFAULT_FOLDER).resolve())


@dataclass(frozen=True)
class _Origin:
    """Where a sent workspace comes from.

    Attributes:
        identity: Identity of the shared store.
        location: What that is called there.
        code: Digest of the code that runs there.
    """

    identity: str
    location: str
    code: str


class _SentWorkspace(Workspace):
    """The workspace of whichever process uses it. On its way it may pass processes that have none: a scheduler's."""

    def __init__(self, origin: _Origin) -> None:
        self._origin = origin

    @property
    def home(self) -> Path:
        """This process's folder.

        Raises:
            SharedStoreError: What sender and receiver put into the shared store the other one would not find, or understand.
        """
        origin = self._origin
        told = f"work of a build that shares {origin.location} came to {socket.gethostname()}, process {os.getpid()}, where "
        store = team_store()
        if store is None:
            raise SharedStoreError(f"{told}{SHARED_VARIABLE} is not set. Set it there to the same store.")
        if identity_of(store) != origin.identity:
            raise SharedStoreError(
                f"{told}{SHARED_VARIABLE} names another store: {store.location}. Set it there to the same one."
            )
        if package_digest() != origin.code:
            raise SharedStoreError(
                f"{told}another version of edgewright runs. Install the build's version there and start its workers again."
            )
        return open_workspace().home

    def __repr__(self) -> str:
        return f"Workspace(of the receiver, sharing {self._origin.location!r})"

    def __reduce__(self) -> tuple[Callable[..., Workspace], tuple[Any, ...]]:
        return _SentWorkspace, (self._origin,)
