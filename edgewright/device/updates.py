"""Asks the registry what this device shall run, and believes signed metadata alone.

python-tuf verifies; this module adds what it leaves open: floors that survive a damaged cache, a time that the device's
clock cannot spoil, flushed files, bounds on the line, and a cache that heals.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from edgewright.bundle_file import MANIFEST_NAME, BundleFile, sha256_hex
from edgewright.device.agent_config import AgentConfig
from edgewright.device.clock import TrustedClock
from edgewright.device.floors import (
    RefusedUpdateError,
    Seen,
    keys_digest,
    parse_signed_at,
    raise_floors,
    raise_time,
    signed_at_floor,
)
from edgewright.device.registry_client import RegistryClient, TransferError
from edgewright.device.state_holder import StateHolder, disk_errors
from edgewright.durable import make_folder, remove_leftovers, remove_tree, replace_file
from edgewright.errors import EnrolmentError, IntegrityError
from edgewright.signed_release import (
    REPOSITORY,
    SIGNED_AT,
    SignedRelease,
    custom_files,
    release_from_signed,
    role_name,
)

# python-tuf's signers import boto3 where it is installed, for keys in a cloud: 9 MiB that no device needs.
_BOTO3 = sys.modules.setdefault("boto3", None)  # type: ignore[arg-type]
try:
    from tuf.api import exceptions
    from tuf.api.metadata import Metadata, Root, Signed, TargetFile, Targets
    from tuf.ngclient import Updater, UpdaterConfig

    from edgewright.device.fetcher import (
        ROOT_MAX_BYTES,
        SNAPSHOT_MAX_BYTES,
        TARGETS_MAX_BYTES,
        TIMESTAMP_MAX_BYTES,
        MetadataFetcher,
    )
finally:
    if _BOTO3 is None:
        del sys.modules["boto3"]

_FOLDER, _TIMESTAMP = "metadata", "timestamp.json"
_LIMITS = UpdaterConfig(
    max_root_rotations=256,
    max_delegations=4,  # targets, then the device's own role: nothing else can name its files
    root_max_length=ROOT_MAX_BYTES,
    timestamp_max_length=TIMESTAMP_MAX_BYTES,
    snapshot_max_length=SNAPSHOT_MAX_BYTES,
    targets_max_length=TARGETS_MAX_BYTES,
)


class UpdateClient:
    """Asks one registry for one device.

    Attributes:
        received_bytes: What the last check received, headers too.
        sent_bytes: What it sent.
    """

    def __init__(
        self,
        config: AgentConfig,
        holder: StateHolder,
        clock: TrustedClock,
        trusted_root: bytes,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            config: Whose releases, from where, within which bounds.
            holder: Keeps the floors.
            clock: Says when metadata has expired.
            trusted_root: The root metadata that the device was enrolled with.
            should_stop: Asked while waiting for the registry.

        Raises:
            EnrolmentError: The root is damaged, or not signed by its own keys.
            RegistryError: The registry's address is not one.
        """
        self.received_bytes = self.sent_bytes = 0
        self._model, self._target = config.device.model, config.device.target
        self._role = role_name(self._model, self._target)
        self._holder, self._clock, self._root = holder, clock, trusted_root
        self._folder = config.state / _FOLDER
        self._root_signed_at_s = _check_root(trusted_root, config.root)
        registry = config.registry
        self._line = (registry.url, registry.timeout_s, registry.minimum_bytes_per_s, should_stop)
        self._client = RegistryClient(*self._line)
        with disk_errors(self._folder):
            make_folder(self._folder)
            remove_leftovers(self._folder)

    def check(self) -> SignedRelease | None:
        """Ask once: at most two requests when nothing is new.

        Returns:
            The release that this device shall run; None when none was signed for it.

        Raises:
            TransferError: The registry cannot be reached, or has no signed metadata.
            RefusedUpdateError: A TrustError: the metadata is forged, replayed, contradictory, or has expired.
            TransferStoppedError: This process shall stop.
            DiskFullError: There is no room for the metadata or the state.
            AgentStateError: They cannot be written for another reason.
        """
        self._client = RegistryClient(*self._line)
        try:
            with disk_errors(self._folder):
                return self._check()
        finally:
            self.received_bytes, self.sent_bytes = self._client.received_bytes, self._client.sent_bytes

    def _check(self) -> SignedRelease | None:
        """Ask; what is refused because of the cache alone is fetched anew. The floors do not stand in the cache."""
        with _refusals(self._clock):
            try:
                return self._ask()
            except exceptions.ExpiredMetadataError:
                raise
            except exceptions.RepositoryError:
                if not self._forget_cache():
                    raise
            except (exceptions.DownloadLengthMismatchError, exceptions.DownloadHTTPError):
                # What is cached may promise files that a thief of keys had put there: another length, or gone by now.
                if not (self._folder / _TIMESTAMP).exists() or not self._forget_cache():
                    raise
            return self._ask()

    def _ask(self) -> SignedRelease | None:
        updater = _Updater(self._folder, MetadataFetcher(self._client), self._root, self._begin)
        updater.refresh()
        manifest = updater.get_targetinfo(f"{self._role}/{MANIFEST_NAME}")
        seen, signed_at = updater.seen(self._role)
        timestamp_keys = seen[0].keys
        self._holder.change(
            # The time first: whether it begins anew depends on the floors before.
            lambda state: raise_floors(raise_time(state, signed_at.timestamp(), timestamp_keys), seen)
        )
        return None if manifest is None else self._release(updater)

    def _begin(self, root: Root) -> datetime:
        """Settle the root before anything else is believed: its floor, and the time to judge the rest by."""
        # Nobody is above the root but the owner: its floor holds until the device is enrolled with another one.
        seen = Seen("root", root.version, sha256_hex(self._root))
        self._holder.change(lambda state: raise_floors(state, [seen]))
        signed_at = root.unrecognized_fields.get(SIGNED_AT)
        root_s = self._root_signed_at_s if signed_at is None else parse_signed_at(signed_at).timestamp()
        floor_s = signed_at_floor(self._holder.state, keys_digest(root.roles["timestamp"].keyids))
        return self._clock.now(max(root_s, floor_s))

    def _release(self, updater: _Updater) -> SignedRelease:
        try:
            custom = updater.own_target(self._role, MANIFEST_NAME).custom
            files = [self._promise(updater, name) for name in custom_files(custom)]
            release = release_from_signed(custom, files)
        except IntegrityError as cause:
            raise RefusedUpdateError(str(cause)) from cause
        if (release.model, release.target) != (self._model, self._target):
            raise RefusedUpdateError(
                f"the signed release is {release.model} for {release.target}, "
                f"this device runs {self._model} for {self._target}."
            )
        return release

    def _promise(self, updater: _Updater, name: str) -> BundleFile:
        target = updater.own_target(self._role, name)
        return BundleFile(name, target.hashes.get("sha256", ""), target.length)

    def _forget_cache(self) -> bool:
        """Delete what was cached; false when there was nothing."""
        inner = list(self._folder.iterdir())
        for path in inner:
            remove_tree(path)
        return bool(inner)


