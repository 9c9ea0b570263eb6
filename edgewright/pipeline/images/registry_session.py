"""How a registry is asked: accounts and tokens, a bound on every silence, some patience, and nothing told to strangers.

The account goes to the registry itself alone (scheme, host and port), or to the giver of tokens that it names; an address
without TLS that a registry with TLS names is refused.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from edgewright.errors import ImageError
from edgewright.pipeline.images.descriptor import parse_json
from edgewright.pipeline.images.registry_account import Account, account_of_docker_login
from edgewright.pipeline.images.registry_address import Address
from edgewright.pipeline.images.registry_answer import Answer, read_document

GOOD = (200, 201, 202)
AGAIN = (429, 500, 502, 503, 504)
_log = logging.getLogger(__name__)
_DEFAULT_HOST = "registry-1.docker.io"
_SILENCE_S = (10.0, 60.0)  # to connect, and between two bytes
_PAUSES_S = (0.5, 2.0)
_PORTS = {"http": 80, "https": 443}
_WORD = re.compile(r'(\w+)="([^"]*)"')
Read = Callable[[Any], bytes]


class RegistrySession:
    """Asks one repository; by its own connection, for one thread."""

    def __init__(self, base: str, account: Account | None) -> None:
        """Prepare.

        Args:
            base: Address of the repository, ``https://host/v2/repository``.
            account: Who asks; None for nobody.
        """
        self._base, self._account, self._authorization = base, account, ""
        self._http = _http(self.settled)

    def ask(
        self,
        method: str,
        place: str,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Any] | None = None,
        read: Read = read_document,
    ) -> Answer:
        """Ask for a place below the repository; what is busy or broken off is asked again, twice.

        Args:
            method: HTTP's word.
            place: Below the repository: ``manifests/latest``; or an address that the registry named.
            headers: Headers.
            body: Gives what is sent, each time anew.
            read: Takes the body of a good answer, each time from its beginning.

        Returns:
            The answer, whatever its status.

        Raises:
            ImageError: The address is refused, or the answer is no registry's.
            requests.exceptions.RequestException: It broke off every time.
        """
        return self.patiently(lambda: self.once(method, place, headers, body, read))

    def patiently(self, ask: Callable[[], Answer], again: tuple[int, ...] = AGAIN) -> Answer:
        """Do something that asks, and do it again, twice, where it broke off or the answer's status says so."""
        from requests.exceptions import ConnectionError as BrokenError
        from requests.exceptions import Timeout

        for pause_s in _PAUSES_S:
            try:
                answer = ask()
            except (BrokenError, Timeout) as broken:
                _log.info("%s. Asking again in %s s.", broken, pause_s)
            else:
                if answer.status not in again:
                    return answer
            time.sleep(pause_s)
        return ask()

    def once(
        self,
        method: str,
        place: str,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Any] | None = None,
        read: Read = read_document,
    ) -> Answer:
        """Ask as `ask` does, with no patience; where the registry wants to know who asks, it is told."""
        url = self.settled(place)
        answer = self._send(method, url, headers, body, read)
        if answer.status in (401, 403) and self._is_own(answer.url) and self._meets(answer):
            answer = self._send(method, url, headers, body, read)
        return answer

    def first_status(self) -> int:
        """What an asker without a name is answered first: 200 or 401 by an image registry."""
        root = f"{self._base.partition('/v2/')[0]}/v2/"
        return self.patiently(lambda: self._send("GET", root, None, None, read_document)).status

    def settled(self, place: str) -> str:
        """The address of a place below the repository, or of one that the registry named.

        Proxies that end TLS let registries name themselves without it: those are asked with TLS all the same.

        Raises:
            ImageError: It leads from TLS to no TLS, or is no address of HTTP.
        """
        own = urlsplit(self._base)
        try:
            url = urljoin(f"{self._base}/", place)
            parts = urlsplit(url)
            port = parts.port
        except ValueError as cause:
            raise ImageError(f"{self._base} names the address {place!r:.200}, which is none: {cause}.") from cause
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ImageError(f"{self._base} names the address {url!r:.200}: only http and https are asked.")
        if own.scheme == "https" and parts.scheme == "http":
            if (parts.hostname, port or _PORTS["https"]) != _origin(own)[1:]:
                raise ImageError(
                    f"{self._base} is asked by https and leads to {url.partition('?')[0]!r:.200}, which has no TLS: that is "
                    f"refused. Mend the address that the registry names for itself."
                )
            return parts._replace(scheme="https", netloc=own.netloc).geturl()
        return url

    def _is_own(self, url: str) -> bool:
        return _origin(urlsplit(url)) == _origin(urlsplit(self._base))

    def _send(
        self, method: str, url: str, headers: Mapping[str, str] | None, body: Callable[[], Any] | None, read: Read
    ) -> Answer:
        told = {"Accept-Encoding": "identity", **(headers or {})}
        if self._authorization and self._is_own(url):
            told["Authorization"] = self._authorization
        data = None if body is None else body()
        try:
            with self._http.request(method, url, data=data, headers=told, stream=True, timeout=_SILENCE_S) as response:
                status = response.status_code
                content = (read if status in GOOD else read_document)(response)
                return Answer(method, response.url, status, response.headers, content)
        finally:
            if (close := getattr(data, "close", None)) is not None:
                close()

    def _meets(self, answer: Answer) -> bool:
        """Whether there is something new to say to who asks for an account."""
        kind, _, words = answer.headers.get("WWW-Authenticate", "").partition(" ")
        before, self._authorization = self._authorization, ""
        if kind.lower() == "basic" and self._account is not None:
            self._authorization = f"Basic {self._account.basic}"
        elif kind.lower() == "bearer":
            self._authorization = self._token(dict(_WORD.findall(words)))
        return self._authorization not in ("", before)

    def _token(self, words: Mapping[str, str]) -> str:
        """Ask the giver of tokens that the registry names, for what the registry says; empty where it refuses."""
        if not words.get("realm"):
            return ""
        url = self.settled(words["realm"])
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self._account is not None:
            headers["Authorization"] = f"Basic {self._account.basic}"
        asked = {key: words[key] for key in ("service", "scope") if key in words}
        with self._http.request("GET", url, params=asked, headers=headers, stream=True, timeout=_SILENCE_S) as response:
            content, status = read_document(response), response.status_code
        if status in (400, 401, 403):
            return ""
        if status != 200:
            raise ImageError(f"{url.partition('?')[0]}, which gives tokens for {self._base}, answered {status}.")
        found = parse_json(content, f"the token of {url.partition('?')[0]}")
        token = found.get("token") or found.get("access_token")
        return f"Bearer {token}" if isinstance(token, str) else ""


