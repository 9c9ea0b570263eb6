"""``edgewright build`` up to the flow: what is wrong is said before anything starts; Ctrl-C; Prefect's own server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgewright.cli.build import _interruptible, read_recipe
from edgewright.cli.console import open_console
from edgewright.cli.prefect_server import PrefectServer
from edgewright.cli.prefect_settings import settle_prefect
from edgewright.errors import EdgewrightError, RecipeError
from edgewright.pipeline.workspace import Workspace

ROOT = Path(__file__).parents[3]
RECIPE = ROOT / "deployments" / "recipes" / "digits.yaml"
TARGETS = ROOT / "deployments" / "targets.yaml"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(home))
    return home


def test_another_seed_makes_the_same_recipe_a_challenger() -> None:
    assert read_recipe(RECIPE, TARGETS).seed == 7
    assert read_recipe(RECIPE, TARGETS, 8).seed == 8
    assert read_recipe(RECIPE, TARGETS, 8).variants == read_recipe(RECIPE, TARGETS).variants


def test_a_seed_out_of_bounds_is_refused_like_a_recipe(edgewright: Callable[..., Any], home: Path) -> None:
    with pytest.raises(RecipeError, match="--seed: 1 problem"):
        read_recipe(RECIPE, TARGETS, -1)
    said = edgewright("build", RECIPE, "--targets", TARGETS, "--seed", "-1")
    assert said.status == 2
    assert not home.exists(), "nothing was begun"


def test_all_problems_of_a_recipe_come_at_once(edgewright: Callable[..., Any], home: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    text = RECIPE.read_text().replace("sparsity: 0.5", "sparsity: 1.4").replace("pi5-arm64", "pi6")
    recipe.write_text(text.replace("calibration_samples: 200", "calibration_samples: 12"))
    said = edgewright("build", recipe, "--targets", TARGETS)
    assert (said.status, said.out) == (2, "")
    for key in ("data.calibration_samples", "variants[2].prune.sparsity", "targets[1]"):
        assert key in said.err
    assert "Traceback" not in said.err
    assert not home.exists()


def test_a_summary_without_a_folder_to_lie_in_is_said_now_and_not_at_the_end(
    edgewright: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    said = edgewright("build", RECIPE, "--targets", TARGETS, "--summary", tmp_path / "none" / "s.json")
    assert said.status == 2
    assert "its folder does not exist" in said.err
    assert not home.exists()


def test_an_interrupt_stops_the_stages_and_the_old_handling_comes_back() -> None:
    stopped: list[bool] = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), _interruptible(open_console(), lambda: stopped.append(True)):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    assert stopped == [True]
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("name", ["PREFECT_API_URL", "PREFECT_HOME"])
def test_a_server_of_the_persons_own_is_used_as_it_is(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("PREFECT_API_URL", "PREFECT_HOME"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, "http://prefect.example/api")
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    settings = dict(os.environ)
    try:
        assert settle_prefect(Workspace(home)) is None
        assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"
        assert os.environ[name] == "http://prefect.example/api"
    finally:
        for each in os.environ.keys() - settings.keys():
            monkeypatch.delenv(each)
    assert not home.exists()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Where the embedded Prefect server keeps its database, which takes some seconds to be made."""
    return Workspace(tmp_path_factory.mktemp("home"))


@pytest.fixture
def server(workspace: Workspace) -> Iterator[PrefectServer]:
    server = PrefectServer(workspace)
    yield server
    server.close()


@pytest.mark.slow
def test_prefects_server_answers_and_ends_when_it_is_closed(server: PrefectServer) -> None:
    server.wait()
    with urllib.request.urlopen(f"{server.api_url}/health", timeout=5) as answer:
        assert answer.status == 200
    server.close()
    server.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{server.api_url}/health", timeout=5)


@pytest.mark.slow
def test_prefects_server_ends_when_its_command_is_killed(workspace: Workspace) -> None:
    code = (
        "import sys, time; from pathlib import Path; from edgewright.cli.prefect_server import PrefectServer; "
        "from edgewright.pipeline.workspace import Workspace; server = PrefectServer(Workspace(Path(sys.argv[1]))); "
        "server.wait(); print(server._process.pid, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(workspace.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as starter:
        assert starter.stdout is not None
        orphan = psutil.Process(int(starter.stdout.readline()))
        starter.kill()
    orphan.wait(timeout=20)


@pytest.mark.slow
def test_a_server_of_prefect_that_cannot_start_says_why(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:////proc/none/prefect.db")
    server = PrefectServer(workspace)
    try:
        with pytest.raises(EdgewrightError, match="ended while it started"):
            server.wait()
    finally:
        server.close()
