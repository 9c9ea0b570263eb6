"""The registry as a device sees it: MLflow's REST over the standard library alone, and nothing taken on trust.

Four calls suffice: alias to version, version to tags, version to artifact address, and the artifact itself, of which
any part can be asked for. MLflow's own client would cost a device 160 MB of memory. The artifact store accepts writes
from anybody by default, so what is fetched here counts only once its digest was checked.
"""

from __future__ import annotations

import base64
import http.client
import os
import urllib.error
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from edgewright.device.http_address import registry_address_fault
from edgewright.device.paced_http import Pace, PacedRequest, StopAskedError, paced_opener
from edgewright.errors import RegistryError
from edgewright.strict_json import Fields, load_json

TAG_BUNDLE_SHA256 = "edgewright.bundle_sha256"
TAG_REFERENCE_SHA256 = "edgewright.reference_bundle_sha256"
_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_ANSWER_MAX_BYTES = 4 << 20  # a version's answer is a few KiB; somebody may have attached long descriptions
_READ_BYTES = 1 << 16
_MINIMUM_BYTES_PER_S = 1024.0
_MISSING_ALIAS = "Registered model alias"


class ResourceMissingError(RegistryError):
    """The registry answers, and does not have what was asked for."""


class TransferError(RegistryError):
    """The registry cannot be reached, or a transfer broke off: trying again may help."""


class TransferStoppedError(RegistryError):
    """A transfer was broken off because this program shall stop."""


class OversizeError(RegistryError):
    """The registry sends more than was asked for."""


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model.

    Attributes:
        name: Registered name, e.g. ``digits.linux-x86``.
        version: Its number.
        tags: What the workshop wrote to it.
        artifact_path: Path of its bundle in the artifact store.
    """

    name: str
    version: str
    tags: Mapping[str, str]
    artifact_path: str

    def tag(self, key: str) -> str:
        """Give a tag that must be there.

        Raises:
            RegistryError: It is not.
        """
        if key not in self.tags:
            raise RegistryError(
                f"{self.name} version {self.version} has no tag {key}: it was not released by edgewright. "
                f"Ask for another version."
            )
        return self.tags[key]


@dataclass(frozen=True)
class Answer:
    """An open answer to a request for an artifact.

    Attributes:
        start: Position of its first byte in the artifact: 0 when the registry ignored the wish to start later.
        stream: The bytes; shorter than promised when the connection breaks.
    """

    start: int
    stream: http.client.HTTPResponse

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes as they arrive.

        Raises:
            TransferError: The connection broke off.
        """
        while True:
            try:
                chunk = self.stream.read1(_READ_BYTES)
            except (OSError, http.client.HTTPException) as cause:
                raise _broken("the transfer from the registry broke off", cause) from cause
            if not chunk:
                return
            yield chunk


