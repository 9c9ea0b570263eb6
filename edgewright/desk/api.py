"""Prefect's API, as far as the desk speaks it: plain requests on loopback, so that no command waits for an import."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from typing import Any

from edgewright.errors import DeskError

_DEADLINE_S = 30.0
# The server answers 503 when two of its writes met in the database; the second attempt succeeds.
_PATIENCE_S = 20.0
_POLL_S = 0.3
_BUSY = {429, 502, 503}
_WORDS = 300

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def is_healthy(api_url: str, timeout_s: float = 1.0) -> bool:
    """Whether a Prefect server answers."""
    try:
        with _opener.open(f"{api_url}/health", timeout=timeout_s) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


class PrefectApi:
    """One Prefect server.

    Args:
        url: Where its API is, ``http://127.0.0.1:…/api``.
        account: User and password, ``user:password``, of a server that asks for them.
    """

    def __init__(self, url: str, account: str | None = None) -> None:
        self.url = url
        self._headers = {"Content-Type": "application/json"}
        if account is not None:
            self._headers["Authorization"] = "Basic " + base64.b64encode(account.encode()).decode("ascii")

    def find(self, path: str) -> Any | None:
        """What is there; None where nothing is.

        Raises:
            DeskError: The server refuses or cannot be reached; so for the other methods.
        """
        return self._ask("GET", path, None, missing_is_none=True)

    def read(self, path: str) -> Any:
        """What is there."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: object) -> Any:
        """Makes or asks for something."""
        return self._ask("POST", path, body)

    def patch(self, path: str, body: object) -> None:
        """Changes a part of something."""
        self._ask("PATCH", path, body)

    def put(self, path: str, body: object) -> None:
        """Replaces something."""
        self._ask("PUT", path, body)

    def delete(self, path: str) -> None:
        """Removes something; what is not there is no error."""
        self._ask("DELETE", path, None, missing_is_none=True)

    def all(self, path: str, **query: object) -> list[dict[str, Any]]:
        """Everything that a filter finds, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.post(path, {**query, "offset": len(found), "limit": 200})
            found += page
            if len(page) < 200:
                return found

    def _ask(self, method: str, path: str, body: object, *, missing_is_none: bool = False) -> Any:
        gives_up_at = time.monotonic() + _PATIENCE_S
        while True:
            request = urllib.request.Request(
                self.url + path,
                method=method,
                data=None if body is None else json.dumps(body).encode(),
                headers=self._headers,
            )
            try:
                with _opener.open(request, timeout=_DEADLINE_S) as answer:
                    content = answer.read()
                    return json.loads(content) if content else None
            except urllib.error.HTTPError as error:
                with error:
                    said = error.read().decode(errors="replace")
                if error.code == 404 and missing_is_none:
                    return None
                if error.code not in _BUSY or time.monotonic() > gives_up_at:
                    raise DeskError(
                        f"Prefect's server refused {method} {path}: {error.code} {said[:_WORDS]}"
                    ) from error
            except (urllib.error.URLError, OSError) as error:
                reason = getattr(error, "reason", error)
                raise DeskError(
                    f"Prefect's server at {self.url} does not answer ({reason}). Look: edgewright status"
                ) from error
            time.sleep(_POLL_S)
