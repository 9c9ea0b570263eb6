"""Accounts of a registry: what is asked of it, and what is said when it refuses."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from edgewright.desk.accounts import Accounts
from edgewright.errors import RegistryError

ADMIN = "Basic " + base64.b64encode(b"admin:the admin's password").decode()


class Registry(ThreadingHTTPServer):
    """Answers as MLflow does, as far as its accounts go."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.accounts: dict[str, dict[str, Any]] = {}
        self.has_accounts = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        words = json.loads(self.rfile.read(length)) if length else {}
        call = self.path.rpartition("/")[2]
        accounts = self.server.accounts
        if not self.server.has_accounts:
            self.send(404, b"<title>404 Not Found</title>")
        elif self.headers.get("Authorization") != ADMIN:
            self.send(401, b"You are not authenticated.")
        elif call.startswith("get?username="):
            name = call.partition("=")[2]
            if name in accounts:
                self.send(200, json.dumps({"user": {"username": name}}).encode())
            else:
                self.send(404, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST"}).encode())
        else:
            accounts.setdefault(words["username"], {}).update(words)
            self.send(200, b"{}")

    do_GET = do_POST = do_PATCH = answer

    def send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: Any) -> None:
        return


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_an_account_is_made_once_and_then_given_its_password(registry: Registry) -> None:
    accounts = Accounts(registry.url, "admin", "the admin's password")
    assert accounts.ensure("devices", "twelve or more") is True
    assert registry.accounts["devices"]["password"] == "twelve or more"
    assert registry.accounts["devices"]["is_admin"] is False
    assert accounts.ensure("devices", "another password", is_administrator=True) is False
    assert registry.accounts["devices"]["password"] == "another password"
    assert registry.accounts["devices"]["is_admin"] is True


def test_a_refusal_says_what_to_do(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="must be its administrator's, and this host's name"):
        Accounts(registry.url, "admin", "a wrong password").ensure("devices", "twelve or more")
    with pytest.raises(RegistryError, match="has 5 characters, MLflow takes 12 or more"):
        Accounts(registry.url, "admin", "the admin's password").ensure("devices", "short")
    registry.has_accounts = False
    with pytest.raises(RegistryError, match="has no accounts: start it with --app-name basic-auth"):
        Accounts(registry.url, "admin", "the admin's password").ensure("devices", "twelve or more")
    assert not registry.accounts


def test_a_registry_that_is_not_there_is_said() -> None:
    with pytest.raises(RegistryError, match="cannot be reached"):
        Accounts("http://127.0.0.1:9", "admin", "the admin's password").ensure("devices", "twelve or more")
