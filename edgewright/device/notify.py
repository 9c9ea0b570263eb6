"""What systemd wants to hear of a service: ready, alive, what it does. One datagram each, with the standard library."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

_STATUS_CHARACTERS = 200


class Notifier:
    """Speaks to the service manager, where there is one; elsewhere every call does nothing."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")

    def ready(self, status: str = "") -> bool:
        """Say that the service is up, and in a few words what it does: ``systemctl status`` shows them."""
        return self._send("READY=1", status)

    def alive(self, status: str = "") -> bool:
        """Feed the watchdog."""
        return self._send("WATCHDOG=1", status)

    def stopping(self, status: str = "") -> bool:
        """Say that the service ends on purpose."""
        return self._send("STOPPING=1", status)

    def _send(self, word: str, status: str) -> bool:
        """Send; says whether the manager has it. Its socket may be gone: that stops no service."""
        if not self._address.startswith(("/", "@")):
            return False
        line = f"STATUS={' '.join(status.split())[:_STATUS_CHARACTERS]}" if status else ""
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(1.0)
                sender.sendto("\n".join(filter(None, (word, line))).encode(errors="replace"), address)
        except OSError:
            return False
        return True
