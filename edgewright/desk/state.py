"""What the desk remembers between two commands: which processes it started, its port, what it put into Prefect.

The file is a short cut and a memory of intentions. Whether a process lives is always asked of the processes themselves,
so that a lost or torn file loses no process: each carries a mark in its environment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgewright.durable import replace_file
from edgewright.errors import DeskError
from edgewright.machine_lock import exclusive_lock
from edgewright.pipeline.live_process import Mark

# Longer than a first start on a busy machine.
_LOCK_DEADLINE_S = 600.0


@dataclass
class Deployed:
    """What was put into Prefect.

    Attributes:
        digest: Of everything that the deployments were made from.
        names: The deployments, as ``flow/name``.
        switches: Of each deployment, whether it was left paused and which of its schedules were left active. Where
            Prefect says otherwise later, a person has thrown the switch.
        automations: Digest of each automation's file, by the automation's name.
    """

    digest: str = ""
    names: list[str] = field(default_factory=list)
    switches: dict[str, dict[str, bool]] = field(default_factory=dict)
    automations: dict[str, str] = field(default_factory=dict)


@dataclass
class DeskState:
    """All that the desk remembers.

    Attributes:
        prefect_port: Where Prefect's server was last, and will be again if that port is free.
        parts: What ``up`` started and ``down`` has not ended, by the part's name.
        keeps_mlflow: Whether ``up`` has the tracking server kept up.
        deployed: What was put into Prefect.
    """

    prefect_port: int = 0
    parts: dict[str, Mark] = field(default_factory=dict)
    keeps_mlflow: bool = False
    deployed: Deployed = field(default_factory=Deployed)


def desk_folder(home: Path) -> Path:
    """Where the desk keeps its state and its logs, absolute."""
    return home.resolve() / "desk"


def read_state(home: Path) -> DeskState:
    """What is remembered; an empty state where nothing is, or nothing that can be read."""
    try:
        read: dict[str, Any] = json.loads((desk_folder(home) / "desk.json").read_text())
        parts = {name: Mark(**mark) for name, mark in read.pop("parts").items()}
        return DeskState(parts=parts, deployed=Deployed(**read.pop("deployed")), **read)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return DeskState()


def write_state(home: Path, state: DeskState) -> None:
    """Remembers; a reader sees the old state or the new one."""
    replace_file(desk_folder(home) / "desk.json", json.dumps(asdict(state), indent=1).encode())


@contextmanager
def desk_lock(home: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Lets one command at a time open or close the desk. The kernel frees the lock when its holder dies.

    Args:
        home: The workspace folder.
        on_wait: Called once where another command holds it.

    Raises:
        DeskError: Another command held it for ten minutes.
    """
    folder = desk_folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "desk.lock"

    def refuse(holder: str) -> DeskError:
        return DeskError(
            f"process {holder} has been opening or closing the desk in {folder} for {_LOCK_DEADLINE_S / 60:.0f} "
            "minutes: wait for it to finish, or end it."
        )

    with ExitStack() as held:
        try:
            held.enter_context(exclusive_lock(path, 0.0, refuse))
        except DeskError:
            on_wait()
            held.enter_context(exclusive_lock(path, _LOCK_DEADLINE_S, refuse))
        yield
