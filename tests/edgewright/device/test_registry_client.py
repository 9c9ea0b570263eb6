from __future__ import annotations

import base64
import contextlib
import socket
import threading
from typing import Any

import pytest

from edgewright.bundle import Bundle
from edgewright.device.registry_client import RegistryClient, TransferError
from edgewright.errors import RegistryError

NAME = "digits.linux-x86"


def test_an_alias_leads_to_a_version_its_tags_and_its_files(registry: Any, bundle: Bundle) -> None:
    registry.publish(bundle, "7")
    found = RegistryClient(registry.url + "/").find_version(NAME, "champion")
    assert (found.version, found.artifact_path) == ("7", "1/run7/artifacts/bundle")
    assert found.tag("edgewright.bundle_sha256") == bundle.sha256


def test_a_number_is_a_version(registry: Any, bundle: Bundle) -> None:
    registry.publish(bundle, "7", alias=None)
    assert RegistryClient(registry.url).find_version(NAME, "7").version == "7"


def test_what_is_not_there_is_named(registry: Any, bundle: Bundle) -> None:
    client = RegistryClient(registry.url)
    with pytest.raises(RegistryError, match=f"{NAME} has no champion yet in the registry at {registry.url}"):
        client.find_version(NAME, "champion")
    with pytest.raises(RegistryError, match=f"{NAME} has no version 9"):
        client.find_version(NAME, "9")
    registry.publish(bundle, "1")
    registry.versions[NAME, "1"]["tags"].clear()
    with pytest.raises(RegistryError, match=r"version 1 has no tag edgewright\.bundle_sha256"):
        client.find_version(NAME, "1").tag("edgewright.bundle_sha256")


def test_a_source_that_names_a_run_is_followed_to_its_files(registry: Any, bundle: Bundle) -> None:
    registry.publish(bundle, "7")
    registry.versions[NAME, "7"]["uri"] = "runs:/run7/bundle"
    assert RegistryClient(registry.url).find_version(NAME, "7").artifact_path == "1/run7/artifacts/bundle"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/x",
        "file:///etc",
        "http://evil/x",
        "mlflow-artifacts:/",
        "mlflow-artifacts:/1/../../x",
        "runs:/r/../x",
        "/tmp/x",
    ],
)
def test_only_the_registrys_own_files_are_followed(registry: Any, bundle: Bundle, uri: str) -> None:
    registry.publish(bundle, "1")
    registry.versions[NAME, "1"]["uri"] = uri
    with pytest.raises(RegistryError, match="mlflow-artifacts:/ addresses"):
        RegistryClient(registry.url).find_version(NAME, "1")


def test_credentials_come_from_the_environment(registry: Any, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.publish(bundle, "1")
    registry.credentials = "Basic " + base64.b64encode(b"device:s3cret").decode()
    with pytest.raises(RegistryError, match=r"refuses access \(401\)"):
        RegistryClient(registry.url).find_version(NAME, "1")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "device")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    assert RegistryClient(registry.url).find_version(NAME, "1").version == "1"


@pytest.mark.parametrize("url", ["ftp://host", "host:5000", "http://", "file:///etc/passwd", "http://a?b"])
def test_an_address_must_be_http(url: str) -> None:
    with pytest.raises(RegistryError, match="must look like http://host:5000"):
        RegistryClient(url)


def test_credentials_in_an_address_are_refused() -> None:
    with pytest.raises(RegistryError, match="holds no credentials"):
        RegistryClient("http://user:secret@host:5000")


def test_an_unreachable_registry_is_one_clear_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TransferError, match=f"the registry at {url} cannot be reached: .*refused"):
            RegistryClient(url).find_version(NAME, "1")


def test_a_silent_registry_is_given_up_on() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TransferError, match=r"cannot be reached: .*(timed out|no answer within)"):
            RegistryClient(url, timeout_s=0.2).find_version(NAME, "1")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b'{"a":"' + b"x" * (5 << 20),
        b'HTTP/1.1 200 OK\r\n\r\n{"model_version": 1}',
        b"",
    ],
    ids=["html", "cut", "redirect", "no http", "huge", "other json", "nothing"],
)
def test_any_other_answer_is_a_registry_error(answer: bytes) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                with contextlib.suppress(OSError):  # the client hangs up when it has read enough
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(RegistryError):
            RegistryClient(f"http://127.0.0.1:{server.getsockname()[1]}", timeout_s=5).find_version(NAME, "champion")
        thread.join()


@pytest.mark.parametrize("ends", [True, False])
def test_a_refusal_that_breaks_off_is_a_transfer_that_broke_off(ends: bool) -> None:
    """Trying again may help: what was downloaded so far is kept."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            line, _ = server.accept()
            line.recv(1 << 16)
            line.sendall(b"HTTP/1.1 429 Slow\r\nTransfer-Encoding: chunked\r\n\r\nc8\r\nslow down")
            if ends:
                line.close()
            kept.append(line)

        kept: list[socket.socket] = []
        thread = threading.Thread(target=refuse)
        thread.start()
        client = RegistryClient(f"http://127.0.0.1:{server.getsockname()[1]}", timeout_s=0.3)
        with pytest.raises(TransferError, match=r"refused \(429\) and broke off"):
            client.read_artifact("x", 1000)
        thread.join()
        kept[0].close()
