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
        (lambda: notifier.status("two\nlines  of it"), b"STATUS=two lines of it"),
        (notifier.stopping, b"STOPPING=1"),
    ):
        assert say()
        assert listener.recv(4096) == expected
    notifier.status("x" * 5000)
    assert len(listener.recv(10_000)) < 300


def test_without_a_manager_every_call_does_nothing() -> None:
    for environment in ({}, {"NOTIFY_SOCKET": "relative"}, {"NOTIFY_SOCKET": "/nobody/listens"}):
        notifier = Notifier(environment)
        assert not notifier.ready()
        assert not notifier.alive("well")


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_the_watchdogs_time_is_known_where_this_process_is_watched(
    variables: dict[str, str], seconds: float | None
) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/x", **variables}).watchdog_s == seconds
    assert Notifier(variables).watchdog_s is None
