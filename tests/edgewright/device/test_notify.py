"""What systemd hears, over a socket as systemd makes it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from edgewright.device.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[socket.socket, str]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    request.addfinalizer(listener.close)
    listener.settimeout(2)
    address = str(tmp_path / "notify") if request.param == "path" else f"@edgewright-test-{os.getpid()}"
    listener.bind(address.replace("@", "\0"))
    return listener, address


def test_each_word_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    listener, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    for say, expected in (
        (lambda: notifier.ready("serves version 3"), b"READY=1\nSTATUS=serves version 3"),
        (notifier.alive, b"WATCHDOG=1"),
        (lambda: notifier.alive("two\nlines  of it"), b"WATCHDOG=1\nSTATUS=two lines of it"),
        (notifier.stopping, b"STOPPING=1"),
    ):
        assert say()
        assert listener.recv(4096) == expected
    notifier.alive("x" * 5000)
    assert len(listener.recv(10_000)) < 300


def test_without_a_manager_every_call_does_nothing() -> None:
    for environment in ({}, {"NOTIFY_SOCKET": "relative"}, {"NOTIFY_SOCKET": "/nobody/listens"}):
        notifier = Notifier(environment)
        assert not notifier.ready()
        assert not notifier.alive("well")
