"""What the parts of the desk are told: what a person set stays, but for where the servers are."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.desk.environment import client_environment, refuse_other_servers, server_environment
from edgewright.errors import UsageError
from edgewright.pipeline.workspace import Workspace


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI", "NO_PROXY", "no_proxy", "DO_NOT_TRACK"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["PREFECT_API_URL", "MLFLOW_TRACKING_URI"])
def test_servers_of_others_are_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_other_servers()
    monkeypatch.setenv(name, "http://team.example/api")
    with pytest.raises(UsageError, match=rf"{name} is 'http://team\.example/api'.*Unset"):
        refuse_other_servers()


def test_pages_call_the_port_that_the_server_has_and_nothing_is_sent(tmp_path: Path) -> None:
    told = server_environment(Workspace(tmp_path), 4321)
    assert told["PREFECT_SERVER_API_PORT"] == "4321"
    assert told["PREFECT_SERVER_UI_API_URL"] == "http://127.0.0.1:4321/api"
    assert (told["PREFECT_SERVER_ANALYTICS_ENABLED"], told["DO_NOT_TRACK"]) == ("false", "1")
    assert told["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert "PREFECT_API_URL" not in told, "the server asks no server"


def test_a_flow_finds_the_workspace_and_its_own_tracking_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "of another run")
    told = client_environment(Workspace(tmp_path), "http://127.0.0.1:4321/api")
    assert told["EDGEWRIGHT_HOME"] == str(tmp_path)
    assert told["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"
    assert told["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert told["OMP_NUM_THREADS"] == "3"
    assert {"MLFLOW_TRACKING_URI", "PREFECT__FLOW_RUN_ID"}.isdisjoint(told)


def test_what_a_person_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    monkeypatch.setenv("PREFECT_HOME", "/somewhere/else")
    told = client_environment(Workspace(tmp_path), "http://127.0.0.1:4321/api")
    assert told["PREFECT_LOGGING_LEVEL"] == "DEBUG"
    assert told["NO_PROXY"] == "intranet.example,127.0.0.1"
    assert told["PREFECT_HOME"] == str(tmp_path / "prefect")
