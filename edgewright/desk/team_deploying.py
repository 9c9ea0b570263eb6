"""Puts pool, deployments and automations into a team's Prefect, as `edgewright up` does into one person's.

What was put there last time is remembered in the team's shared store: so a switch that a person has thrown since stays
thrown, whichever machine deploys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edgewright.desk.api import PrefectApi
from edgewright.desk.automations import install_automations
from edgewright.desk.deploying import PREFECT_FILE, deploy
from edgewright.desk.state import Deployed
from edgewright.desk.work_pool import ensure_team_pool
from edgewright.errors import SharedStoreError, UsageError
from edgewright.pipeline.object_store import ObjectStore

KEY = "deployed.json"
_URL, _ACCOUNT = "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"


@dataclass(frozen=True)
class TeamDeployed:
    """What a deployment did.

    Attributes:
        names: The deployments, as ``flow/name``.
        changed: Whether they were put into Prefect now; False where nothing had changed.
        automations: Names of the automations.
    """

    names: tuple[str, ...]
    changed: bool
    automations: tuple[str, ...]


def deploy_for_team(
    root: Path,
    template: Path,
    shared: ObjectStore,
    environment: Mapping[str, str],
    notify_url: str | None,
    on_progress: Callable[[str], None],
) -> TeamDeployed:
    """Deploys into the server that ``PREFECT_API_URL`` names.

    Args:
        root: The checkout.
        template: File of Prefect's base job template for the pool, absolute or below ``root``.
        shared: The team's shared store.
        environment: Says where Prefect is and who asks (``PREFECT_API_AUTH_STRING``).
        notify_url: Where the automations tell what they tell; None leaves that as it is.
        on_progress: Hears what is being done.

    Raises:
        UsageError: ``root`` is no checkout, or no server is named.
        DeskError: The server refuses, or cannot be reached.
        SharedStoreError: What is remembered there cannot be read.
    """
    url = environment.get(_URL)
    if not url:
        raise UsageError(f"{_URL} names no Prefect server: set it, or use `edgewright up` for a desk of your own.")
    for needed in (PREFECT_FILE, template):
        if not (root / needed).is_file():
            raise UsageError(f"{root} holds no {needed}: run this in the root of a checkout.")
    api = PrefectApi(url.rstrip("/"), environment.get(_ACCOUNT))
    ensure_team_pool(api, json.loads((root / template).read_text("utf-8")))
    before = _remembered(shared)
    deployed = deploy(api, root, environment, before, on_progress)
    now = deployed or before
    shared.write(KEY, _bytes(now))
    now.automations = install_automations(api, root, before.automations, notify_url)
    shared.write(KEY, _bytes(now))
    return TeamDeployed(tuple(now.names), deployed is not None, tuple(now.automations))


def _remembered(shared: ObjectStore) -> Deployed:
    content = shared.read(KEY)
    if content is None:
        return Deployed()
    try:
        return Deployed(**json.loads(content))
    except (ValueError, TypeError) as error:
        raise SharedStoreError(
            f"{shared.location}/{KEY} is damaged ({error}): delete it; switches then go back to what the file says."
        ) from error


def _bytes(deployed: Deployed) -> bytes:
    return json.dumps(asdict(deployed), indent=1, sort_keys=True).encode()
