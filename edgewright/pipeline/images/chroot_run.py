"""Runs an image under limits without a container engine: the kernel's namespaces, control groups and a changed root, as root.

It grants what an engine would: a read-only root, memory and processors by a control group, no capabilities, no new
privileges, the image's user, a network of loopback alone. It has no seccomp filter, which engines add: nothing that an agent
needs is refused by those.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgewright.pipeline.images.chroot_leftovers import scratch_folder
from edgewright.pipeline.images.confinement import Ended, Limits, NotProvableError, Start
from edgewright.pipeline.images.control_group import ControlGroup
from edgewright.pipeline.images.descriptor import Descriptor
from edgewright.pipeline.images.image_spec import STATE_FOLDER, USER
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.unpacking import unpack_image

_TOOLS = ("unshare", "nsenter", "mount", "setpriv")
_NAMESPACES = ("--mount", "--pid", "--net", "--ipc", "--uts")
_LOG_BYTES = 8192
_OUTPUT_CHARACTERS = 64 * 1024
_READY_S = 10.0
# Ends with the thread that starts it, however that ends; what runs in its namespaces ends with it (`chroot_start`).
_MORTAL = ("setpriv", "--pdeathsig", "KILL", "--")


class ChrootRun:
    """An unpacked image that runs; a `edgewright.pipeline.images.confinement.Confined`.

    Attributes:
        runner: The kernel's name and version.
        limits: What it runs under: no more processors than this process may use.
    """

    def __init__(self, layout: OciLayout, image: Descriptor, limits: Limits, start: Start) -> None:
        """Prepare.

        Args:
            layout: Where the image lies.
            image: Which one.
            limits: The limits.
            start: What is started.

        Raises:
            NotProvableError: This process is not root, or a program is missing.
        """
        missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
        if sys.platform != "linux" or os.geteuid() != 0 or missing:
            why = f"{', '.join(missing)} is missing" if missing else "this process is not root"
            raise NotProvableError(f"no container engine answers, and without one only root can confine it: {why}.")
        self.runner = f"Linux {os.uname().release.partition('-')[0]}, no engine"
        self.limits = limits.within(len(os.sched_getaffinity(0)))
        self._layout, self._image, self._start = layout, image, start
        self._environment: dict[str, str] = {}
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._stack as stack:
            folder = stack.enter_context(scratch_folder())
            self._group = stack.enter_context(ControlGroup(self.limits))
            root, state = folder / "root", folder / "state"
            config = unpack_image(self._layout, self._image, root)
            self._environment = {
                **dict(line.split("=", 1) for line in config.get("Env", ())),
                **self._start.environment,
            }
            user = _user(config)
            state.mkdir()
            state.chmod(0o750)  # whatever the umask is
            os.chown(state, user, user)
            asked = {
                "root": str(root),
                "state": str(state),
                "state_mount": STATE_FOLDER,
                "tmp_mib": self.limits.tmp_mib,
                "user": user,
                "mark": str(folder / "confined"),
                "member_files": [str(path) for path in self._group.member_files],
                "command": [*config["Entrypoint"], *self._start.command],
                "environment": self._environment,
            }
            (folder / "start.json").write_text(json.dumps(asked))
            self._log_file, self._mark = folder / "log", folder / "confined"
            begin = [sys.executable, "-m", "edgewright.pipeline.images.chroot_start", str(folder / "start.json")]
            with self._log_file.open("wb") as log:
                self._process = subprocess.Popen(
                    [*_MORTAL, "unshare", *_NAMESPACES, "--fork", "--kill-child", *begin],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            stack.callback(self._end)
            self._wait_confined()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def execute(self, words: Sequence[str], timeout_s: float) -> Ended:
        """Run a command within its namespaces and limits, as its user."""
        pid = self._agent_pid()
        if pid is None:
            return Ended(1, "it has ended.")
        enter = "; ".join(f"echo $$ > {path}" for path in self._group.member_files)
        program = words[0] if words[0].startswith("/") else self._find(words[0])
        command = ["nsenter", "--target", str(pid), *_NAMESPACES, "--root", "--wd"]
        command += ["--setuid", str(USER), "--setgid", str(USER), "--", program, *words[1:]]
        try:
            done = subprocess.run(
                [*_MORTAL, "sh", "-c", f'{enter}; exec "$@"', "sh", *command],
                env={**self._environment, "PATH": f"{self._environment.get('PATH', '')}:{os.environ.get('PATH', '')}"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Ended(124, f"no answer within {timeout_s:g} s.")
        return Ended(done.returncode, done.stdout.decode("utf-8", "replace")[-_OUTPUT_CHARACTERS:])

    def is_running(self) -> bool:
        """Whether the agent runs."""
        return self._process is not None and self._process.poll() is None

    def was_killed_for_memory(self) -> bool:
        """Whether the kernel ended something of it for want of memory."""
        return self._group.was_killed_for_memory()

    def memory_mib(self) -> float | None:
        """What its processes take now."""
        return self._group.used_mib()

    def stop(self, timeout_s: float) -> int | None:
        """Send SIGTERM, the image's stop signal, and wait."""
        pid = self._agent_pid()
        if self._process is None:
            return None
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def log(self) -> str:
        """The last it said."""
        return self._log_file.read_bytes()[-_LOG_BYTES:].decode("utf-8", "replace")

    def _wait_confined(self) -> None:
        """Wait until the process is about to become the agent: only then are its namespaces complete."""
        stop_at = time.monotonic() + _READY_S
        while time.monotonic() < stop_at:
            if self._mark.exists() and self._mark.stat().st_size:
                return
            if not self.is_running():
                said = self.log().strip()[-300:]
                raise NotProvableError(f"without a container engine it cannot be confined here: {said}")
            time.sleep(0.01)
        raise NotProvableError(f"without a container engine it was not confined within {_READY_S:g} s.")

    def _agent_pid(self) -> int | None:
        """The process below unshare's; None when there is none any more."""
        if self._process is None or self._process.poll() is not None:
            return None
        try:
            found = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        except OSError:
            return None
        return int(found[0]) if found else None

    def _find(self, program: str) -> str:
        """Where the image has a program."""
        pid = self._agent_pid()
        for folder in self._environment.get("PATH", "").split(":"):
            if os.path.lexists(f"/proc/{pid}/root{folder}/{program}"):
                return f"{folder}/{program}"
        return program

    def _end(self) -> None:
        self._group.kill()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(_READY_S)


def _user(config: dict[str, Any]) -> int:
    user = str(config.get("User", "")).partition(":")[0]
    return int(user) if user.isdecimal() else 0
