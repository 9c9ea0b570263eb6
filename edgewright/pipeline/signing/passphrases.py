"""Where the passphrases of private keys come from. They stand in no message, no log and no parameter of a flow.

- online keys: ``EDGEWRIGHT_KEYS_PASSPHRASE``, or a file that ``EDGEWRIGHT_KEYS_PASSPHRASE_FILE`` names, else the file
  ``passphrase`` beside the keys, which is generated when the first key is made.
- offline keys: ``EDGEWRIGHT_OFFLINE_PASSPHRASE``, or ``EDGEWRIGHT_OFFLINE_PASSPHRASE_FILE``, else a prompt.
- development keys: the file ``passphrase`` beside the keys.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from edgewright.durable import write_private_file
from edgewright.errors import KeyringError
from edgewright.pipeline.signing.roles import Kept

ONLINE, OFFLINE = "EDGEWRIGHT_KEYS_PASSPHRASE", "EDGEWRIGHT_OFFLINE_PASSPHRASE"
GENERATED = "passphrase"
_FEWEST = 12

Ask = Callable[[str], str]
"""Asks a person for a passphrase, given the prompt; shows nothing of what is typed."""


class Passphrases:
    """The passphrases of one keyring; asked for once, when they are needed.

    Args:
        folder: Folder of the online keys.
        environment: Where the variables are.
        ask: Asks a person; None where nobody is there.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] = os.environ, ask: Ask | None = None) -> None:
        self._folder, self._environment, self._ask = folder, environment, ask
        self._offline: bytes | None = None

    def source(self, kept: Kept) -> str:
        """Say where the passphrase of such keys comes from, for messages."""
        variable = OFFLINE if kept == "offline" else ONLINE
        if kept != "development":
            for name in (variable, f"{variable}_FILE"):
                if self._environment.get(name):
                    return name
        return "the prompt" if kept == "offline" else str(self._folder / GENERATED)

    def get(self, kept: Kept, new: bool = False) -> bytes:
        """Give the passphrase of keys that are kept so.

        Args:
            kept: How they are kept.
            new: For a new key: it must be long enough and is asked for twice; an online one may be generated.

        Raises:
            KeyringError: There is none, or it is too short.
        """
        if kept == "offline":
            self._offline = self._offline or self._given(OFFLINE) or self._asked(new)
            found = self._offline
        elif kept == "online" and (given := self._given(ONLINE)):
            found = given
        else:
            found = self._generated(new)
        if new and len(found) < _FEWEST:
            raise KeyringError(
                f"the passphrase of {kept} keys ({self.source(kept)}) has less than {_FEWEST} characters: take a longer one."
            )
        return found

    def _given(self, variable: str) -> bytes | None:
        if value := self._environment.get(variable):
            return value.encode()
        if not (name := self._environment.get(f"{variable}_FILE")):
            return None
        try:
            content = Path(name).read_bytes().rstrip(b"\r\n")
        except OSError as cause:
            raise KeyringError(f"{variable}_FILE: {name} cannot be read: {cause.strerror}.") from cause
        if not content:
            raise KeyringError(f"{variable}_FILE: {name} is empty: write the passphrase into it.")
        return content

    def _asked(self, new: bool) -> bytes:
        if self._ask is None:
            raise KeyringError(
                f"offline keys need their passphrase, and nobody is there to type it: set {OFFLINE}_FILE to a file that "
                f"holds it, or {OFFLINE}."
            )
        first = self._ask("Passphrase of the offline keys: ")
        if new and self._ask("The same again: ") != first:
            raise KeyringError("the two passphrases differ: begin again.")
        return first.encode()

    def _generated(self, new: bool) -> bytes:
        path = self._folder / GENERATED
        if path.is_file() and (kept := path.read_bytes().strip()):
            return kept
        if not new:
            raise KeyringError(
                f"online keys need their passphrase: set {ONLINE} or {ONLINE}_FILE; {path} is not there."
            )
        path.unlink(missing_ok=True)  # an empty one locks nothing
        content = secrets.token_urlsafe(32).encode()
        write_private(path, content + b"\n")
        return content


def write_private(path: Path, content: bytes) -> None:
    """Write a new file that its owner alone may read, durably and in one step; its folder is made where it is missing.

    Raises:
        KeyringError: It cannot be written, or is there already.
    """
    try:
        write_private_file(path, content)
    except OSError as cause:
        raise KeyringError(f"{path} cannot be written: {cause.strerror}.") from cause
