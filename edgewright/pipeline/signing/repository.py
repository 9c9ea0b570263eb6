"""The workshop's repository of signed metadata: reading it, and letting a new generation follow, one signer at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from edgewright.pipeline.lease import Lease, hold_lease
from edgewright.pipeline.object_store import ObjectStore
from edgewright.pipeline.signing.draft import Draft
from edgewright.pipeline.signing.generation import Generation, read_generation, verify
from edgewright.pipeline.signing.keyring import Keyring, open_keyring
from edgewright.pipeline.signing.own_copy import OwnCopy
from edgewright.pipeline.signing.passphrases import Ask
from edgewright.pipeline.workspace import Workspace

LEASE = "updates"
_WAIT_S = 120.0

Now = Callable[[], datetime]


def utc_now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


class Repository:
    """Signed metadata, and the keys that this process can reach.

    Args:
        shared: The store that all machines of the workshop see.
        keyring: The keys.
        now: The time, UTC.
    """

    def __init__(self, shared: ObjectStore, keyring: Keyring, now: Now = utc_now) -> None:
        self.shared, self.keyring, self.now = shared, keyring, now
        self.copy = OwnCopy(shared)

    def read(self) -> Generation | None:
        """Read and verify the own copy; None before anything was signed.

        Raises:
            TrustError: It is damaged.
        """
        return read_generation(self.copy)

    @contextmanager
    def locked(self, holder: str, on_wait: Callable[[str], None] | None = None) -> Iterator[Lease]:
        """Keep other signers off while the block runs: all models share snapshot and timestamp.

        Raises:
            LeaseHeldError: Another one still signs after two minutes.
        """
        with hold_lease(self.shared, LEASE, holder=holder, wait_s=_WAIT_S, on_wait=on_wait) as lease:
            self.copy.finish()
            yield lease

    def draft(self, before: Generation | None) -> Draft:
        """Begin the generation after one."""
        return Draft(before, self.keyring, self.now())

    def commit(self, draft: Draft, before: Generation | None, lease: Lease) -> Generation:
        """Sign a draft, verify it as a device would, and let it count.

        Raises:
            KeyringError: A key is missing or does not open; nothing has changed.
            SharedStoreError: Another generation was committed meanwhile; nothing has changed.
            LeaseLostError: Somebody else signs by now; nothing has changed.
        """
        files = draft.sign()
        old = {} if before is None else before.files
        made = verify(lambda name: files.get(name) or old.get(name), "what was just signed")
        assert made is not None
        lease.check()
        self.copy.commit(files, old.get("timestamp.json"))
        return made


def open_repository(workspace: Workspace, offline: Path | None = None, ask: Ask | None = None) -> Repository:
    """Open the repository of a workspace.

    Args:
        workspace: Where it is.
        offline: Folder of the offline keys; None for whatever runs without a person.
        ask: Asks a person for a passphrase; None where nobody is there.
    """
    return Repository(workspace.shared, open_keyring(workspace, offline, ask))
