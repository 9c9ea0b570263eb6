"""``edgewright keys``, ``release sign`` and ``enrol``, as a person calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewright.device.agent_config import load_agent_config
from edgewright.pipeline.tracking import Tracking
from edgewright.pipeline.tracking.client import artifacts_folder, open_client

HERE = ("digits", "--target", "here")
Command = Callable[..., Any]


@pytest.fixture
def stick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the offline keys, and both passphrases in the environment."""
    monkeypatch.setenv("EDGEWRIGHT_KEYS_PASSPHRASE", "online passphrase, made up")
    monkeypatch.setenv("EDGEWRIGHT_OFFLINE_PASSPHRASE", "offline passphrase, made up")
    return tmp_path / "stick"


def test_from_the_first_key_to_a_device(
    edgewright: Command, release: Callable[..., Any], empty_registry: Tracking, stick: Path, tmp_path: Path
) -> None:
    said = edgewright("keys", "init", "--offline", stick)
    assert said.status == 0
    assert f"root-1, root-2, root-3 and targets in {stick}" in said.out and "Sent to the registry." in said.out
    assert "IS ON THE WORKSHOP'S OWN DISK" in said.err
    published = artifacts_folder(empty_registry.home) / "edgewright-updates"
    assert (published / "1.root.json").is_file() and (published / "timestamp.json").is_file()

    release("b1"), release("b2")
    said = edgewright("promote", *HERE, "--version", "1", "--reason", "good")
    assert (said.status, said.out) == (0, "digits.here: version 1 is champion, in place of version 2.\n")
    assert "version 1 waits" in said.err and "`edgewright release sign digits --target here`" in said.err
    assert edgewright("enrol", *HERE, "--into", tmp_path / "early").status == 5

    said = edgewright("release", "sign", *HERE, "--offline", stick, "--version", "2")
    assert (said.status, "version 1 is champion, not 2: nothing was signed" in said.err) == (1, True)
    said = edgewright("release", "sign", *HERE, "--offline", stick)
    assert (said.status, said.out) == (0, "digits.here: version 1 is signed for devices (metadata 1).\n")

    device = tmp_path / "device"
    said = edgewright("enrol", *HERE, "--into", device, "--registry", "https://mlflow.example.org", "--id", "cellar-7")
    assert said.out == (
        f"{device}: device cellar-7 begins with digits.here version 1 and asks https://mlflow.example.org.\n"
    )
    config = load_agent_config(device / "agent.toml", {})
    assert (config.device.id, config.device.model, config.device.target) == ("cellar-7", "digits", "here")
    assert config.registry.url == "https://mlflow.example.org"
    assert config.root.is_file() and config.factory is not None and (config.factory / "manifest.json").is_file()
    assert "# poll_s = 300  # " in (device / "agent.toml").read_text()

    said = edgewright("keys", "status", "--offline", stick)
    assert said.status == 0
    for words in ("root-2", "timestamp", "digits.here", "365 d", "version 1 (p50-i8)", "/stick"):
        assert words in said.out
    assert "DEVELOPMENT" not in said.out

    said = edgewright("keys", "rotate", "timestamp", "--offline", stick)
    assert said.out.startswith("timestamp has a new key.\n") and "destroy it" in said.out
    assert (published / "2.root.json").is_file()
    assert "names nothing any more: destroy it" in edgewright("keys", "status").out
    said = edgewright("keys", "revoke", "digits.here", "--offline", stick)
    assert "its key signs nothing any more" in said.out
    state = json.loads(edgewright("keys", "status", "--json").out)
    assert state["revoked"] == ["digits.here"] and not state["development"] and not state["alarms"]
    assert {role["role"] for role in state["roles"]} == {"root", "targets", "snapshot", "timestamp"}
    assert state["roles"][0]["keys"][0]["place"] == "", "without the stick"


