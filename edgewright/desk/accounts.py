"""Accounts of a registry that asks who is there (``mlflow server --app-name basic-auth``): to build with, and for devices.

By plain REST: this is all that edgewright asks of MLflow's accounts, and a device's account must work without MLflow.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from edgewright.errors import RegistryError

# MLflow refuses shorter ones.
LEAST_CHARACTERS = 12
_DEADLINE_S = 30.0
_USERS = "/api/2.0/mlflow/users"


class Accounts:
    """The accounts of one registry, as its administrator sees them.

    Args:
        url: Where the registry is.
        user: The administrator.
        password: Its password.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self._url = url.rstrip("/")
        token = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}

    def ensure(self, name: str, password: str, *, is_administrator: bool = False) -> bool:
        """Makes an account, or gives the one of that name this password.

        Args:
            name: Its name.
            password: Its password.
            is_administrator: Whether it may do everything. Builds need that: to anybody else MLflow answers 403 to a
                question about a model that is not there yet, as if it were somebody else's.

        Returns:
            Whether it was made.

        Raises:
            RegistryError: The password is too short, or the registry refuses or cannot be reached.
        """
        if len(password) < LEAST_CHARACTERS:
            raise RegistryError(
                f"the password of account {name} has {len(password)} characters, MLflow takes {LEAST_CHARACTERS} or more."
            )
        words = {"username": name, "password": password}
        is_there = self._is_there(name)
        if is_there:
            self._ask("PATCH", "update-password", words)
        else:
            self._ask("POST", "create", words)
        self._ask("PATCH", "update-admin", {"username": name, "is_admin": is_administrator})
        return not is_there

    def _is_there(self, name: str) -> bool:
        try:
            self._ask("GET", f"get?{urllib.parse.urlencode({'username': name})}")
        except _NotThereError:
            return False
        return True

    def _ask(self, method: str, call: str, words: dict[str, Any] | None = None) -> None:
        request = urllib.request.Request(
            f"{self._url}{_USERS}/{call}",
            data=None if words is None else json.dumps(words).encode(),
            headers=self._headers,
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=_DEADLINE_S) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(500).decode(errors="replace")
            if error.code == 404 and "RESOURCE_DOES_NOT_EXIST" in said:
                raise _NotThereError from error
            raise RegistryError(self._explain(error.code, said)) from error
        except (urllib.error.URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise RegistryError(f"the registry at {self._url} cannot be reached: {reason}.") from error

    def _explain(self, code: int, said: str) -> str:
        if code in (401, 403):
            return (
                f"the registry at {self._url} refuses ({code}): MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD must "
                "be its administrator's, and this host's name must be among its allowed hosts."
            )
        if code == 404:
            return f"the registry at {self._url} has no accounts: start it with --app-name basic-auth."
        return f"the registry at {self._url} refused ({code}): {said.splitlines()[0] if said else 'without a word'}"


class _NotThereError(Exception):
    """There is no account of that name."""