class RegistryClient:
    """Asks one registry. Credentials come from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, when set.

    Attributes:
        url: Where it is.
        minimum_bytes_per_s: An answer that comes slower is broken off.
        received_bytes: What came, headers too.
        sent_bytes: What was sent.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float = 30.0,
        minimum_bytes_per_s: float = _MINIMUM_BYTES_PER_S,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            url: Where the registry is, e.g. ``http://127.0.0.1:5000``.
            timeout_s: How long a connection may be silent.
            minimum_bytes_per_s: After n bytes at most ``timeout_s + n / minimum_bytes_per_s`` may have passed.
            should_stop: Asked while a transfer waits; it ends with TransferStoppedError when true.

        Raises:
            RegistryError: The address is none.
        """
        if (fault := registry_address_fault(url)) is not None:
            raise RegistryError(f"a registry's address {fault}")
        self.url = url.rstrip("/")
        self.minimum_bytes_per_s = minimum_bytes_per_s
        self.should_stop = should_stop
        self.received_bytes = self.sent_bytes = 0
        self._timeout_s = timeout_s
        self._headers = _authorization(os.environ)
        self._opener = paced_opener()

    def find_version(self, name: str, alias: str) -> ModelVersion:
        """Find the version that an alias points at, or the version of that number.

        Raises:
            RegistryError: There is none, it is inconsistent, or the registry cannot be asked.
        """
        if alias.isdigit():
            version = alias
        else:
            found = self._ask("registered-models/alias", f"{name} has no {alias} yet", name=name, alias=alias)
            version = found.inner("model_version").text("version")
        missing = f"{name} has no version {version}"
        found = self._ask("model-versions/get", missing, name=name, version=version).inner("model_version")
        tags = _tags(found.array("tags")) if found.has("tags") else {}
        address = self._ask("model-versions/get-download-uri", missing, name=name, version=version)
        return ModelVersion(name, version, tags, _artifact_path(self._resolve(address.text("artifact_uri"))))

    def _resolve(self, address: str) -> str:
        """Follow ``runs:/<run>/<folder>``: the registry gives a version's source back as it was written."""
        if not address.startswith("runs:/"):
            return address
        run_id, _, folder = address.removeprefix("runs:/").partition("/")
        found = self._ask("runs/get", f"there is no run {run_id}", run_id=run_id)
        return f"{found.inner('run').inner('info').text('artifact_uri').rstrip('/')}/{folder}"

    @contextmanager
    def open_artifact(self, path: str, start: int = 0, most_bytes: int | None = None) -> Iterator[Answer]:
        """Ask for an artifact from a position on.

        Args:
            path: Path in the artifact store.
            start: First byte wanted. The answer may start at 0 all the same.
            most_bytes: Length that the answer cannot rightly exceed; None when it is not known.

        Raises:
            ResourceMissingError: There is no such artifact, or it is not longer than start.
            RegistryError: The registry refuses, or cannot be reached.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        address, missing = f"{_ARTIFACTS}/{urllib.parse.quote(path)}", f"there is no artifact {path}"
        with self._open(address, headers, missing, most_bytes) as stream:
            yield Answer(_start_of(stream, start), stream)

    def read_artifact(self, path: str, limit_bytes: int) -> bytes:
        """Read a small artifact whole.

        Raises:
            OversizeError: It is larger than the limit.
            RegistryError: It cannot be read.
        """
        with self.open_artifact(path, 0, limit_bytes) as answer:
            return _read_bounded(answer.stream, limit_bytes, f"artifact {path}")

    def _ask(self, call: str, missing: str, **query: str) -> Fields:
        path = f"{_API}/{call}?{urllib.parse.urlencode(query)}"
        with self._open(path, {}, missing, _ANSWER_MAX_BYTES) as stream:
            data = _read_bounded(stream, _ANSWER_MAX_BYTES, call)
        place = f"the registry's answer to {call}"
        return Fields(load_json(data, place, RegistryError), place, RegistryError)

    @contextmanager
    def _open(
        self, path: str, headers: Mapping[str, str], missing: str, most_bytes: int | None
    ) -> Iterator[http.client.HTTPResponse]:
        pace = Pace(self._timeout_s, self.minimum_bytes_per_s, self.should_stop)
        request = PacedRequest(self.url + path, {**self._headers, **headers}, pace)
        try:
            stream = self._request(request, missing)
            pace.allow_body(most_bytes)
            with stream:
                yield stream
        finally:
            self.received_bytes += pace.received_bytes
            self.sent_bytes += pace.sent_bytes

    def _request(self, request: PacedRequest, missing: str) -> http.client.HTTPResponse:
        try:
            stream: http.client.HTTPResponse = self._opener.open(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as cause:
            with cause:
                raise self._refusal(cause, missing) from cause
        except (OSError, http.client.HTTPException) as cause:
            reason = getattr(cause, "reason", cause)
            if isinstance(reason, TimeoutError):
                reason = f"no answer within {self._timeout_s:g} s"
            raise _broken(f"the registry at {self.url} cannot be reached", cause, reason) from cause
        return stream

    def _refusal(self, answer: urllib.error.HTTPError, missing: str) -> RegistryError:
        if answer.code in (404, 416):
            return ResourceMissingError(f"{missing} in the registry at {self.url}.")
        if answer.code in (401, 403):
            return RegistryError(
                f"the registry at {self.url} refuses access ({answer.code}): set MLFLOW_TRACKING_USERNAME and "
                f"MLFLOW_TRACKING_PASSWORD, or have this host's name allowed there; a registry with accounts says the "
                f"same of what is not there, so check the model's name."
            )
        if answer.code >= 500:
            return TransferError(f"the registry at {self.url} failed ({answer.code} {answer.reason}).")
        try:
            text = answer.read(200).decode(errors="replace").split("\n")[0]
        except (OSError, http.client.HTTPException) as cause:
            raise _broken(f"the registry at {self.url} refused ({answer.code}) and broke off", cause) from cause
        if answer.code == 400 and _MISSING_ALIAS in text:  # MLflow does not answer 404 to that
            return ResourceMissingError(f"{missing} in the registry at {self.url}.")
        return RegistryError(f"the registry at {self.url} refused ({answer.code}): {text}")


def _broken(what: str, cause: Exception, reason: object = None) -> RegistryError:
    """Make the error for a transfer that ended before its time."""
    if isinstance(cause, StopAskedError):
        return TransferStoppedError("the transfer from the registry was broken off: this program shall stop.")
    return TransferError(f"{what}: {reason or repr(cause)}.")


def _authorization(environment: Mapping[str, str]) -> dict[str, str]:
    user, password = environment.get("MLFLOW_TRACKING_USERNAME"), environment.get("MLFLOW_TRACKING_PASSWORD")
    if user is None or password is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")}


def _tags(values: list[object]) -> dict[str, str]:
    tags = {}
    for value in values:
        fields = Fields(value, "a tag of a model version", RegistryError)
        tags[fields.text("key")] = fields.text("value")
    return tags


def _artifact_path(address: str) -> str:
    """Give the path in the registry's own artifact store: a device follows no address to another place."""
    parts = urllib.parse.urlsplit(address)
    path = parts.path.strip("/")
    if parts.scheme != "mlflow-artifacts" or not path or any(part in ("", ".", "..") for part in path.split("/")):
        raise RegistryError(
            f"the version's files are at {address!r}; a device can only fetch mlflow-artifacts:/ addresses. "
            f"Start the registry with --serve-artifacts."
        )
    return path


def _start_of(stream: http.client.HTTPResponse, wanted: int) -> int:
    if stream.status != 206:
        return 0
    text = stream.headers.get("Content-Range", "")
    if not text.startswith(f"bytes {wanted}-"):
        raise RegistryError(f"the registry was asked for bytes from {wanted} on and sent {text!r}.")
    return wanted


def _read_bounded(stream: http.client.HTTPResponse, limit_bytes: int, what: str) -> bytes:
    try:
        data = stream.read(limit_bytes + 1)
    except (OSError, http.client.HTTPException) as cause:
        raise _broken(f"reading {what} from the registry broke off", cause) from cause
    if len(data) > limit_bytes:
        raise OversizeError(
            f"{what} from the registry is larger than {limit_bytes} bytes: it is not what it should be."
        )
    promised = stream.headers.get("Content-Length")
    if promised is not None and promised.isdigit() and int(promised) > len(data):
        raise TransferError(f"reading {what} from the registry broke off after {len(data)} of {promised} bytes.")
    return data
