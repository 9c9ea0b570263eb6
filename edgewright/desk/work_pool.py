"""The pool that runs wait in: of type process, run in the root of the checkout, a few at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgewright.desk.api import PrefectApi
from edgewright.errors import DeskError

POOL = "edgewright"
# One build and one promotion side by side; a suspended run takes no place.
RUNS_AT_ONCE = 2
_PATH = f"/work_pools/{POOL}"
_OF_A_DESK = "What edgewright's worker runs on this machine."


def ensure_pool(api: PrefectApi, root: Path) -> None:
    """Makes the desk's pool where there is none, and has its runs begin in ``root``. What people set in it stays.

    Args:
        api: The server.
        root: The folder that holds the flows' packages.

    Raises:
        DeskError: There is a pool of this name and of another type.
    """
    words = {"concurrency_limit": RUNS_AT_ONCE, "description": _OF_A_DESK}
    _ensure(api, words, lambda before: _settled(before or _process_template(api), root))


def ensure_team_pool(api: PrefectApi, template: Mapping[str, Any]) -> None:
    """Makes a team's pool where there is none, and has its runs begin as a template says.

    How many run at once is every worker's own limit; what people set in the pool beside the template stays.

    Args:
        api: The server.
        template: Prefect's base job template.

    Raises:
        DeskError: There is a pool of this name and of another type, or that of one person's desk.
    """
    before = api.find(_PATH)
    if before is not None and before.get("description") == _OF_A_DESK:
        raise DeskError(
            f"this Prefect is the desk of one person, as its work pool {POOL!r} says: `edgewright up` keeps its deployments. "
            "Name the team's server in PREFECT_API_URL."
        )
    words = {"description": "What the team's workers run, each as many at once as its own limit says."}
    _ensure(api, words, lambda _: dict(template))


def _ensure(
    api: PrefectApi, words: Mapping[str, Any], settle: Callable[[dict[str, Any] | None], dict[str, Any]]
) -> None:
    pool = api.find(_PATH)
    if pool is None:
        api.post("/work_pools/", {"name": POOL, "type": "process", "base_job_template": settle(None), **words})
        return
    if pool["type"] != "process":
        raise DeskError(
            f"Prefect's work pool {POOL!r} is of type {pool['type']!r}, and its workers run processes: "
            "remove or rename that pool in Prefect."
        )
    template = settle(pool["base_job_template"])
    if template != pool["base_job_template"]:
        api.patch(_PATH, {"base_job_template": template})


def _process_template(api: PrefectApi) -> dict[str, Any]:
    """What Prefect's own process workers are told of a run."""
    known = api.read("/collections/views/aggregate-worker-metadata")
    template: dict[str, Any] = known["prefect"]["process"]["default_base_job_configuration"]
    return template


def _settled(template: dict[str, Any], root: Path) -> dict[str, Any]:
    settled = copy.deepcopy(template)
    variables = settled["variables"]["properties"]
    variables["working_dir"]["default"] = str(root)
    # A run goes on when its worker is killed, unless it writes to the worker's console, which is then gone.
    quiet = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
    variables["env"]["default"] = {**variables["env"].get("default", {}), **quiet}
    return settled


def worker_is_heard(api: PrefectApi, name: str, since: float) -> bool:
    """Whether a worker of this name has spoken since a time, given as seconds since the epoch."""
    last = last_heartbeat(api, name)
    return last is not None and last >= since


def last_heartbeat(api: PrefectApi, name: str) -> float | None:
    """When the worker of this name last spoke, in seconds since the epoch; None where it never did."""
    from datetime import datetime

    workers = api.post(f"{_PATH}/workers/filter", {"workers": None, "limit": 200, "offset": 0})
    spoken = [each["last_heartbeat_time"] for each in workers if each["name"] == name and each["last_heartbeat_time"]]
    return max((datetime.fromisoformat(each).timestamp() for each in spoken), default=None)
