"""How a registry is asked: addresses, accounts and tokens by oras-py, with a bound on every silence, and some patience."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from io import IOBase
from typing import Any
from urllib.parse import urljoin

from edgewright.errors import ImageError
from edgewright.pipeline.images.registry_address import Address

_USERNAME, _PASSWORD = "EDGEWRIGHT_REGISTRY_USERNAME", "EDGEWRIGHT_REGISTRY_PASSWORD"
_SILENCE_S = (10.0, 60.0)  # to connect, and between two bytes
_PAUSES_S = (0.5, 2.0)
_AGAIN = (429, 500, 502, 503, 504)


class RegistrySession:
    """Asks one repository; by its own connection, for one thread."""

    def __init__(self, client: Any, base: str, is_basic: bool) -> None:
        """Prepare.

        Args:
            client: oras's client.
            base: Address of the repository.
            is_basic: Whether the registry takes name and password with every question; else it gives tokens.
        """
        self._client, self._base, self._is_basic = client, base, is_basic

    def ask(
        self,
        method: str,
        place: str,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Any] | None = None,
        stream: bool = False,
    ) -> Any:
        """Ask for a place below the repository; what is busy or broken off is asked again, twice.

        Args:
            method: HTTP's word.
            place: Below the repository: ``manifests/latest``.
            headers: Headers.
            body: Gives what is sent, each time anew.
            stream: Whether the answer's body is read by the caller.

        Returns:
            The answer, whatever its status.
        """
        return self.ask_url(method, f"{self._base}/{place}", headers, body, stream)

    def ask_url(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Any] | None = None,
        stream: bool = False,
    ) -> Any:
        """Ask for an address that the registry named."""
        from requests.exceptions import ConnectionError as BrokenError
        from requests.exceptions import Timeout

        for pause_s in (*_PAUSES_S, None):
            try:
                answer = self._once(method, url, headers, body, stream)
                if answer.status_code not in _AGAIN or pause_s is None:
                    return answer
            except (BrokenError, Timeout):
                if pause_s is None:
                    raise
            time.sleep(pause_s)
        raise AssertionError("unreachable")

    def absolute(self, place: str) -> str:
        """An address that the registry gave, with its host."""
        return urljoin(f"{self._base}/", place)

    def _once(
        self, method: str, url: str, headers: Mapping[str, str] | None, body: Callable[[], Any] | None, stream: bool
    ) -> Any:
        answer = self._send(method, url, headers, body, stream)
        if answer.status_code == 401 and getattr(self._client.auth, "token", None):
            # A token is for what was asked first, e.g. reading; the registry says now what is needed.
            self._client.auth.token = None
            answer = self._send(method, url, headers, body, stream)
        return answer

    def _send(
        self, method: str, url: str, headers: Mapping[str, str] | None, body: Callable[[], Any] | None, stream: bool
    ) -> Any:
        data = None if body is None else body()
        try:
            if self._is_basic:  # oras would take the challenge's words for the address of a giver of tokens
                return self._client.session.request(method, url, data=data, headers=dict(headers or {}), stream=stream)
            return self._client.do_request(url, method, data=data, headers=dict(headers or {}), stream=stream)
        except ValueError as cause:  # oras: it has no account for a registry that asks for one
            raise ImageError(
                f"{url.partition('?')[0]} asks for an account, and none was accepted: set {_USERNAME} and {_PASSWORD}, or "
                f"docker login ({cause})."
            ) from cause
        finally:
            if isinstance(data, IOBase):
                data.close()


def open_session(address: Address, environment: Mapping[str, str] = os.environ) -> RegistrySession:
    """Find out how a registry wants to be asked.

    Raises:
        ImageError: oras-py is not installed, or no registry is there.
        requests.exceptions.RequestException: It does not answer.
    """
    try:
        import oras.defaults  # type: ignore[import-untyped]
        from oras.container import Container  # type: ignore[import-untyped]
        from oras.provider import Registry  # type: ignore[import-untyped]
    except ImportError as cause:
        raise ImageError(
            "registries are asked by oras-py, which is not installed: pip install 'edgewright[images]'"
        ) from cause
    from requests.adapters import HTTPAdapter

    class Bounded(HTTPAdapter):
        """Never waits for ever."""

        def send(self, request: Any, *words: Any, **settings: Any) -> Any:
            settings["timeout"] = settings.get("timeout") or _SILENCE_S
            return super().send(request, *words, **settings)

    host = address.host or oras.defaults.registry.default_v2_registry["host"]
    repository = address.repository if address.host or "/" in address.repository else f"library/{address.repository}"
    client = Registry(hostname=host, insecure=address.is_plain)
    for scheme in ("http://", "https://"):
        client.session.mount(scheme, Bounded())
    container = Container(f"{host}/{repository}")
    scheme = "http" if address.is_plain else "https"
    account = (environment.get(_USERNAME, ""), environment.get(_PASSWORD, ""))
    first = client.session.get(f"{scheme}://{host}/v2/")
    challenge = first.headers.get("WWW-Authenticate", "").lower()
    if first.status_code not in (200, 401):
        raise ImageError(f"{scheme}://{host} is no image registry: it answered {first.status_code} to /v2/.")
    is_basic = challenge.startswith("basic")
    if all(account) and not is_basic:
        client.auth.set_basic_auth(*account)
    elif all(account):
        client.session.auth = account
    else:
        client.auth.load_configs(container)
        if is_basic and (known := getattr(client.auth, "_basic_auth", None)):
            client.session.headers["Authorization"] = f"Basic {known}"
    return RegistrySession(client, f"{scheme}://{host}/v2/{repository}", is_basic)
