"""An agent without workers, on a registry without a line: it installs, and believes each trial."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from edgewright.device import installer as installer_module
from edgewright.device.agent_config import AgentConfig, DeviceSection, RegistrySection
from edgewright.device.agent_state import AgentState
from edgewright.device.installer import Installer
from edgewright.device.registry_client import Answer, RegistryClient
from edgewright.device.slots import Slots
from edgewright.device.state_holder import StateHolder
from edgewright.signed_release import SignedRelease
from tuf_repository import MODEL, TARGET


class FolderClient(RegistryClient):
    """Artifacts come straight from the store's folder."""

    store: Path

    @contextmanager
    def open_artifact(self, path: str, start: int = 0, most_bytes: int | None = None) -> Iterator[Answer]:
        stream: Any = BytesIO((self.store / path).read_bytes()[start:])
        yield Answer(start, stream)


def folder_registry(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    """Let installers read from a store's folder."""
    monkeypatch.setattr(installer_module, "RegistryClient", type("Client", (FolderClient,), {"store": store}))


class Device:
    """A folder's agent, freshly started."""

    def __init__(self, folder: Path) -> None:
        device = DeviceSection("d", MODEL, TARGET, str(folder / "state"))
        self.config = AgentConfig(device, RegistrySection(url="http://127.0.0.1:9"), folder=folder)
        self.holder = StateHolder(self.config.state)
        self.slots = Slots(self.config.state, None)
        self.slots.prepare()
        self.installer = Installer(self.config, self.holder, self.slots)

    @property
    def state(self) -> AgentState:
        """What it remembers."""
        return self.holder.state

    @property
    def serving(self) -> SignedRelease | None:
        """What it runs."""
        held = self.state.held(self.state.active)
        return None if held is None else held.release

    def bring(self, release: SignedRelease) -> None:
        """Install, prove, commit: what is left of it."""
        self.installer.install(release)
        if self.state.trial is not None:
            self.holder.change(AgentState.with_trial_start)
            self.holder.change(AgentState.committed)