class _Updater(Updater):
    """python-tuf's client, of the pinned version: these methods of its are private."""

    def __init__(self, folder: Path, fetcher: MetadataFetcher, root: bytes, begin: Callable[[Root], datetime]) -> None:
        self._begin = begin
        super().__init__(str(folder), REPOSITORY, fetcher=fetcher, config=_LIMITS, bootstrap=root)

    def _load_root(self) -> None:
        super()._load_root()
        # python-tuf takes the device's clock and offers no way to give it another time.
        self._trusted_set.reference_time = self._begin(self._trusted_set.root)

    def _persist_file(self, filename: str, data: bytes) -> None:
        """Write durably, and only what is new: python-tuf writes the root at every start and flushes nothing."""
        path = Path(filename)
        if not path.is_file() or path.read_bytes() != data:
            if path.is_dir():
                remove_tree(path)
            replace_file(path, data)

    def _update_root_symlink(self) -> None:
        """Leave it out: the link is read only where no root is given."""

    def seen(self, role: str) -> tuple[list[Seen], datetime]:
        """Give what was verified, the timestamp first, and when that was signed.

        Raises:
            RefusedUpdateError: It was signed at no time, or at one when something had expired already.
        """
        trusted = self._trusted_set
        root, timestamp, targets = trusted.root, trusted.timestamp, trusted.targets
        parts: dict[str, Signed] = {"timestamp": timestamp, "snapshot": trusted.snapshot, "targets": targets}
        seen = [Seen(name, part.version, keys_digest(root.roles[name].keyids)) for name, part in parts.items()]
        own, delegated = self._own(role), targets.delegations.roles if targets.delegations else None
        if own is not None and delegated is not None:
            seen.append(Seen(role, own.version, keys_digest(delegated[role].keyids)))
            parts[role] = own
        signed_at = parse_signed_at(timestamp.unrecognized_fields.get(SIGNED_AT))
        for name, part in {"root": root, **parts}.items():
            # Or a thief of the timestamp's key could send devices' time beyond everything that is signed.
            if part.is_expired(signed_at):
                raise RefusedUpdateError(f"the timestamp says it was signed at {signed_at}, when {name} had expired.")
        return seen, signed_at

    def own_target(self, role: str, file: str) -> TargetFile:
        """Give what a device's own role says about a file.

        Raises:
            RefusedUpdateError: It says nothing, or another role names the file before it.
        """
        path, own = f"{role}/{file}", self._own(role)
        target = self.get_targetinfo(path)
        if target is None or own is None or own.targets.get(path) is not target:
            raise RefusedUpdateError(f"the signed metadata has no {path} in the role {role}, which alone may name it.")
        return target

    def _own(self, role: str) -> Targets | None:
        trusted = self._trusted_set
        found = trusted[role] if trusted.contains(role, Targets.type) else None
        return found if isinstance(found, Targets) else None


