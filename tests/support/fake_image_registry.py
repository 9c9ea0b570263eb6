"""An image registry in memory, on loopback, with or without TLS, which tests let misbehave."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


@dataclass
class FakeRegistry:
    """The server's state; tests change it while it runs.

    Attributes:
        host: Where it is: address and port.
        asked: What was asked: method, path, and who it was (``Authorization``).
        kept: Blobs by digest, manifests by digest and by tag.
        fault: May answer in the registry's stead, and says whether it did.
        location: Changes the address that an upload is told.
        challenge: What is answered to who does not say that it is `account`; empty for a registry without accounts.
        account: The value of ``Authorization`` that is let in.
        sent_bytes: What `fault` sent.
    """

    host: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)
    uploads: set[str] = field(default_factory=set)
    fault: Callable[[Handler], bool] = lambda _: False
    location: Callable[[str], str] = lambda place: place
    challenge: str = ""
    account: str = "nobody"
    sent_bytes: int = 0

    def methods(self, part: str) -> list[str]:
        """Methods of what was asked for paths with a part."""
        return [method for method, path, _ in self.asked if part in path]


class Handler(BaseHTTPRequestHandler):
    """One question."""

    protocol_version = "HTTP/1.1"
    registry: FakeRegistry

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> bool:
        """Answer; True, for a fault's convenience."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return True

    def body(self) -> bytes:
        """What was sent."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def handle_one(self) -> None:
        """Answer as a registry."""
        registry, parts = self.registry, urlsplit(self.path)
        who = self.headers.get("Authorization", "")
        registry.asked.append((self.command, self.path, who))
        with suppress(ConnectionError):
            if registry.fault(self):
                return
            sent, name = self.body(), parts.path.rpartition("/")[2]
            if registry.challenge and who != registry.account:
                self.answer(401, b"who asks?", WWW_Authenticate=registry.challenge)
            elif parts.path == "/v2/":
                self.answer(200)
            elif self.command == "POST":
                upload = f"{parts.path}{len(registry.asked)}"
                registry.uploads.add(upload)
                self.answer(202, Location=registry.location(upload))
            elif self.command == "DELETE":
                self.answer(204)
            elif self.command == "PUT" and "/uploads/" in parts.path:
                self._finish(parts.path, parse_qs(parts.query)["digest"][0], sent)
            elif self.command == "PUT":
                registry.kept[name] = registry.kept[f"sha256:{hashlib.sha256(sent).hexdigest()}"] = sent
                self.answer(201)
            elif name in registry.kept:
                self.answer(200, registry.kept[name])
            else:
                self.answer(404)

    def _finish(self, upload: str, digest: str, sent: bytes) -> None:
        if upload not in self.registry.uploads:
            self.answer(404, b"BLOB_UPLOAD_UNKNOWN")
        elif digest != f"sha256:{hashlib.sha256(sent).hexdigest()}":
            self.answer(400, b"DIGEST_INVALID")
        else:
            self.registry.kept[digest] = sent
            self.answer(201)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_one


@contextmanager
def fake_registry(certificate: Path | None = None) -> Iterator[FakeRegistry]:
    """Run one; with TLS where a certificate with its key is named."""
    state = FakeRegistry()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"registry": state}))
    server.daemon_threads, server.block_on_close = True, False
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    state.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_certificate(path: Path) -> Path:
    """A certificate of 127.0.0.1 that signs itself, and its key, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    where = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(where, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
