"""What `edgewright deploy` refuses before anything changes; the rest is tested against a team's servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.desk.team_deploying import KEY, _remembered, deploy_for_team
from edgewright.errors import DeskError, SharedStoreError, UsageError
from edgewright.pipeline.object_store import FolderStore

ROOT = Path(__file__).parents[3]
POOL = Path("docker/pool.json")


def deploy(root: Path, shared: Path, **environment: str) -> None:
    deploy_for_team(root, POOL, FolderStore(shared), environment, None, lambda _: None)


def test_a_server_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="PREFECT_API_URL names no Prefect server: set it, or use `edgewright up`"):
        deploy(ROOT, tmp_path)


def test_it_runs_in_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no deployments/prefect\.yaml"):
        deploy(tmp_path, tmp_path, PREFECT_API_URL="http://127.0.0.1:9/api")


def test_a_server_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DeskError, match=r"http://127\.0\.0\.1:9/api does not answer"):
        deploy(ROOT, tmp_path, PREFECT_API_URL="http://127.0.0.1:9/api", PREFECT_API_AUTH_STRING="team:word")
    assert FolderStore(tmp_path).read(KEY) is None


def test_a_damaged_memory_is_named(tmp_path: Path) -> None:
    FolderStore(tmp_path).write(KEY, b"[torn")
    with pytest.raises(SharedStoreError, match=r"deployed\.json is damaged .*: delete it"):
        _remembered(FolderStore(tmp_path))
