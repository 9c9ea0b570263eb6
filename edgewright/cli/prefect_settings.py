"""Settings of the embedded Prefect server; they must stand in the environment before prefect is imported."""

from __future__ import annotations

import os

from edgewright.pipeline.workspace import Workspace

_QUIET = {
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # A fresh database on a busy machine takes longer than the default of 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def settle_prefect(workspace: Workspace) -> None:
    """Keeps Prefect quiet and, where no server is named, inside the workspace. What the caller set is left alone."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if "PREFECT_API_URL" not in os.environ and "PREFECT_HOME" not in os.environ:
        workspace.prefect_home.mkdir(parents=True, exist_ok=True)
        os.environ["PREFECT_HOME"] = str(workspace.prefect_home)
