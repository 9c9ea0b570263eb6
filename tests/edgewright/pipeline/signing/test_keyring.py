"""Private keys at rest: encrypted, their owner's alone, and nowhere else."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgewright.errors import KeyringError
from edgewright.pipeline.signing.keyring import Keyring
from edgewright.pipeline.signing.passphrases import Passphrases, write_private
from edgewright.pipeline.signing.roles import Kept, kept_of, key_name
from signed_updates import SECRETS


def keyring(
    folder: Path, environment: dict[str, str] | None = None, ask: Callable[[str], str] | None = None
) -> Keyring:
    online = folder / "keys"
    secrets = SECRETS if environment is None else environment
    return Keyring(online, folder / "stick", Passphrases(online, secrets, ask))


@pytest.mark.parametrize("kept", ["online", "offline", "development"])
def test_a_key_comes_back_as_it_was_made(tmp_path: Path, kept: Kept) -> None:
    key = keyring(tmp_path).make("digits.linux-x86", kept)
    assert (key_name(key), kept_of(key)) == ("digits.linux-x86", kept)
    signer = keyring(tmp_path).signer(key)
    key.verify_signature(signer.sign(b"text"), b"text")
    path = keyring(tmp_path).find(key)
    assert path is not None
    assert path.parent.name == ("stick" if kept == "offline" else "keys")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


@pytest.mark.parametrize("kept", ["online", "offline", "development"])
def test_raw_keys_and_passphrases_are_nowhere(
    tmp_path: Path, kept: Kept, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    made = keyring(tmp_path)
    key = made.make("targets", kept)
    private: Any = made.signer(key)._private_key
    raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    secrets = [raw, raw.hex().encode(), base64.b64encode(raw), *(value.encode() for value in SECRETS.values())]
    with pytest.raises(KeyringError) as refused:
        keyring(tmp_path, {name: "another passphrase" for name in SECRETS}).signer(
            key
        ) if kept != "development" else fail()
    captured = capsys.readouterr()
    said = (caplog.text + captured.out + captured.err + str(refused.value) + repr(made)).encode()
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not [secret for secret in secrets if secret in said + files]


def fail() -> None:
    raise KeyringError("as if")


@pytest.mark.parametrize(
    ("kept", "variable"), [("online", "EDGEWRIGHT_KEYS_PASSPHRASE"), ("offline", "EDGEWRIGHT_OFFLINE_PASSPHRASE")]
)
def test_a_wrong_passphrase_is_said_with_its_source(tmp_path: Path, kept: Kept, variable: str) -> None:
    key = keyring(tmp_path).make("targets", kept)
    wrong = keyring(tmp_path, {variable: "not that one, surely"})
    with pytest.raises(KeyringError, match=rf"does not open: the passphrase from {variable} is wrong") as refused:
        wrong.signer(key)
    assert "not that one" not in str(refused.value)


def test_a_passphrase_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRETS["EDGEWRIGHT_KEYS_PASSPHRASE"] + "\n")
    key = keyring(tmp_path).make("timestamp", "online")
    from_file = {"EDGEWRIGHT_KEYS_PASSPHRASE_FILE": str(tmp_path / "secret")}
    assert keyring(tmp_path, from_file).signer(key).public_key == key
    with pytest.raises(KeyringError, match="cannot be read: No such file"):
        keyring(tmp_path, {"EDGEWRIGHT_KEYS_PASSPHRASE_FILE": str(tmp_path / "none")}).signer(key)


def test_a_person_is_asked_twice_for_a_new_passphrase_and_once_for_a_known_one(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "typed by a person"

    key = keyring(tmp_path, {}, ask).make("targets", "offline")
    assert len(asked) == 2
    keyring(tmp_path, {}, ask).signer(key)
    assert len(asked) == 3
    answers = iter(("typed by a person", "typed otherwise"))
    with pytest.raises(KeyringError, match="differ"):
        keyring(tmp_path, {}, lambda _: next(answers)).make("targets", "offline")


def test_where_nobody_is_there_the_variable_is_named(tmp_path: Path) -> None:
    key = keyring(tmp_path).make("targets", "offline")
    with pytest.raises(KeyringError, match="EDGEWRIGHT_OFFLINE_PASSPHRASE_FILE"):
        keyring(tmp_path, {}).signer(key)


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="less than 12 characters") as refused:
        keyring(tmp_path, {"EDGEWRIGHT_KEYS_PASSPHRASE": "short"}).make("timestamp", "online")
    assert "short." not in str(refused.value)


def test_development_keys_have_a_generated_passphrase(tmp_path: Path) -> None:
    keyring(tmp_path, {}).make("timestamp", "development")
    passphrase = tmp_path / "keys" / "passphrase"
    assert len(passphrase.read_text().strip()) >= 32
    assert passphrase.stat().st_mode & 0o777 == 0o600


def test_an_empty_passphrase_file_that_a_power_cut_left_is_none(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "passphrase").touch()
    key = keyring(tmp_path, {}).make("timestamp", "development")
    assert keyring(tmp_path, {}).signer(key).public_key == key


def test_a_private_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(descriptor: int) -> None:
        raise OSError(5, "the power is cut")

    with monkeypatch.context() as power:
        power.setattr(os, "fsync", cut)
        with pytest.raises(KeyringError, match="the power is cut"):
            write_private(tmp_path / "passphrase", b"secret")
    assert list(tmp_path.iterdir()) == []


def test_a_stick_without_links_takes_keys_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: object, place: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    write_private(tmp_path / "key", b"secret")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyringError, match="File exists"):
        write_private(tmp_path / "key", b"another")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"secret"]


def test_another_keys_file_is_not_taken_for_it(tmp_path: Path) -> None:
    made = keyring(tmp_path)
    first, second = made.make("root-1", "offline"), made.make("root-1", "offline")
    paths = [made.find(key) for key in (first, second)]
    assert paths[0] is not None and paths[1] is not None
    paths[0].write_bytes(paths[1].read_bytes())
    with pytest.raises(KeyringError, match="is not the key that the signed metadata names"):
        keyring(tmp_path).signer(first)


def test_files_that_name_nothing_any_more(tmp_path: Path) -> None:
    made = keyring(tmp_path)
    old, new = made.make("timestamp", "online"), made.make("timestamp", "online")
    assert made.unnamed([new.keyid]) == (made.find(old),)
