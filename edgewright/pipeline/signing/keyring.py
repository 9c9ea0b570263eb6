"""Private keys as files: Ed25519, PKCS #8 in PEM, encrypted, readable by their owner alone.

A file's name holds the key's name and the beginning of its id, so that a new key never takes an old one's place:
until the metadata that names it is committed, a new key is a file that means nothing. Keys that stay online, and
development keys, lie in ``$EDGEWRIGHT_KEYS`` (default ``keys`` in the workspace); offline ones in a folder that a
person names, e.g. on a USB stick.

The encryption is what the ``cryptography`` package calls its best for this format, AES-256 under PBKDF2 with few
rounds: it rests on a passphrase that cannot be guessed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from edgewright.errors import KeyringError
from edgewright.pipeline.signing.passphrases import Ask, Passphrases, write_private
from edgewright.pipeline.signing.roles import Kept, describe_key, kept_of, key_name
from edgewright.pipeline.workspace import Workspace

FOLDER = "EDGEWRIGHT_KEYS"
_ID_CHARACTERS = 12


class Keyring:
    """The private keys that this process can reach.

    Args:
        online: Folder of online and development keys.
        offline: Folder of the offline keys; None where a process must not touch them.
        passphrases: What unlocks them.
    """

    def __init__(self, online: Path, offline: Path | None, passphrases: Passphrases) -> None:
        self.online, self.offline = online, offline
        self.passphrases = passphrases
        self._signers: dict[str, CryptoSigner] = {}

    def make(self, name: str, kept: Kept, beside: Iterable[Key] = ()) -> SSlibKey:
        """Make a key and write it to its folder; it means nothing until signed metadata names it.

        Args:
            name: Its name.
            kept: Where it is kept.
            beside: The keys that go on beside it; online ones must open with the passphrase that the new one gets.

        Raises:
            KeyringError: There is no folder, or no good passphrase, for such keys, or the file cannot be written; nothing
                was written then.
        """
        if kept == "online":
            self._check_one_passphrase(name, beside)
        private = Ed25519PrivateKey.generate()
        public = SSlibKey.from_crypto(private.public_key())
        describe_key(public, name, kept)
        signer = CryptoSigner(private, public)
        content = private.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(self.passphrases.get(kept, new=True))
        )
        write_private(self._folder(kept) / _file_name(public), content)
        self._signers[public.keyid] = signer
        return public

    def find(self, key: Key) -> Path | None:
        """Say where a key's private half lies on this machine; None where it is elsewhere."""
        for folder in (self.online, self.offline):
            if folder is not None and (path := folder / _file_name(key)).is_file():
                return path
        return None

    def holds(self, key: Key) -> bool:
        """Say whether this process can reach a key's private half."""
        return self.find(key) is not None

    def signer(self, key: Key) -> CryptoSigner:
        """Unlock a key.

        Raises:
            KeyringError: It is not here, its passphrase is wrong, or the file is another key's or damaged.
        """
        if key.keyid not in self._signers:
            self._signers[key.keyid] = self._unlock(key)
        return self._signers[key.keyid]

    def forget(self, key: Key) -> Path | None:
        """Delete a key's file where it lies here; returns where it lay."""
        self._signers.pop(key.keyid, None)
        path = self.find(key)
        if path is not None:
            path.unlink()
        return path

    def unnamed(self, keyids: Iterable[str]) -> tuple[Path, ...]:
        """Give the key files here that are none of the given keys': exchanged ones, and ones that a kill left unused."""
        ends = tuple(f"-{keyid[:_ID_CHARACTERS]}.pem" for keyid in keyids)
        files = [path for folder in (self.online, self.offline) if folder is not None for path in folder.glob("*.pem")]
        return tuple(sorted(path for path in files if not path.name.endswith(ends)))

    def _check_one_passphrase(self, name: str, beside: Iterable[Key]) -> None:
        """Refuse a passphrase that does not open the online keys that lie here: what runs by itself knows only one."""
        for key in beside:
            if kept_of(key) == "online" and self.holds(key):
                try:
                    self.signer(key)
                except KeyringError as cause:
                    raise KeyringError(
                        f"no new key of {name} was made: all online keys have one passphrase, and that of {key_name(key)} is "
                        f"another than the new one's. {cause} Where it is lost, move {self.find(key)} away; every key "
                        "that is gone is exchanged by `edgewright keys rotate NAME`, the timestamp's first."
                    ) from cause

    def _unlock(self, key: Key) -> CryptoSigner:
        kept, path = kept_of(key), self.find(key)
        if path is None:
            places = " and ".join(str(folder) for folder in (self.online, self.offline) if folder is not None)
            raise KeyringError(
                f"the private key of {key_name(key)} ({key.keyid[:_ID_CHARACTERS]}, {kept}) is not in {places}: "
                f"{'name the folder of the offline keys' if kept == 'offline' else f'set {FOLDER} to its folder'}."
            )
        passphrase = self.passphrases.get(kept)
        try:
            private = load_pem_private_key(path.read_bytes(), passphrase)
        except OSError as cause:
            raise KeyringError(f"{path} cannot be read: {cause.strerror}.") from cause
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # Its text is of no use: it cannot tell a wrong passphrase from a damaged file either.
            raise KeyringError(
                f"{path} does not open: the passphrase from {self.passphrases.source(kept)} is wrong, or the file is damaged."
            ) from None
        if not isinstance(private, Ed25519PrivateKey) or SSlibKey.from_crypto(private.public_key()).keyid != key.keyid:
            raise KeyringError(f"{path} is not the key that the signed metadata names: bring the right file.")
        assert isinstance(key, SSlibKey)
        return CryptoSigner(private, key)

    def _folder(self, kept: Kept) -> Path:
        if kept != "offline":
            return self.online
        if self.offline is None:
            raise KeyringError(
                "an offline key needs its folder: name it, e.g. the mount of a USB stick (--offline DIR)."
            )
        return self.offline


def open_keyring(workspace: Workspace, offline: Path | None = None, ask: Ask | None = None) -> Keyring:
    """Open the keyring of a workspace.

    Args:
        workspace: Whose keys they are; see `online_folder`.
        offline: Folder of the offline keys; None for whatever runs without a person.
        ask: Asks a person for a passphrase; None where nobody is there.
    """
    online = online_folder(workspace)
    return Keyring(online, offline, Passphrases(online, ask=ask))


def online_folder(workspace: Workspace) -> Path:
    """Say where online and development keys lie: ``$EDGEWRIGHT_KEYS``, else the folder ``keys`` of the workspace."""
    return Path(os.environ.get(FOLDER) or workspace.home / "keys")


def _file_name(key: Key) -> str:
    return f"{key_name(key)}-{key.keyid[:_ID_CHARACTERS]}.pem"
