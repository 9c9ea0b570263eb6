"""MLflow, kept in one place: runs, releases, what devices run, and the server behind them.

The only importer of mlflow in edgewright, and inside functions only: importing this package costs nothing. What callers
need is named here; nothing in it is an MLflow type.

- ``server``: the embedded tracking server, shared and stopped by its users (``server_process``: as a process).
- ``runs``: one run per variant and target.
- ``registry``: one model version per build and target. ``model_version``: reading them. ``promotion``: moving aliases.
- ``report``: variants side by side.
- ``image_tags``: a version's container images.
- ``surplus``: what nobody needs any more, and how it goes.
- ``pages``: what people read: marks of runs (``standing``), ``version_page``, ``experiment_page``, saved ``views``.
"""

from __future__ import annotations

from edgewright.pipeline.tracking.approval import APPROVAL, ASKED, NO_ANSWER, record_decision, record_question
from edgewright.pipeline.tracking.client import Tracking
from edgewright.pipeline.tracking.experiment_page import BODY_BEGINS, NEWEST_BUILD, write_experiment
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
from edgewright.pipeline.tracking.pages import write_pages
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
from edgewright.pipeline.tracking.runs import RunRecord, fetch_present, log_run, run_tags, update_run
from edgewright.pipeline.tracking.server import (
    TrackingServer,
    metadata,
    metadata_uri,
    stop_unused_server,
    tracking_server,
)
from edgewright.pipeline.tracking.surplus import (
    Surplus,
    SurplusRun,
    artifact_bytes,
    erase_runs,
    find_surplus,
    remove_run,
    remove_version,
)
from edgewright.pipeline.tracking.views import experiment_link

__all__ = [
    "APPROVAL",
    "ASKED",
    "BODY_BEGINS",
    "NEWEST_BUILD",
    "NO_ANSWER",
    "ChampionMovedError",
    "ComparisonRow",
    "ModelVersion",
    "Promotion",
    "RunRecord",
    "Surplus",
    "SurplusRun",
    "Tracking",
    "TrackingServer",
    "artifact_bytes",
    "baseline",
    "candidate",
    "champion",
    "comparison",
    "download",
    "erase_runs",
    "experiment_link",
    "fetch_present",
    "find_by_bundle",
    "find_surplus",
    "get_version",
    "log_run",
    "metadata",
    "metadata_uri",
    "pin_baseline",
    "promote",
    "record_decision",
    "record_question",
    "register",
    "registered_name",
    "registered_names",
    "remove_run",
    "remove_version",
    "repair",
    "rollback",
    "run_tags",
    "set_candidate",
    "set_verdict",
    "stop_unused_server",
    "tracking_server",
    "update_run",
    "versions",
    "write_experiment",
    "write_pages",
]
