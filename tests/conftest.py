"""What tests of several floors share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """Prefect with a database of its own, for flows and tasks that run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_LOGGING_LEVEL", "ERROR")
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=180):
            yield


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with all of its tables: migrating costs seconds, copying nothing."""
    from edgewright.pipeline.tracking import Tracking
    from edgewright.pipeline.tracking.client import database_uri, open_client, store_folder

    home = tmp_path_factory.mktemp("registry")
    store_folder(home).mkdir()
    open_client(Tracking(database_uri(home), home)).search_experiments()
    return store_folder(home) / "mlflow.db"


@pytest.fixture
def empty_registry(migrated_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``Tracking`` on an empty registry of this test's own, opened as a file; this process's workspace holds it."""
    from edgewright.pipeline.tracking import Tracking
    from edgewright.pipeline.tracking.client import database_uri, store_folder

    home = tmp_path / "workspace"
    store_folder(home).mkdir(parents=True)
    shutil.copy(migrated_database, store_folder(home) / "mlflow.db")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(home))
    return Tracking(database_uri(home), home)
