"""The one holder of the agent's state in a process, and the lock that keeps a second process off its folder."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgewright.device.agent_state import AgentState
from edgewright.device.state_file import StateFile
from edgewright.durable import flush_folder, make_folder, remove_leftovers
from edgewright.errors import AgentLockedError, AgentStateError, DiskFullError
from edgewright.machine_lock import exclusive_lock

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says when there is no room."""
_LOCK_NAME = "lock"


class DeviceFullError(DiskFullError):
    """The disk that holds the agent's state has no room."""

    exit_code = AgentStateError.exit_code


class StateHolder:
    """The state in one folder, whose lock this process must hold. Safe to use from several threads.

    Attributes:
        damage: What was wrong with the state's file, when the one before had to be taken; None when all was well.
    """

    def __init__(self, folder: Path) -> None:
        """Read the state.

        Raises:
            AgentStateError: It cannot be read.
            DiskFullError: There is no room for an empty folder.
        """
        with disk_errors(folder):
            make_folder(folder)
            remove_leftovers(folder)
            # A process that was killed may have left names that are seen and not yet durable: what is read here is built on.
            flush_folder(folder)
            flush_folder(folder.parent)
        self._file = StateFile(folder)
        self._state, self.damage = self._file.read()
        self._settled = True
        self._lock = threading.Lock()

    @property
    def state(self) -> AgentState:
        """The state as it was last written."""
        return self._state

    def change(self, step: Callable[[AgentState], AgentState]) -> AgentState:
        """Make one change: compute it, write it durably, and only then let others see it.

        Args:
            step: Gives the next state from the present one; what it raises leaves the state as it is.

        Raises:
            AgentStateError: The state cannot be written.
            DiskFullError: There is no room for it.
        """
        with self._lock:
            state = step(self._state)
            if state != self._state or not self._settled:
                self._write(state)
            return state

    def _write(self, state: AgentState) -> None:
        self._settled = False
        try:
            with disk_errors(self._file.path.parent):
                self._file.write(state)
        except (DiskFullError, AgentStateError):
            # The file may have its new contents though flushing the name failed: what others see is what stands there.
            with suppress(AgentStateError):
                self._state, _ = self._file.read()
            raise
        self._state, self._settled = state, True


@contextmanager
def state_lock(folder: Path) -> Iterator[None]:
    """Be the only agent on a state folder, which is made when absent.

    Raises:
        AgentLockedError: Another one is at work there.
    """
    with disk_errors(folder):
        make_folder(folder)
    with exclusive_lock(
        folder / _LOCK_NAME,
        0.0,
        lambda holder: AgentLockedError(
            f"{folder} is in use by the agent with the process id {holder}: one agent per state folder. "
            f"Stop that one, or give this one a device.state of its own."
        ),
    ):
        yield


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into one clear error.

    Raises:
        DiskFullError: There is no room.
        AgentStateError: Anything else.
    """
    try:
        yield
    except OSError as cause:
        if cause.errno in DISK_FULL:
            raise DeviceFullError(
                f"the disk that holds {folder} is full: make room there. What serves goes on, nothing was switched."
            ) from cause
        place = cause.filename if cause.filename is not None else folder
        raise AgentStateError(f"{place} cannot be written or read: {cause.strerror or cause}.") from cause
