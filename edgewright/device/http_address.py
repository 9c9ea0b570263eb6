"""Addresses of servers that a device asks: http or https, with a host, and without credentials in them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_CREDENTIALS = re.compile(r"//.*@")


def registry_address_fault(url: str) -> str | None:
    """Say which rule a registry's address breaks, as the end of a sentence; None where it is one."""
    return _fault(url, "http://host:5000", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")


def receiver_address_fault(url: str) -> str | None:
    """Say which rule the address of a receiver of reports breaks, as the end of a sentence; None where it is one."""
    return _fault(url, "https://host:8940", "EDGEWRIGHT_AGENT_SPOOL_TOKEN")


def _fault(url: str, example: str, variables: str) -> str | None:
    if _CREDENTIALS.search(url):  # what may be a password is not shown
        return f"holds no credentials: set {variables}."
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        is_one = is_one and not (parts.query or parts.fragment) and url.isprintable() and " " not in url
    except ValueError:
        is_one = False
    return None if is_one else f"must look like {example}, found {url!r:.80}."
