"""A workshop that signs, and devices that believe python-tuf alone: its own client judges what was published."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from edgewright.bundle_file import BundleFile
from edgewright.pipeline.object_store import FolderStore
from edgewright.pipeline.signing.keyring import Keyring
from edgewright.pipeline.signing.passphrases import Passphrases
from edgewright.pipeline.signing.repository import Repository
from edgewright.signed_release import SignedRelease, custom_files, release_from_signed

SECRETS = {
    "EDGEWRIGHT_KEYS_PASSPHRASE": "online passphrase, made up",
    "EDGEWRIGHT_OFFLINE_PASSPHRASE": "offline passphrase, made up",
}
ROLE = "digits.linux-x86"


@dataclass
class Clock:
    """A time that only tests move."""

    at: datetime

    def __call__(self) -> datetime:
        return self.at

    def pass_days(self, days: float) -> None:
        """Let days go by."""
        self.at += timedelta(days=days)


def clock() -> Clock:
    """A clock that shows now."""
    return Clock(datetime.now(UTC).replace(microsecond=0))


def repository(home: Path, offline: Path | None = None, now: Clock | None = None) -> Repository:
    """The repository of a workspace with its keys; the offline ones too where their folder is given."""
    keyring = Keyring(home / "keys", offline, Passphrases(home / "keys", SECRETS))
    return Repository(FolderStore(home / "shared"), keyring, now or clock())


class Mirror(FetcherInterface):
    """Published files as a device reaches them, in a folder, by the address that the client asks for."""

    ADDRESS = "http://registry.invalid/"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(self.ADDRESS)
        self.asked.append(name)
        if not (self.folder / name).is_file():
            raise DownloadHTTPError("none", 404)
        return iter([(self.folder / name).read_bytes()])


class Device:
    """A device that trusts one root and keeps what it saw.

    Args:
        folder: Where it keeps metadata; made with a copy of what another device keeps, where one is given.
        mirror: Folder of the published files.
        root: The root that it was enrolled with.
        like: The other device's folder.
    """

    def __init__(self, folder: Path, mirror: Path, root: bytes, like: Path | None = None) -> None:
        self.folder, self._root = folder, root
        self.mirror = Mirror(mirror)
        self.seen: dict[str, int] = {}
        if like is None:
            folder.mkdir(parents=True)
        else:
            shutil.copytree(like, folder, symlinks=True)

    def check(self, name: str = ROLE) -> SignedRelease | None:
        """Ask what to run; raises python-tuf's errors. ``seen`` has the versions of the top roles afterwards."""
        config = UpdaterConfig(prefix_targets_with_hash=False)
        updater = Updater(str(self.folder), Mirror.ADDRESS, fetcher=self.mirror, config=config, bootstrap=self._root)
        updater.refresh()
        trusted: Any = updater._trusted_set
        self.seen = {role: trusted[role].version for role in ("root", "timestamp", "snapshot", "targets")}
        manifest = updater.get_targetinfo(f"{name}/manifest.json")
        if manifest is None:
            return None
        files = []
        for file in custom_files(manifest.custom):
            target = updater.get_targetinfo(f"{name}/{file}")
            assert target is not None
            files.append(BundleFile(file, target.hashes["sha256"], target.length))
        return release_from_signed(manifest.custom, files)

    def version(self, name: str = ROLE) -> int | None:
        """Number of the version to run; None for none."""
        release = self.check(name)
        return None if release is None else release.version
