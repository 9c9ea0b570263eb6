"""One part of the desk as processes: started apart from its command, found again by its mark, ended with its children."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from edgewright.desk.state import desk_folder
from edgewright.pipeline.live_process import Mark, end, folder_mark, start_detached, with_environment

DESK = "EDGEWRIGHT_DESK"
PART = "EDGEWRIGHT_DESK_PART"
# Set by Prefect's workers for the process of a flow run, and inherited by what that starts.
FLOW_RUN = "PREFECT__FLOW_RUN_ID"

TAIL_LINES = 8


class Part:
    """A server or a worker that the desk runs.

    Args:
        home: The workspace folder.
        name: What people call it; names its log too.
    """

    def __init__(self, home: Path, name: str) -> None:
        self.name = name
        self._folder = desk_folder(home)
        self.log = self._folder / f"{name}.log"

    def find(self, remembered: Mark | None) -> Mark | None:
        """The live process that leads this part; looked for among all processes where the remembered one has ended."""
        if remembered is not None and remembered.is_alive():
            return remembered
        leaders = [Mark.of(process.pid) for process in self.family() if _leads(process)]
        return next((mark for mark in leaders if mark is not None), None)

    def family(self) -> list[Any]:
        """All live processes of this part: its leader and whatever that started, flow runs included."""
        if not self._folder.is_dir():
            return []
        mine = with_environment(DESK, folder_mark(self._folder))
        return [process for process in mine if _variable(process, PART) == self.name]

    def start(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], pass_fds: Sequence[int] = ()
    ) -> Mark:
        """Starts the part; the log of the one before is kept beside the new one.

        Args:
            command: The program and its words.
            folder: What it runs in.
            environment: Its environment, but for the mark.
            pass_fds: Open files that it inherits.
        """
        with suppress(FileNotFoundError):
            self.log.replace(self.log.with_suffix(".log.1"))
        marked = {**environment, DESK: folder_mark(self._folder), PART: self.name}
        return start_detached(command, folder=folder, environment=marked, log=self.log, pass_fds=pass_fds)

    def stop(self, grace_s: float) -> None:
        """Ends all processes of this part."""
        end(self.family(), grace_s)
        # What was just being started while the others were ended.
        end(self.family(), grace_s)


def last_words(log: Path) -> tuple[str, ...]:
    """The last lines of a log."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    return tuple(line for line in text.splitlines() if line.strip())[-TAIL_LINES:]


def last_heard(*files: Path) -> datetime | None:
    """When any of a part's files was last written to, in local time: of one that was killed, the nearest to when."""
    times = [file.stat().st_mtime for file in files if file.is_file()]
    return datetime.fromtimestamp(max(times)).astimezone() if times else None


def flow_processes() -> dict[str, list[Any]]:
    """The live processes of flow runs on this machine, by the flow run's id: the run's own, and what it started."""
    found: dict[str, list[Any]] = {}
    for process in with_environment(FLOW_RUN):
        run = flow_run(process)
        if run is not None:
            found.setdefault(run, []).append(process)
    return found


def flow_run(process: Any) -> str | None:
    """The id of the flow run that a process belongs to; None where it belongs to none."""
    return _variable(process, FLOW_RUN)


def runs_flow(process: Any) -> bool:
    """Whether a process is a flow run's own, and not one that it started."""
    try:
        return any(word.startswith(("prefect.engine", "prefect.runner")) for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def folder_of(mark: Mark) -> Path | None:
    """The folder that a live process works in; None where it has ended."""
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return Path(psutil.Process(mark.pid).cwd())
    return None


def variable_of(mark: Mark, name: str) -> str | None:
    """A variable of a live process' environment; None where it has ended, or has none of that name."""
    with suppress(psutil.NoSuchProcess):
        return _variable(psutil.Process(mark.pid), name)
    return None


def _leads(process: Any) -> bool:
    try:
        return os.getsid(process.pid) == process.pid and flow_run(process) is None
    except ProcessLookupError:
        return False


def _variable(process: Any, name: str) -> str | None:
    try:
        held: str | None = process.environ().get(name)
        return held
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
