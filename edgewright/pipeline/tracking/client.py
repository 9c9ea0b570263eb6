"""The door to MLflow that the files of this package share: where the registry is, a quiet client, locks, errors.

MLflow costs seconds to import and is imported inside functions only. What comes out of it is untyped here (``Any``) and
is turned into this package's own values in the files beside this one, so that nobody else meets an MLflow type.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from edgewright.errors import RegistryError

LOCK_TIMEOUT_S = 120.0
PROXIED = "mlflow-artifacts:/"

# What MLflow's queries, aliases and URLs take without quoting; the dot is kept for `<model>.<target>`.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")

# Set where the person has not: MLflow is a library inside our commands, its own voice and its telemetry are not wanted.
QUIET_ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Seven retries with doubling pauses (the default) hide a registry that is gone for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@dataclass(frozen=True)
class Tracking:
    """Where runs and releases are kept.

    Attributes:
        uri: ``http(s)://…`` of a tracking server, or ``sqlite:///…`` of the embedded store when no server is needed.
        home: The workspace folder; holds the embedded store (``mlflow/``) and the locks (``locks/``).
        started_here: Whether this process started the server behind ``uri``.
    """

    uri: str
    home: Path
    started_here: bool = False

    @property
    def is_direct(self) -> bool:
        """Whether the store is opened as a file, without a server."""
        return not self.uri.startswith(("http://", "https://"))


def store_folder(home: Path) -> Path:
    """Folder of the embedded store, absolute: its database, its artifacts and its server's log and state."""
    return home.resolve() / "mlflow"


def artifacts_folder(home: Path) -> Path:
    """Folder that the embedded server's artifact proxy writes to."""
    return store_folder(home) / "artifacts"


def database_uri(home: Path) -> str:
    """SQLAlchemy URI of the embedded store's database."""
    return f"sqlite:///{store_folder(home) / 'mlflow.db'}"


def open_client(tracking: Tracking) -> Any:
    """An ``MlflowClient`` for ``tracking``; opened once per process and URI, safe to share between threads."""
    return open_client_at(tracking.uri)


def artifact_repository(tracking: Tracking, uri: str) -> Any:
    """MLflow's ``ArtifactRepository`` for a folder ``uri``; without a server, proxied URIs lead to the files."""
    silence()
    if tracking.is_direct and uri.startswith(PROXIED):
        from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

        return LocalArtifactRepository(str(artifacts_folder(tracking.home) / uri.removeprefix(PROXIED).lstrip("/")))
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(uri, tracking_uri=tracking.uri)


def silence() -> None:
    """Keep MLflow and alembic from speaking for themselves; call before any import of mlflow."""
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)


@contextmanager
def registry_errors(doing: str) -> Iterator[None]:
    """Turn MLflow's, the database's and the connection's exceptions into a RegistryError that says what was being done.

    Args:
        doing: The act, as the start of a sentence, e.g. ``promoting a version``.

    Raises:
        RegistryError: With MLflow's own first line as the reason.
    """
    silence()
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RegistryError(f"{doing} failed: the registry answered: {reason}") from error


def is_missing(error: Exception) -> bool:
    """Whether an ``MlflowException`` says that the thing asked for does not exist."""
    code = getattr(error, "error_code", "")
    # MLflow answers INVALID_PARAMETER_VALUE, not RESOURCE_DOES_NOT_EXIST, for an alias that nobody set.
    return code == "RESOURCE_DOES_NOT_EXIST" or (code == "INVALID_PARAMETER_VALUE" and "not found" in str(error))


@contextmanager
def lock(tracking: Tracking, name: str) -> Iterator[None]:
    """Hold the lock ``name`` of this workspace. The kernel frees it when its holder dies, so no lock outlives a kill.

    Raises:
        RegistryError: Another process held it for longer than ``LOCK_TIMEOUT_S``.
    """
    path = tracking.home.resolve() / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path)
    try:
        held.acquire(timeout=LOCK_TIMEOUT_S)
    except Timeout as error:
        raise RegistryError(
            f"{path} has been held by another process for {LOCK_TIMEOUT_S:.0f} s: wait for it to finish, or end it"
        ) from error
    try:
        yield
    finally:
        held.release()


def alias_lock(tracking: Tracking, name: str) -> AbstractContextManager[None]:
    """The one lock of a registered model: whoever writes its versions or aliases holds it and reads inside it."""
    return lock(tracking, f"registry.{name}")


@lru_cache(maxsize=8)
def open_client_at(uri: str) -> Any:
    """An ``MlflowClient`` for a tracking URI; opened once per process and URI, safe to share between threads."""
    silence()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)