@contextmanager
def _refusals(clock: TrustedClock) -> Iterator[None]:
    """Turn python-tuf's exceptions into this program's."""
    try:
        yield
    except exceptions.ExpiredMetadataError as cause:
        hint = f" {clock.alarm}" if clock.alarm else ""
        raise RefusedUpdateError(
            f"the signed metadata has expired ({cause}): nothing is installed until the workshop signs anew. "
            f"What serves goes on.{hint}",
            expired=True,
        ) from cause
    except (exceptions.RepositoryError, exceptions.DownloadLengthMismatchError) as cause:
        raise RefusedUpdateError(f"the registry's signed metadata is refused: {cause}.") from cause
    except exceptions.DownloadError as cause:
        raise TransferError(f"the registry has no signed metadata to offer: {cause}") from cause


def _check_root(data: bytes, path: Path) -> float:
    """Prove a trusted root by itself; give when it was signed, seconds since 1970, or 0 when it does not say.

    Raises:
        EnrolmentError: It is damaged.
    """
    try:
        metadata = Metadata[Root].from_bytes(data)
        if not isinstance(metadata.signed, Root):
            raise exceptions.RepositoryError(f"it is {metadata.signed.type} metadata")
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
        signed_at = metadata.signed.unrecognized_fields.get(SIGNED_AT)
        return 0.0 if signed_at is None else parse_signed_at(signed_at).timestamp()
    except (exceptions.RepositoryError, RefusedUpdateError) as cause:
        raise EnrolmentError(f"{path} is no trusted root ({cause}): enrol this device again.") from cause
