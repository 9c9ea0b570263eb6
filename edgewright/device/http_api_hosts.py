"""Addresses of the local HTTP interface: where it listens, and which names for it are believed."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from edgewright.errors import AgentConfigError


def split_address(address: str) -> tuple[str, int]:
    """Split ``127.0.0.1:8930`` or ``[::1]:8930``.

    Raises:
        AgentConfigError: It is no such address.
    """
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None or parts.username is not None or parts.path:
        raise AgentConfigError(f"serve.listen must look like 127.0.0.1:8930, found {address!r:.80}.")
    return host, port


def is_own_host(host: str, own_host: str) -> bool:
    """Say whether a Host header names this interface: a loopback address or name, or the configured one.

    Where all addresses are listened on, any numeric address may be this device's; a name never is, since a web page's
    name can be made to resolve here.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        urlsplit(f"//{host}").port  # noqa: B018 - raises for a port that is no number
    except ValueError:
        return False
    if name == "localhost" or name == own_host.lower() or is_loopback(name):
        return True
    return _is_wildcard(own_host) and _is_numeric(name)


def is_loopback(host: str) -> bool:
    """Say whether an address or name is this machine's own."""
    return host == "localhost" or (_is_numeric(host) and ipaddress.ip_address(host).is_loopback)


def _is_wildcard(host: str) -> bool:
    return _is_numeric(host) and ipaddress.ip_address(host).is_unspecified


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
