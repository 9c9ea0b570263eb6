"""The folder where a workshop keeps its state: artifacts, stage records, the embedded servers, locks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgewright.pipeline.artifact_store import ArtifactStore

VARIABLE = "EDGEWRIGHT_HOME"
DEFAULT_FOLDER = ".edgewright"


@dataclass(frozen=True)
class Workspace:
    """One workshop's state.

    Attributes:
        home: The folder; absolute.
    """

    home: Path

    @property
    def store(self) -> ArtifactStore:
        """The artifact store."""
        return ArtifactStore(self.home / "store")

    @property
    def prefect_home(self) -> Path:
        """Where the embedded Prefect server keeps its database."""
        return self.home / "prefect"


def open_workspace() -> Workspace:
    """The workspace of this process: ``$EDGEWRIGHT_HOME``, or ``.edgewright`` in the current folder."""
    return Workspace(Path(os.environ.get(VARIABLE) or DEFAULT_FOLDER).resolve())
