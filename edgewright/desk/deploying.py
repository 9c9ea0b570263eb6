"""What stands in ``deployments/prefect.yaml`` put into Prefect, by Prefect's own command, when something changed.

Deploying sets every switch back to the file's: a schedule that a person paused would run again. So what people switched
since the last time is read before, and set again after.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgewright.desk.api import PrefectApi
from edgewright.desk.state import Deployed
from edgewright.errors import DeskError

PREFECT_FILE = Path("deployments/prefect.yaml")
_DEADLINE_S = 600.0
_TAIL_LINES = 15
_POLL_S = 0.5


def deploy(
    api: PrefectApi, root: Path, environment: Mapping[str, str], before: Deployed, on_progress: Callable[[str], None]
) -> Deployed | None:
    """Deploys what the file names, unless it was deployed as it is.

    Args:
        api: The server.
        root: The folder that holds ``deployments/`` and the flows.
        environment: For the command that deploys.
        before: What was deployed last time.
        on_progress: Hears when this begins to take time.

    Returns:
        What is deployed now; None where nothing had changed.

    Raises:
        DeskError: Prefect refuses the file or a flow in it, with the reason.
    """
    digest = _digest(root)
    existing = _deployments(api)
    if digest == before.digest and before.names and set(before.names) <= existing.keys():
        return None
    thrown = _thrown(existing, before)
    on_progress(f"deploying {PREFECT_FILE}")
    begun = datetime.now(UTC)
    _run_prefect(root, environment)
    after = {name: each for name, each in _deployments(api).items() if datetime.fromisoformat(each["updated"]) >= begun}
    for name in before.names:
        if name in existing and name not in after:
            api.delete(f"/deployments/{existing[name]['id']}")
    switches = {name: _switches(each) for name, each in after.items()}
    for name, switched in thrown.items():
        if name in after:
            _throw(api, after[name], switched)
    return Deployed(digest, sorted(after), switches, before.automations)


def unscheduled(api: PrefectApi, wait_s: float = 0.0) -> list[str]:
    """The deployments with an active schedule and no run to come: a server that creates none looks healthy otherwise.

    Args:
        api: The server.
        wait_s: How long to give it, in seconds.
    """
    gives_up_at = time.monotonic() + wait_s
    while True:
        waiting = {run["deployment_id"] for run in scheduled_runs(api)}
        missing = [
            name
            for name, each in _deployments(api).items()
            if each["id"] not in waiting and not each["paused"] and any(one["active"] for one in each["schedules"])
        ]
        if not missing or time.monotonic() >= gives_up_at:
            return missing
        time.sleep(_POLL_S)


def scheduled_runs(api: PrefectApi) -> list[dict[str, Any]]:
    """The runs to come that a schedule made, the next one first."""
    wanted = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    runs = api.all("/flow_runs/filter", flow_runs=wanted, sort="EXPECTED_START_TIME_ASC")
    return [run for run in runs if run["auto_scheduled"]]


def deployment_names(api: PrefectApi) -> dict[str, str]:
    """Each deployment's ``flow/name``, by its id."""
    return {each["id"]: name for name, each in _deployments(api).items()}


def _run_prefect(root: Path, environment: Mapping[str, str]) -> None:
    command = [
        *(sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"),
        "--prefect-file",
        str(PREFECT_FILE),
    ]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env={**environment, "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeskError(f"`prefect deploy` of {PREFECT_FILE} has not ended in {_DEADLINE_S:.0f} s.") from error
    if done.returncode != 0:
        tail = "\n".join(line for line in done.stdout.splitlines() if line.strip(" │╭╮╰╯─"))
        said = "\n".join(tail.splitlines()[-_TAIL_LINES:])
        raise DeskError(
            f"{PREFECT_FILE} cannot be deployed. Prefect says:\n{said}\nRepair what it names, then the same command again."
        )


def _deployments(api: PrefectApi) -> dict[str, dict[str, Any]]:
    flows = {flow["id"]: flow["name"] for flow in api.all("/flows/filter")}
    return {f"{flows[each['flow_id']]}/{each['name']}": each for each in api.all("/deployments/filter")}


def _switches(deployment: Mapping[str, Any]) -> dict[str, bool]:
    """``paused`` of the deployment, and ``active`` of each schedule by its slug."""
    return {"paused": deployment["paused"], **{_slug(each): each["active"] for each in deployment["schedules"]}}


def _slug(schedule: Mapping[str, Any]) -> str:
    return f"schedule {schedule['slug'] or schedule['schedule']}"


def _thrown(existing: Mapping[str, Mapping[str, Any]], before: Deployed) -> dict[str, dict[str, bool]]:
    """What people switched since the last time."""
    thrown: dict[str, dict[str, bool]] = {}
    for name, left in before.switches.items():
        now = _switches(existing[name]) if name in existing else {}
        changed = {switch: now[switch] for switch in left.keys() & now.keys() if now[switch] != left[switch]}
        if changed:
            thrown[name] = changed
    return thrown


def _throw(api: PrefectApi, deployment: Mapping[str, Any], switched: Mapping[str, bool]) -> None:
    place = f"/deployments/{deployment['id']}"
    if "paused" in switched:
        api.patch(place, {"paused": switched["paused"]})
    for schedule in deployment["schedules"]:
        if _slug(schedule) in switched:
            api.patch(f"{place}/schedules/{schedule['id']}", {"active": switched[_slug(schedule)]})


def _digest(root: Path) -> str:
    """Of all that deployments are made from: the files beside the list, and the code whose types make the forms."""
    packages = [place.parent for place in sorted(root.glob("*/__init__.py"))]
    files = [*(root / "deployments").rglob("*.yaml"), *(file for place in packages for file in place.rglob("*.py"))]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(root)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
