"""The thread that asks for releases and installs them. Nothing that happens to it touches what serves."""

from __future__ import annotations

import random
import re
import threading
import time
from typing import Any

from edgewright.device.agent_config import AgentConfig
from edgewright.device.clock import TrustedClock
from edgewright.device.events import Events
from edgewright.device.installer import Installer
from edgewright.device.poller import Poller
from edgewright.device.registry_client import TransferError, TransferStoppedError
from edgewright.device.slots import Slots
from edgewright.device.state_holder import StateHolder
from edgewright.device.updates import UpdateClient
from edgewright.device.utc_time import utc_now
from edgewright.errors import EdgewrightError, EnrolmentError, TrustError
from edgewright.signed_release import SignedRelease

_ROOT_MAX_BYTES = 1 << 18
_FIGURES = re.compile(r"\d+")


class Updating:
    """Asks the registry now and then, with pauses that differ from device to device."""

    def __init__(self, config: AgentConfig, holder: StateHolder, slots: Slots, events: Events) -> None:
        """Prepare.

        Raises:
            EnrolmentError: There is no usable root of trust.
            RegistryError: The registry's address is none.
        """
        self._config, self._events = config, events
        self._stop = threading.Event()
        self._clock = TrustedClock(holder, config.registry)
        self._client = UpdateClient(config, holder, self._clock, read_root(config), self._stop.is_set)
        self._installer = Installer(config, holder, slots, self._stop.is_set)
        self._poller = Poller(config.registry, random.Random())
        self._thread = threading.Thread(target=self._run, name="updates", daemon=True)
        self._told: dict[str, str] = {}
        self._counted_bytes = 0
        self._known: dict[str, Any] = {"registry": config.registry.url, "contact_at": None, "error": None, "note": None}
        self._next_at = time.monotonic()

    def start(self) -> None:
        """Begin to ask, at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End; a download stops where it is and goes on with the next start."""
        self._stop.set()
        self._thread.join(timeout_s)

    def ask_once(self) -> bool:
        """Ask and install what is new; says whether the registry could be asked. Raises nothing that is expected."""
        release: SignedRelease | None = None
        error: EdgewrightError | None = None
        self._events.count("polls")
        try:
            release = self._check()
            self._known["contact_at"] = utc_now()
            self._known["offered"] = self._said(release)
            if release is not None and self._installer.install(release):
                self._events.count("installs")
                self._events.event(
                    "installed",
                    version=release.version,
                    bundle_sha256=release.bundle_sha256,
                    reason="signed for this device, and now on trial",
                )
            self._known["note"] = self._installer.note if release is not None else None
        except TransferStoppedError:
            return True  # this process shall end: what came is kept
        except TransferError as cause:
            error = cause
            self._events.count("polls_failed")
            self._tell("offline", "offline", str(cause))
        except TrustError as cause:
            error = cause
            self._events.count("metadata_refused")
            self._tell("update_refused", "update_refused", str(cause))
        except EdgewrightError as cause:  # a full disk, other bytes than were signed: the next question may go better
            error = cause
            self._events.count("installs_failed")
            self._tell("alarm", "update_failed", str(cause), about="update")
        self._known["error"] = None if error is None else str(error)
        self._count_traffic()
        self._watch_clock()
        if error is None:
            for kind in ("offline", "update_refused", "update_failed", "update_defect"):
                self._told.pop(kind, None)
        return error is None

    def describe(self) -> dict[str, Any]:
        """Say how asking goes, for the status."""
        left_s = round(max(0.0, self._next_at - time.monotonic()), 1)
        return {**self._known, "clock": self._clock.alarm, "next_s": left_s}

    def _run(self) -> None:
        while not self._stop.is_set():
            pause_s = self._poller.next_pause_s(failed=not self._asked_well())
            self._next_at = time.monotonic() + pause_s
            self._stop.wait(pause_s)

    def _asked_well(self) -> bool:
        try:
            return self.ask_once()
        except Exception as error:  # a defect here must not end all later updates, the remedy among them
            self._known["error"] = f"{type(error).__name__}: {error}"
            self._tell("alarm", "update_defect", self._known["error"], about="update")
            return False

    def _check(self) -> SignedRelease | None:
        try:
            return self._client.check()
        finally:
            self._events.count("poll_bytes", self._client.received_bytes + self._client.sent_bytes)

    def _said(self, release: SignedRelease | None) -> str:
        return (
            "nothing is signed for this device" if release is None else f"version {release.version} ({release.variant})"
        )

    def _count_traffic(self) -> None:
        total = self._installer.traffic.downloaded_bytes
        self._events.count("download_bytes", total - self._counted_bytes)
        self._counted_bytes = total

    def _watch_clock(self) -> None:
        if (alarm := self._clock.alarm) is not None:
            self._tell("alarm", "clock", alarm, about="clock")
        else:
            self._told.pop("clock", None)

    def _tell(self, kind: str, key: str, reason: str, **facts: str) -> None:
        """Tell a trouble once, until it is another one or over: a week offline is one line, not two thousand.

        Figures alone make no other one: a wrong clock says another time with each question.
        """
        trouble = _FIGURES.sub("0", reason)
        if self._told.get(key) != trouble:
            self._told[key] = trouble
            self._events.event(kind, reason=reason, **facts)


def read_root(config: AgentConfig) -> bytes:
    """Read the root of trust that the device was enrolled with.

    Raises:
        EnrolmentError: There is none.
    """
    try:
        with config.root.open("rb") as stream:
            return stream.read(_ROOT_MAX_BYTES)
    except OSError as cause:
        raise EnrolmentError(
            f"{config.root} cannot be read ({cause.strerror}): it is the root of trust that `edgewright enrol` writes. "
            "Enrol this device, or name the file in device.root."
        ) from cause
