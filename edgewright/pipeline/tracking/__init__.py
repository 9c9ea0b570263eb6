"""MLflow, kept in one place: runs, releases, what devices run, and the server behind them.

The only importer of mlflow in edgewright, and inside functions only: importing this package costs nothing. What callers
need is named here; nothing in it is an MLflow type.

- ``server``: the embedded tracking server, shared and stopped by its users (``server_process``: as a process).
- ``runs``: one run per variant and target.
- ``registry``: one model version per build and target. ``model_version``: reading them. ``promotion``: moving aliases.
- ``report``: variants side by side.
"""

from __future__ import annotations

from edgewright.pipeline.tracking.client import Tracking
from edgewright.pipeline.tracking.model_version import (
    ModelVersion,
    baseline,
    candidate,
    champion,
    download,
    find_by_bundle,
    get_version,
    registered_name,
    registered_names,
    versions,
)
from edgewright.pipeline.tracking.promotion import (
    ChampionMovedError,
    Promotion,
    pin_baseline,
    promote,
    rollback,
    set_candidate,
)
from edgewright.pipeline.tracking.registry import register, repair, set_verdict
from edgewright.pipeline.tracking.report import ComparisonRow, comparison
from edgewright.pipeline.tracking.runs import RunRecord, log_run, run_tags, update_run
from edgewright.pipeline.tracking.server import (
    TrackingServer,
    metadata,
    metadata_uri,
    stop_unused_server,
    tracking_server,
)

__all__ = [
    "ChampionMovedError",
    "ComparisonRow",
    "ModelVersion",
    "Promotion",
    "RunRecord",
    "Tracking",
    "TrackingServer",
    "baseline",
    "candidate",
    "champion",
    "comparison",
    "download",
    "find_by_bundle",
    "get_version",
    "log_run",
    "metadata",
    "metadata_uri",
    "pin_baseline",
    "promote",
    "register",
    "registered_name",
    "registered_names",
    "repair",
    "rollback",
    "run_tags",
    "set_candidate",
    "set_verdict",
    "stop_unused_server",
    "tracking_server",
    "update_run",
    "versions",
]