def open_session(address: Address, account: Account | None = None) -> RegistrySession:
    """Find out whether a registry is there.

    Args:
        address: A repository of it.
        account: Who asks; None for whom ``docker login`` left for that registry, or nobody.

    Raises:
        ImageError: No registry is there, or what ``docker login`` left cannot be read.
        requests.exceptions.RequestException: It does not answer.
    """
    root = f"{'http' if address.is_plain else 'https'}://{address.host or _DEFAULT_HOST}"
    repository = address.repository if address.host or "/" in address.repository else f"library/{address.repository}"
    session = RegistrySession(f"{root}/v2/{repository}", account or account_of_docker_login(address.host))
    if (status := session.first_status()) not in (200, 401):
        raise ImageError(
            f"{root} is no image registry, or is out of order: it answered {status} to /v2/, and needed is 200 or 401."
        )
    return session


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def _http(settled: Callable[[str], str]) -> Any:
    """A session of requests' that keeps no cookies, reads no accounts by itself, and whose redirections are settled."""
    from requests import Session

    class Settled(Session):
        """Looks at where it is sent."""

        def get_redirect_target(self, resp: Any) -> str | None:
            target = super().get_redirect_target(resp)
            return None if target is None else settled(urljoin(resp.url, target))

    http = Settled()
    http.auth = _as_it_is
    http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return http


def _as_it_is(request: Any) -> Any:
    return request
