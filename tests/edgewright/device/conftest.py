"""A registry that behaves: the four REST calls that a device uses, on loopback, and ways in which a line or a store fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from edgewright.bundle import Bundle
from edgewright.device.agent_state import Held
from tuf_repository import TufRepository


@dataclass
class Faults:
    """What goes wrong with artifacts whose path ends in ``at``."""

    at: str = "model.onnx"
    drop_after_bytes: int | None = None  # each connection breaks after so many
    ignore_range: bool = False
    endless: bool = False
    silent_s: float = 0.0  # before each answer
    bytes_per_s: float | None = None
    status: int | None = None


@dataclass
class FakeRegistry:
    """State of the registry; tests change it while the server runs."""

    url: str = ""
    versions: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    credentials: str | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def publish(
        self, bundle: Bundle, version: str, alias: str | None = "champion", reference: Bundle | None = None
    ) -> None:
        """Register a bundle as a build does."""
        name = f"{bundle.manifest.model}.{bundle.manifest.target}"
        run = f"1/run{version}/artifacts"
        tags = {"edgewright.bundle_sha256": bundle.sha256, "edgewright.verdict": "pass"}
        for folder, item in (("bundle", bundle), ("reference", reference)):
            for path in item.folder.iterdir() if item else ():
                self.artifacts[f"{run}/{folder}/{path.name}"] = path.read_bytes()
        if reference:
            tags["edgewright.reference_bundle_sha256"] = reference.sha256
        self.versions[name, version] = {"tags": tags, "uri": f"mlflow-artifacts:/{run}/bundle"}
        if alias:
            self.aliases[name, alias] = version

    def artifact_requests(self, name: str = "") -> list[tuple[str, str | None]]:
        """Paths and Range headers of the artifacts asked for."""
        return [
            request for request in self.requests if "/mlflow-artifacts/" in request[0] and request[0].endswith(name)
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: FakeRegistry

    def log_message(self, *_: Any) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        registry, parts = self.registry, urlsplit(self.path)
        registry.requests.append((parts.path, self.headers.get("Range")))
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if registry.credentials and self.headers.get("Authorization") != registry.credentials:
            return self._json(401, {"error_code": "UNAUTHENTICATED"})
        if parts.path.startswith("/api/2.0/mlflow-artifacts/artifacts/"):
            return self._artifact(unquote(parts.path.removeprefix("/api/2.0/mlflow-artifacts/artifacts/")))
        call = parts.path.removeprefix("/api/2.0/mlflow/")
        if call == "registered-models/alias":
            key = (query["name"], query["alias"])
            if key not in registry.aliases:
                if any(
                    name == key[0] for name, _ in registry.versions
                ):  # as MLflow answers, unlike for a missing model
                    message = f"Registered model alias {key[1]} not found."
                    return self._json(400, {"error_code": "INVALID_PARAMETER_VALUE", "message": message})
                return self._json(404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
            return self._json(
                200, {"model_version": {"name": key[0], "version": registry.aliases[key], "status": "READY"}}
            )
        if call == "runs/get":
            uri = f"mlflow-artifacts:/1/{query['run_id']}/artifacts"
            return self._json(200, {"run": {"info": {"run_id": query["run_id"], "artifact_uri": uri}}})
        found = registry.versions.get((query.get("name", ""), query.get("version", "")))
        if found is None:
            return self._json(404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
        if call == "model-versions/get-download-uri":
            return self._json(200, {"artifact_uri": found["uri"]})
        tags = [{"key": key, "value": value} for key, value in found["tags"].items()]
        return self._json(200, {"model_version": {"version": query["version"], **({"tags": tags} if tags else {})}})

    def _json(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _artifact(self, path: str) -> None:
        faults = self.registry.faults if path.endswith(self.registry.faults.at) else Faults()
        data = self.registry.artifacts.get(path)
        time.sleep(faults.silent_s)
        if data is None or faults.status:
            return self._json(faults.status or 404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and not faults.ignore_range else 0
        if start and start >= len(data):
            return self._json(416, {})
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if not faults.endless:
            self.send_header("Content-Length", str(len(data) - start))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        self._send(data[start:], faults)

    def _send(self, data: bytes, faults: Faults) -> None:
        limit = len(data) if faults.drop_after_bytes is None else faults.drop_after_bytes
        step = 512 if faults.bytes_per_s else 1 << 16
        try:
            for first in range(0, min(limit, len(data)), step):
                self.wfile.write(data[first : min(first + step, limit)])
                self.wfile.flush()
                if faults.bytes_per_s:
                    time.sleep(step / faults.bytes_per_s)
            while faults.endless:
                self.wfile.write(bytes(1 << 16))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the device has hung up, as it should when it was sent too much


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRegistry]:
    """A registry on a free loopback port, empty."""
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = FakeRegistry()
    handler = type("Handler", (_Handler,), {"registry": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def bundle(make_bundle: Callable[..., Bundle], tmp_path: Path) -> Bundle:
    """A sound INT8 bundle."""
    return make_bundle(tmp_path / "workshop" / "i8")


@pytest.fixture
def reference(make_bundle: Callable[..., Bundle], zoo: Any, tmp_path: Path) -> Bundle:
    """The same build's uncompressed reference."""
    return make_bundle(tmp_path / "workshop" / "fp32", model=zoo.float32("mlp"), variant="fp32")


@pytest.fixture(scope="session")
def held_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Held, Held]:
    """Two signed releases, as slots hold them."""
    repository = TufRepository(tmp_path_factory.mktemp("signed") / "store")
    return Held(repository.release(1), "2030-01-01T00:00:00Z"), Held(repository.release(2), "2030-01-01T00:00:00Z")
