"""Brings a signed release into the slot that does not serve, and puts it on trial.

The order is what makes it safe: download beside the slots; the state calls the slot empty; the slot is filled, flushed;
one change of the state names its contents and begins the trial. Whatever interrupts that, what serves is untouched.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import edgewright
from edgewright.bundle_file import MANIFEST_MAX_BYTES, MANIFEST_NAME, sha256_hex
from edgewright.device.agent_config import AgentConfig
from edgewright.device.agent_state import AgentState, Held
from edgewright.device.download import Traffic, check_room, download_file
from edgewright.device.registry_client import RegistryClient
from edgewright.device.slots import Slots
from edgewright.device.state_holder import DISK_FULL, StateHolder, disk_errors
from edgewright.device.utc_time import utc_now
from edgewright.errors import DiskFullError
from edgewright.signed_release import SignedRelease

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class Installer:
    """Installs one release at a time.

    Attributes:
        note: Why the last release was not installed, when that is no error; None otherwise.
        traffic: What all installations cost.
    """

    def __init__(
        self, config: AgentConfig, holder: StateHolder, slots: Slots, should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Prepare.

        Args:
            config: The registry's address, and how slow it may be.
            holder: The state.
            slots: The places.
            should_stop: Asked during a download, which ends with TransferStoppedError when true.
        """
        self.note: str | None = None
        self.traffic = Traffic()
        self._config, self._holder, self._slots, self._should_stop = config, holder, slots, should_stop

    def install(self, release: SignedRelease) -> bool:
        """Install a release and put it on trial.

        Returns:
            False when there is nothing to do: ``note`` says why.

        Raises:
            TransferError: The registry cannot be reached or is too slow; what came is kept, and the next call goes on.
            TransferStoppedError: This process shall stop; the same.
            IntegrityError: The registry has other bytes than were signed.
            DiskFullError: There is no room; what came is deleted.
            AgentStateError: The disk refuses.
        """
        self.note = self._objection(release)
        if self.note is not None:
            return False
        with disk_errors(self._config.state):
            if not self._reinstate(release):
                try:
                    self._download(release)
                    self._place(release)
                except (OSError, DiskFullError) as cause:
                    if isinstance(cause, DiskFullError) or cause.errno in DISK_FULL:
                        self._slots.discard_staged(release.bundle_sha256)  # the disk must not stay full because of it
                    raise
        return True

    def _objection(self, release: SignedRelease) -> str | None:
        state, sha256 = self._holder.state, release.bundle_sha256
        active = state.held(state.active)
        if (active is not None and active.release.bundle_sha256 == sha256) or self._factory_is(state, sha256):
            return f"release {release.version} serves already."
        if state.trial is not None:
            tried = state.slots[state.trial.slot]
            version = "one" if tried is None else str(tried.release.version)
            return f"release {version} is on trial: release {release.version} waits for its end."
        if state.is_refused(sha256):
            return f"release {release.version} misbehaved here before: the same bytes are not installed again."
        if _numbers(release.minimum_agent) > _numbers(edgewright.__version__):
            return (
                f"release {release.version} needs the agent {release.minimum_agent}, "
                f"this is {edgewright.__version__}: update the agent."
            )
        return None

    def _factory_is(self, state: AgentState, sha256: str) -> bool:
        """Say whether the factory bundle serves and is that one."""
        if state.active != "factory" or self._slots.factory is None:
            return False
        manifest = self._slots.factory / MANIFEST_NAME
        return (
            manifest.is_file()
            and manifest.stat().st_size <= MANIFEST_MAX_BYTES
            and sha256_hex(manifest.read_bytes()) == sha256
        )

    def _reinstate(self, release: SignedRelease) -> bool:
        """Put the bundle that served before on trial again, when that is what was signed: it needs no download."""
        slot = self._holder.state.free_slot
        held = self._holder.state.slots[slot]
        if held is None or held.release.bundle_sha256 != release.bundle_sha256:
            return False
        again = Held(release, utc_now())
        try:
            if not self._slots.is_intact(slot, again):
                return False
        except OSError:
            return False  # what cannot be read here may come over the line
        self._holder.change(lambda state: state.with_slot(slot, again).with_trial(slot))
        return True

    def _download(self, release: SignedRelease) -> None:
        slot = self._holder.state.free_slot
        if self._holder.state.slots[slot] is None:
            self._slots.empty(slot)  # what an interrupted installation left there takes room
        folder = self._slots.staging(release.bundle_sha256)
        check_room(self._config.state, 2 * release.size_bytes - self._slots.staged_bytes())
        registry = self._config.registry
        client = RegistryClient(registry.url, registry.timeout_s, registry.minimum_bytes_per_s, self._should_stop)
        wanted = {file.name for file in release.files}
        for path in list(folder.iterdir()):
            if path.name.removesuffix(".part") not in wanted:
                path.unlink()
        for file in release.files:
            download_file(client, f"{release.source}/{file.name}", file, folder, self.traffic)

    def _place(self, release: SignedRelease) -> None:
        slot = self._holder.state.free_slot
        self._holder.change(lambda state: state.with_slot(slot, None))
        self._slots.fill(slot, release.bundle_sha256, release.files)
        try:
            self._holder.change(lambda state: state.with_slot(slot, Held(release, utc_now())).with_trial(slot))
        except DiskFullError:
            if self._holder.state.slots[slot] is None:
                self._slots.empty(slot)
            raise


def _numbers(version: str) -> tuple[int, ...]:
    found = _VERSION.match(version)
    return tuple(int(each) for each in found.groups()) if found else ()
