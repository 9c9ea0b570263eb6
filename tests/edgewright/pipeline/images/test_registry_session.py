"""How a registry is asked: the account told to nobody else, an end to everything, and silence on the terminal."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from requests.exceptions import RequestException, Timeout

from edgewright.errors import ImageError
from edgewright.pipeline.images import registry_answer
from edgewright.pipeline.images.registry_account import Account
from edgewright.pipeline.images.registry_address import Address
from edgewright.pipeline.images.registry_answer import PacedFile, blob_parts
from edgewright.pipeline.images.registry_session import RegistrySession, open_session
from fake_image_registry import FakeRegistry, Handler, fake_registry, make_certificate

ROBOT = Account.of("robot", "a-word-for-a-trial")
BASIC = f"Basic {ROBOT.basic}"


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `docker login` of whoever runs this."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with fake_registry() as running:
        yield running


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    """Another server on the same machine: same host, another port."""
    with fake_registry() as running:
        yield running


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRegistry]:
    """A registry with TLS whose certificate is trusted."""
    certificate = make_certificate(tmp_path / "certificate.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with fake_registry(certificate) as running:
        yield running


def opened(registry: FakeRegistry, account: Account | None = None, *, is_plain: bool = True) -> RegistrySession:
    return open_session(Address(registry.host, "team/x", is_plain=is_plain), account)


def test_an_account_is_said_where_it_is_asked_for(registry: FakeRegistry) -> None:
    registry.challenge, registry.account = 'Basic realm="trial"', BASIC
    assert opened(registry).ask("POST", "blobs/uploads/").status == 401
    session = opened(registry, ROBOT)
    assert session.ask("POST", "blobs/uploads/").status == 202
    registry.asked.clear()
    assert session.ask("POST", "blobs/uploads/").status == 202
    assert [who for *_, who in registry.asked] == [BASIC], "it is not asked for twice"


def test_an_account_is_not_said_to_another_server(registry: FakeRegistry, other: FakeRegistry) -> None:
    registry.challenge, registry.account = 'Basic realm="trial"', BASIC
    session = opened(registry, ROBOT)
    session.ask("POST", "blobs/uploads/")
    for challenge in ("", 'Basic realm="give it to me"', f'Bearer realm="http://{other.host}/token"'):
        other.challenge = challenge
        session.ask("PUT", f"http://{other.host}/v2/team/x/blobs/uploads/1?digest=sha256:00", body=lambda: b"x")

        def leads_there(handler: Handler, port: str = other.host) -> bool:
            return "/blobs/" in handler.path and handler.answer(307, Location=f"http://{port}{handler.path}")

        registry.fault = leads_there
        session.ask("GET", "blobs/x")
    assert other.asked and {who for *_, who in other.asked} == {""}


def test_tokens_come_from_whom_the_registry_names(registry: FakeRegistry, other: FakeRegistry) -> None:
    realm = f'Bearer realm="http://{other.host}/token",service="trial",scope="repository:team/x:pull,push"'
    registry.challenge, registry.account = realm, "Bearer one-word"

    def gives(handler: Handler) -> bool:
        told = "one-word" if handler.headers.get("Authorization") == BASIC else "no-word"
        return handler.answer(200, json.dumps({"token": told}).encode())

    other.fault = gives
    assert opened(registry, ROBOT).ask("POST", "blobs/uploads/").status == 202
    method, path, _ = other.asked[-1]
    assert (method, path) == ("GET", "/token?service=trial&scope=repository%3Ateam%2Fx%3Apull%2Cpush")
    assert opened(registry).ask("POST", "blobs/uploads/").status == 401
    assert other.asked[-1][2] == "", "who has no account asks without"


def test_a_token_that_is_over_is_asked_for_anew(registry: FakeRegistry, other: FakeRegistry) -> None:
    registry.challenge = f'Bearer realm="http://{other.host}/token"'
    given = iter(("first", "second", "third"))
    other.fault = lambda handler: handler.answer(200, json.dumps({"access_token": next(given)}).encode())
    session = opened(registry)
    for registry.account in ("Bearer first", "Bearer second"):
        assert [session.ask("POST", "blobs/uploads/").status for _ in range(2)] == [202, 202]
    assert len(other.asked) == 2
    registry.account = "Bearer another"
    assert session.ask("POST", "blobs/uploads/").status == 401


def test_a_giver_of_tokens_that_is_out_of_order_is_named(registry: FakeRegistry, other: FakeRegistry) -> None:
    registry.challenge = f'Bearer realm="http://{other.host}/token"'
    other.fault = lambda handler: handler.answer(503)
    with pytest.raises(ImageError, match=rf"http://{other.host}/token, which gives tokens for .*, answered 503"):
        opened(registry).ask("GET", "blobs/x")


def test_what_is_packed_is_not_unpacked(registry: FakeRegistry) -> None:
    session = opened(registry)
    registry.fault = lambda handler: handler.answer(200, b"x", Content_Encoding="gzip")
    with pytest.raises(ImageError, match="answers in 'gzip', which was not asked for"):
        session.ask("GET", "manifests/latest")


def test_what_docker_login_left_is_for_its_own_registry(registry: FakeRegistry, other: FakeRegistry) -> None:
    for each in (registry, other):
        each.challenge, each.account = 'Basic realm="trial"', BASIC
    kept = Path.home() / ".docker/config.json"
    kept.parent.mkdir()
    kept.write_text(json.dumps({"auths": {registry.host: {"auth": ROBOT.basic}}}))
    assert opened(registry).ask("POST", "blobs/uploads/").status == 202
    assert opened(other).ask("POST", "blobs/uploads/").status == 401
    kept.write_text("{")
    with pytest.raises(ImageError, match=r"docker login left cannot be read .* mend ~/\.docker/config\.json"):
        opened(registry)


def test_a_registry_with_tls_behind_a_proxy_is_asked_with_tls(secure: FakeRegistry) -> None:
    secure.challenge, secure.account = 'Basic realm="trial"', BASIC
    session = opened(secure, ROBOT, is_plain=False)
    for scheme in ("", f"http://{secure.host}", f"https://{secure.host}"):
        place = session.settled(f"{scheme}/v2/team/x/blobs/uploads/1")
        assert place == f"https://{secure.host}/v2/team/x/blobs/uploads/1"
    assert session.settled("https://elsewhere.example/1") == "https://elsewhere.example/1"
    assert session.ask("POST", f"http://{secure.host}/v2/team/x/blobs/uploads/").status == 202


@pytest.mark.parametrize("how", ["named", "redirected", "token"])
def test_nothing_leads_from_tls_to_none(how: str, secure: FakeRegistry, other: FakeRegistry) -> None:
    session = opened(secure, ROBOT, is_plain=False)
    place = "blobs/x"
    if how == "named":
        place = f"http://{other.host}/v2/team/x/blobs/x"
    elif how == "redirected":
        secure.fault = lambda handler: handler.answer(307, Location=f"http://{other.host}/x")
    else:
        secure.challenge = f'Bearer realm="http://{other.host}/token"'
    with pytest.raises(ImageError, match=r"is asked by https and leads to 'http://.* has no TLS: that is refused"):
        session.ask("GET", place)
    assert other.asked == []


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://[::1/x", "http://host:99999/x"])
def test_an_address_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(ImageError, match="names the address"):
        RegistrySession("http://127.0.0.1:1/v2/x", None).settled(place)


def test_what_fails_is_asked_three_times_and_nothing_is_printed(
    registry: FakeRegistry, capfd: pytest.CaptureFixture[str]
) -> None:
    session = opened(registry)
    registry.fault = lambda handler: handler.answer(500, b'{"errors": [{"message": "out of order"}]}')
    began_s = time.monotonic()
    assert session.ask("GET", "manifests/latest").status == 500
    assert registry.methods("manifests/latest") == ["GET"] * 3
    registry.fault = lambda handler: handler.answer(401, b"", WWW_Authenticate="Bearer")
    assert session.ask("GET", "manifests/other").status == 401, "nobody is named who gives tokens"
    assert registry.methods("manifests/other") == ["GET"]
    assert time.monotonic() - began_s < 10.0
    assert capfd.readouterr() == ("", "")


def test_who_is_refused_hears_it_at_once(registry: FakeRegistry, capfd: pytest.CaptureFixture[str]) -> None:
    registry.challenge = f'Bearer realm="http://{registry.host}/token",service="trial"'
    began_s = time.monotonic()
    for account in (None, ROBOT):
        assert opened(registry, account).ask("POST", "blobs/uploads/").status == 401
    assert time.monotonic() - began_s < 5.0
    assert capfd.readouterr() == ("", "")


def test_a_body_is_sent_anew_each_time(registry: FakeRegistry, tmp_path: Path) -> None:
    file, bodies = tmp_path / "blob", []
    file.write_bytes(bytes(range(256)) * 1000)

    def fails_once(handler: Handler) -> bool:
        bodies.append(handler.body())
        return handler.answer(503 if len(bodies) == 1 else 201)

    session = opened(registry)
    registry.fault = fails_once
    answer = session.ask("PUT", "manifests/x", body=lambda: PacedFile(file, 256_000))
    assert answer.status == 201
    assert bodies == [file.read_bytes()] * 2


def endless(handler: Handler) -> bool:
    """Send for ever, as fast as it goes."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    while True:
        handler.wfile.write(bytes(1 << 16))
        handler.registry.sent_bytes += 1 << 16


