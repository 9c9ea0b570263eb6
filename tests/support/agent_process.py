"""The real ``edgewright-agent run`` as a process: started, asked, killed at a chosen step, sent to another year."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np

from edgewright.device.agent_state import AgentState
from edgewright.device.slots import Slots
from edgewright.device.state_file import StateFile
from small_bundles import WHITE, samples

BIN = Path(sys.executable).parent
ENDS_WITHIN_S = 60.0
QUICK = {
    "DEVICE_ID": "press-7",
    "SERVE_LISTEN": "127.0.0.1:0",
    "REGISTRY_POLL_S": "1",
    "REGISTRY_BACKOFF_FIRST_S": "0.05",
    "REGISTRY_BACKOFF_MOST_S": "0.3",
    "REGISTRY_TIMEOUT_S": "3",
    "SERVE_DEADLINE_S": "2",
    "SERVE_HEARTBEAT_S": "5",
    "SERVE_START_DEADLINE_S": "15",
    "HEALTH_SHADOW_S": "0",
    "HEALTH_WINDOW_S": "60",
}
"""Settings that let a test end."""

# What python runs before anything else in the agent's process, and there alone: workers have other arguments.
_BEFORE = """
import os, sys

if "run" in sys.orig_argv and any(word.endswith("edgewright-agent") for word in sys.orig_argv):
    where, at = os.environ.get("TEST_COUNT_STEPS"), int(os.environ.get("TEST_KILL_BEFORE", "0"))
    if where or at:
        import threading
        done, lock = [], threading.Lock()

        def wrapped(name, real):
            def step(*words, **named):
                with lock:
                    done.append(name)
                    if where:
                        with open(where, "a") as log:
                            print(name, words[0] if not isinstance(words[0], int) else "", file=log)
                    if len(done) == at:
                        os.kill(os.getpid(), 9)
                return real(*words, **named)
            return step

        for name in ("fsync", "rename", "replace", "unlink", "mkdir", "rmdir", "link"):
            setattr(os, name, wrapped(name, getattr(os, name)))

    if pause := os.environ.get("TEST_PAUSE_S"):
        from edgewright.device.poller import Poller
        Poller.next_pause_s = lambda self, failed: float(pause)

if year := os.environ.get("TEST_YEAR"):
    import calendar, datetime, time
    shift = calendar.timegm((int(year), 6, 1, 0, 0, 0)) - time.time()
    real_time, real_gmtime, real_localtime, real_strftime = time.time, time.gmtime, time.localtime, time.strftime
    time.time = lambda: real_time() + shift
    time.time_ns = lambda: int(time.time() * 1e9)
    time.gmtime = lambda seconds=None: real_gmtime(time.time() if seconds is None else seconds)
    time.localtime = lambda seconds=None: real_localtime(time.time() if seconds is None else seconds)
    time.strftime = lambda form, moment=None: real_strftime(form, time.localtime() if moment is None else moment)

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls):
            return cls.fromtimestamp(time.time(), datetime.timezone.utc).replace(tzinfo=None)

    datetime.datetime = Shifted
"""


class AgentProcess:
    """A device's folder and its agent.

    Args:
        folder: Holds ``agent.toml``, as `edgewright enrol` wrote it.
        settings: Beside `QUICK`, e.g. ``{"REGISTRY_URL": "http://127.0.0.1:9"}``.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.settings = folder, settings
        self.state_folder, self.log = folder / "state", folder / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """What its process finds."""
        foreign = ("MLFLOW_", "PREFECT_", "EDGEWRIGHT_", "PYTHONPATH")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        before = self.folder / "before"
        before.mkdir(exist_ok=True)
        (before / "sitecustomize.py").write_text(_BEFORE)
        own = {f"EDGEWRIGHT_AGENT_{name}": value for name, value in {**QUICK, **self.settings}.items()}
        return {**kept, **own, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(before), "no_proxy": "127.0.0.1"}

    def launch(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start the process and wait for nothing."""
        words = [BIN / "edgewright-agent", "run", "--config", self.folder / "agent.toml"]
        with self.log.open("a") as log:
            made = subprocess.Popen(words, env={**self.environment, **environment}, stdout=log, stderr=log)
        self.starts += 1
        return made

    def start(self, **environment: str) -> Self:
        """Start it; it listens when this returns."""
        self.process = self.launch(**environment)
        self.wait(lambda agent: agent.address is not None, "it does not listen")
        return self

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; gives its exit status."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(30)

    def wait(self, until: Callable[[Self], object], what: str = "in vain", most_s: float = ENDS_WITHIN_S) -> None:
        """Wait until something is so; the agent must not end meanwhile."""
        give_up_at = time.monotonic() + most_s
        while not until(self):
            assert self.process is None or self.process.poll() is None, f"it ended: {self.tail()}"
            assert time.monotonic() < give_up_at, f"{what}: {self.tail()}"
            time.sleep(0.03)

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-4000:] if self.log.exists() else "(no log)"

    @property
    def address(self) -> str | None:
        """Where the running process answers."""
        try:
            said = json.loads((self.state_folder / "agent.json").read_bytes())
        except (OSError, ValueError):
            return None
        assert self.process is not None
        return str(said["address"]) if said["pid"] == self.process.pid else None

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        return self._http("GET", "/status")[1]

    def ask(self) -> tuple[int, int | None]:
        """Ask what serves about one sample whose answer is known: the status, and the version that answered."""
        raw, truth = samples(1, seed=5)
        body = io.BytesIO()
        np.save(body, raw)
        status, answer = self._http("POST", "/v1/answers", body.getvalue())
        if status != 200:
            return status, None
        assert answer["answers"][0]["label_index"] == truth[0]
        return status, answer["release"]["version"]

    def ask_white(self) -> int:
        """Ask about a white image, on which some models turn bad; gives the status."""
        body = io.BytesIO()
        np.save(body, WHITE)
        return self._http("POST", "/v1/answers", body.getvalue())[0]

    def serves(self, sha256: str) -> bool:
        """Whether a bundle was committed and answers."""
        said = self.status()
        serving = said.get("serves")
        return bool(serving) and serving["release"]["bundle_sha256"] == sha256 and said["trial"] is None

    def wait_serving(self, sha256: str) -> None:
        """Wait until a bundle was committed and answers."""
        self.wait(lambda agent: agent.serves(sha256), f"{sha256[:12]} does not serve")

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """What the log tells of these kinds."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [each for each in found if each.get("event") in kinds]

    @property
    def state(self) -> AgentState:
        """What stands on its disk."""
        return StateFile(self.state_folder).read()[0]

    @property
    def is_whole(self) -> bool:
        """Whether what the state calls active is there byte by byte; the factory bundle counts as that."""
        state = self.state
        held, place = state.held(state.active), state.active
        if held is None or place is None or place == "factory":
            return place == "factory"
        return Slots(self.state_folder, None).is_intact(place, held)

    def rss_mib(self, peak: bool = False) -> float:
        """Resident memory of the agent's own process, MiB; its peak where asked."""
        assert self.process is not None
        name = "VmHWM" if peak else "VmRSS"
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024

    def _http(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
        assert self.address is not None, self.tail()
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(self.address).port or 0, timeout=20)
        try:
            connection.request(method, path, body, {"Content-Type": "application/x-npy"} if body else {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()
