"""Plain files beside runs in the server's artifact store, by path: no run, no version, no tag, and no trust in them.

With MLflow's basic auth, a path that names no experiment falls under the server's ``default_permission``: with
``READ``, which ``mlflow/auth.ini`` sets, whoever signed in may read it, and administrators alone may write it.
Workers of a team sign in as an administrator already (decision 0028), devices as an account that reads. Without
authentication everybody may do both.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from edgewright.durable import replace_file
from edgewright.errors import RegistryError
from edgewright.pipeline.tracking.client import Tracking, artifacts_folder, registry_errors, silence

_ENDPOINT = "/api/2.0/mlflow-artifacts/artifacts"
_TIMEOUT_S = 30
_READ_BYTES = 1 << 16


@registry_errors("reading signed metadata from the artifact store")
def read_blob(tracking: Tracking, path: str, limit_bytes: int) -> bytes | None:
    """Give at most so many bytes of a file; None where there is none.

    Raises:
        RegistryError: The server refuses or cannot be reached.
    """
    if tracking.is_direct:
        place = artifacts_folder(tracking.home) / path
        if not place.is_file():
            return None
        with place.open("rb") as stream:
            return stream.read(limit_bytes)
    with _ask(tracking, "GET", path, stream=True) as answer:
        if answer.status_code in (404, 410):
            return None
        _check(answer, tracking, path)
        content = b""
        for chunk in answer.iter_content(_READ_BYTES):
            content += chunk
            if len(content) >= limit_bytes:
                break
        return content[:limit_bytes]


@registry_errors("writing signed metadata to the artifact store")
def write_blob(tracking: Tracking, path: str, content: bytes) -> None:
    """Put a file in the place of whatever is there.

    Raises:
        RegistryError: The server refuses or cannot be reached.
    """
    if tracking.is_direct:
        place = artifacts_folder(tracking.home) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, content)
        return
    with _ask(tracking, "PUT", path, data=content) as answer:
        _check(answer, tracking, path)


@registry_errors("removing a file from the artifact store")
def remove_blob(tracking: Tracking, path: str) -> None:
    """Delete a file; one that is not there is no error.

    Raises:
        RegistryError: The server refuses or cannot be reached.
    """
    if tracking.is_direct:
        (artifacts_folder(tracking.home) / path).unlink(missing_ok=True)
        return
    with _ask(tracking, "DELETE", path) as answer:
        if answer.status_code != 404:
            _check(answer, tracking, path)


def _ask(tracking: Tracking, method: str, path: str, **words: Any) -> Any:
    """One request with MLflow's own settings: account, token, certificates, retries."""
    silence()
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    request: Any = http_request
    credentials: Any = get_default_host_creds
    return request(
        credentials(tracking.uri),
        f"{_ENDPOINT}/{quote(path)}",
        method,
        timeout=_TIMEOUT_S,
        raise_on_status=False,
        **words,
    )


def _check(answer: Any, tracking: Tracking, path: str) -> None:
    if answer.status_code in (401, 403):
        raise RegistryError(
            f"{tracking.uri} refuses {path} ({answer.status_code}): sign in as an administrator of MLflow "
            f"(MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD); others may read signed metadata, not write it."
        )
    if answer.status_code >= 400:
        raise RegistryError(
            f"{tracking.uri} answers {answer.status_code} for {path}: is it started with --serve-artifacts?"
        )