def test_development_keys_are_loud(edgewright: Command, release: Callable[..., Any]) -> None:
    assert edgewright("keys", "status").err.startswith("this workshop has no keys yet: edgewright keys init")
    release("b1"), release("b2")
    assert edgewright("promote", *HERE, "--version", "1", "--reason", "good").err.startswith("DEVELOPMENT KEYS")
    said = edgewright("keys", "status")
    assert (said.status, "DEVELOPMENT KEYS" in said.out) == (0, True)


def test_a_wrong_passphrase_is_one_line(
    edgewright: Command, stick: Path, empty_registry: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    edgewright("keys", "init", "--offline", stick)
    monkeypatch.setenv("EDGEWRIGHT_OFFLINE_PASSPHRASE", "something else entirely")
    said = edgewright("keys", "rotate", "snapshot", "--offline", stick)
    assert (said.status, said.err.count("\n")) == (1, 1)
    assert "EDGEWRIGHT_OFFLINE_PASSPHRASE is wrong" in said.err and "entirely" not in said.err
    monkeypatch.delenv("EDGEWRIGHT_OFFLINE_PASSPHRASE")
    assert "nobody is there to type it" in edgewright("keys", "rotate", "targets", "--offline", stick).err


def test_a_champion_from_elsewhere_is_not_signed_and_says_what_helps(
    edgewright: Command, release: Callable[..., Any], empty_registry: Tracking
) -> None:
    release("b1")
    open_client(empty_registry).set_model_version_tag("digits.here", "1", "edgewright.bundle_sha256", "e" * 64)
    said = edgewright("release", "sign", *HERE)
    assert (said.status, said.out) == (1, "")
    assert "did not judge its bundle" in said.err and "--vouch WHY" in said.err


def test_keys_that_lie_elsewhere_are_named_where_they_lie(
    edgewright: Command, stick: Path, empty_registry: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = tmp_path / "vault"
    monkeypatch.setenv("EDGEWRIGHT_KEYS", str(online))
    said = edgewright("keys", "init")
    assert said.status == 0
    assert (
        f"root-1, root-2, root-3 and targets in {online / 'offline'}; snapshot and timestamp in {online}." in said.out
    )
    assert list((online / "offline").glob("targets-*.pem")) and list(online.glob("timestamp-*.pem"))
    assert edgewright("keys", "rotate", "targets").status == 0, "the default finds them again"
    assert not (empty_registry.home / "keys").exists()


@pytest.mark.parametrize("name", ["timestamp", "snapshot"])
def test_a_key_that_would_get_another_passphrase_than_those_beside_it_is_not_made(
    name: str, edgewright: Command, stick: Path, empty_registry: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    edgewright("keys", "init", "--offline", stick)
    keys = empty_registry.home / "keys"
    before = {path: path.read_bytes() for path in (*keys.iterdir(), *stick.iterdir())}
    monkeypatch.delenv("EDGEWRIGHT_KEYS_PASSPHRASE")
    said = edgewright("keys", "rotate", name, "--offline", stick)
    assert (said.status, said.out, said.err.count("\n")) == (1, "", 1)
    assert f"no new key of {name} was made" in said.err and "EDGEWRIGHT_KEYS_PASSPHRASE" in said.err
    assert {path: path.read_bytes() for path in (*keys.iterdir(), *stick.iterdir())} == before
    assert (json.loads(edgewright("keys", "status", "--json").out))["roles"][0]["version"] == 1


def test_a_lost_passphrase_is_no_dead_end(
    edgewright: Command, stick: Path, empty_registry: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    edgewright("keys", "init", "--offline", stick)
    monkeypatch.setenv("EDGEWRIGHT_KEYS_PASSPHRASE", "a new one, since the old is lost")
    for path in (empty_registry.home / "keys").glob("*.pem"):
        path.unlink()
    for name in ("timestamp", "snapshot"):
        assert edgewright("keys", "rotate", name, "--offline", stick).status == 0
