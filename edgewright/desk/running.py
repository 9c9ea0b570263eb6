"""The desk that runs in a workspace, for commands that use its servers rather than start their own."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from edgewright.desk.part import Part
from edgewright.desk.state import desk_folder, read_state
from edgewright.durable import replace_file
from edgewright.pipeline.live_process import Mark, listening_ports
from edgewright.pipeline.tracking.server import server_use

PREFECT = "prefect"
WORKER = "worker"


@dataclass(frozen=True)
class Desk:
    """Where the desk's servers are.

    Attributes:
        prefect_api_url: ``http://127.0.0.1:…/api``. It may not answer yet.
        prefect_ui_url: What people open.
        mlflow_uri: The tracking server: where it is, or will be when it is started again; empty before its first start.
    """

    prefect_api_url: str
    prefect_ui_url: str
    mlflow_uri: str


def running_desk(home: Path) -> Desk | None:
    """The desk of a workspace; None where its Prefect server does not run."""
    if not desk_folder(home).is_dir():
        return None
    state = read_state(home)
    mark = Part(home, PREFECT).find(state.parts.get(PREFECT))
    if mark is None:
        return None
    port = prefect_port(mark, state.prefect_port)
    mlflow = server_use(home).port
    return Desk(prefect_api_url(port), prefect_ui_url(port), f"http://127.0.0.1:{mlflow}" if mlflow else "")


def prefect_port(mark: Mark, remembered: int) -> int:
    """The port of a live server: the one that it listens on; the remembered one where that cannot be told yet."""
    with suppress(psutil.NoSuchProcess):
        found = listening_ports(psutil.Process(mark.pid))
        return remembered if remembered in found or not found else found[0]
    return remembered


def prefect_api_url(port: int) -> str:
    """Where Prefect's API is."""
    return f"http://127.0.0.1:{port}/api"


def prefect_ui_url(port: int) -> str:
    """What people open to see Prefect: all that can be run."""
    return f"http://127.0.0.1:{port}/deployments"


def join_desk(home: Path, doing: str) -> Path:
    """Makes this process a user of the desk's Prefect server, so that ``edgewright down`` leaves it up meanwhile.

    Args:
        home: The workspace folder.
        doing: What people call this process, e.g. ``edgewright build``.

    Returns:
        The file that says so. Removing it ends the use; so does the end of this process.
    """
    mark = Mark.of(os.getpid())
    assert mark is not None
    folder = desk_folder(home) / "users"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{mark.pid}.json"
    replace_file(path, json.dumps({**asdict(mark), "doing": doing}).encode())
    return path


def desk_users(home: Path) -> dict[int, str]:
    """The live commands that use the desk's Prefect server: by process id, what each is called."""
    users = {}
    for path in sorted((desk_folder(home) / "users").glob("*.json")):
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            read = json.loads(path.read_text())
            mark = Mark(int(read["pid"]), float(read["created"]))
            if mark.is_alive():
                users[mark.pid] = str(read["doing"])
                continue
        path.unlink(missing_ok=True)
    return users