def dripping(handler: Handler) -> bool:
    """Send a byte now and then."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.02)


def test_a_document_ends_somewhere(registry: FakeRegistry) -> None:
    session = opened(registry)
    registry.fault = endless
    with pytest.raises(ImageError, match="more than 8388608 bytes: no document of a registry is so long"):
        session.ask("GET", "manifests/latest")
    assert registry.sent_bytes < 64 << 20


def test_drips_end(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_answer, "DOCUMENT_MOST_S", 0.3)
    monkeypatch.setattr(registry_answer, "WINDOW_S", 0.3)
    session = opened(registry)
    registry.fault = dripping
    with pytest.raises(Timeout, match="no end of the document"):
        session.ask("GET", "manifests/latest")
    with pytest.raises(Timeout, match="less than 1024 bytes per second"):
        session.ask("GET", "blobs/x", read=lambda response: b"".join(blob_parts(response)))


def test_a_registry_that_takes_bytes_by_drops_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_answer, "WINDOW_S", 0.1)
    (tmp_path / "blob").write_bytes(bytes(1000))
    file = PacedFile(tmp_path / "blob", 1000)
    with pytest.raises(Timeout, match="less than 1024"):
        while file.read(1):
            time.sleep(0.02)
    file.close()


def test_what_breaks_off_is_an_error_of_the_line(registry: FakeRegistry) -> None:
    def breaks(handler: Handler) -> bool:
        handler.close_connection = True
        return handler.answer(200, b"half", Content_Length="8")

    session = opened(registry)
    registry.fault = breaks
    with pytest.raises(RequestException):
        session.ask("GET", "manifests/latest")


def test_what_is_no_registry_is_said(registry: FakeRegistry) -> None:
    for status in (404, 500):
        registry.fault = lambda handler, status=status: handler.answer(status)  # type: ignore[misc]
        with pytest.raises(
            ImageError, match=rf"http://{registry.host} is no image registry, .* answered {status} to /v2/"
        ):
            opened(registry)


def test_an_account_does_not_show() -> None:
    shown: Any = f"{ROBOT!r} {ROBOT}"
    assert "a-word" not in shown and base64.b64encode(b"robot:a-word-for-a-trial").decode() not in shown
