"""The embedded server: started by its first user, shared, stopped by its last, found again after kills."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgewright.errors import RegistryError
from edgewright.pipeline.tracking import (
    RunRecord,
    TrackingServer,
    download,
    log_run,
    metadata,
    promote,
    register,
    stop_unused_server,
    tracking_server,
)
from edgewright.pipeline.tracking.client import QUIET_ENVIRONMENT, store_folder
from edgewright.pipeline.tracking.server import release_server, server_use
from edgewright.pipeline.tracking.server_process import MARK, SERVER_SETTINGS

ROOT = Path(__file__).parents[4]


@pytest.fixture
def home(migrated_store: Path, tmp_path: Path) -> Iterator[Path]:
    """A workspace whose registry needs no migration; whatever a test leaves running there is ended."""
    home = tmp_path / "home"
    store_folder(home).mkdir(parents=True)
    shutil.copy(migrated_store, store_folder(home) / "mlflow.db")
    yield home
    for process in servers_of(home):
        process.kill()


def servers_of(home: Path) -> list[Any]:
    """The live processes of this workspace's server."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").endswith(f":{store_folder(home)}"):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def state_of(home: Path) -> dict[str, Any]:
    return dict(json.loads((store_folder(home) / "server.json").read_text()))


def get(url: str, **headers: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return answer.status, answer.read()


def test_a_release_goes_from_the_workshop_to_a_device_by_plain_rest(
    home: Path, record: Callable[..., RunRecord], make_bundle: Callable[[str], tuple[Path, str]], tmp_path: Path
) -> None:
    waited: list[float] = []
    with TrackingServer(home) as server:
        begun = time.monotonic()
        server.begin()
        assert time.monotonic() - begun < 1.0, "beginning does not wait"
        tracking = server.wait(waited.append)
        assert tracking.started_here
        assert waited == sorted(waited)

        run_id = log_run(tracking, record("b1", metrics={"accuracy_pct": 100 / 3}))
        version = register(
            tracking,
            "digits",
            "linux-x86",
            run_id=run_id,
            build="b1",
            bundle_sha256=make_bundle("b1-p50-i8")[1],
            verdict="pass",
            variant="p50-i8",
        )
        promote(tracking, "digits", "linux-x86", version.version, reason="passed", who="test")

        api = f"{tracking.uri}/api/2.0"
        of_model = "name=digits.linux-x86"
        found = json.loads(get(f"{api}/mlflow/registered-models/alias?{of_model}&alias=champion")[1])["model_version"]
        assert {tag["key"]: tag["value"] for tag in found["tags"]}["edgewright.bundle_sha256"] == version.bundle_sha256
        where = json.loads(
            get(f"{api}/mlflow/model-versions/get-download-uri?{of_model}&version={found['version']}")[1]
        )
        path = where["artifact_uri"].removeprefix("mlflow-artifacts:/").lstrip("/")
        model = (make_bundle("b1-p50-i8")[0] / "model.onnx").read_bytes()
        assert get(f"{api}/mlflow-artifacts/artifacts/{path}/model.onnx") == (200, model)
        assert get(f"{api}/mlflow-artifacts/artifacts/{path}/model.onnx", Range="bytes=10-19") == (206, model[10:20])

        run = json.loads(get(f"{api}/mlflow/runs/get?run_id={run_id}")[1])["run"]
        assert {m["key"]: m["value"] for m in run["data"]["metrics"]} == {"accuracy_pct": 100 / 3}
        assert download(tracking, version, "bundle", tmp_path / "over-http").is_dir()
        assert download(metadata(home), version, "bundle", tmp_path / "from-files").is_dir()
        assert len(servers_of(home)) == 2, "one leader, one worker"
    assert servers_of(home) == []


def test_settings_of_the_embedded_server_and_of_others_are_the_same() -> None:
    lines = (ROOT / "mlflow" / "server.env").read_text().splitlines()
    assert dict(line.split("=", 1) for line in lines if line and not line.startswith("#")) == SERVER_SETTINGS


def test_no_python_file_shadows_mlflow() -> None:
    assert not list((ROOT / "mlflow").rglob("*.py"))


def test_the_package_costs_nothing_to_import_and_mlflow_stays_quiet(home: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import edgewright.pipeline.tracking as t\n"
        "assert not {'mlflow', 'sqlalchemy', 'requests'} & set(sys.modules)\n"
        "assert t.registered_names(t.metadata(Path(sys.argv[1]))) == ()"
    )
    done = subprocess.run([sys.executable, "-c", script, str(home)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_metadata_needs_a_registry(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="holds no registry yet: `edgewright build` makes one"):
        metadata(tmp_path)


def test_no_server_is_stopped_where_none_was_started(tmp_path: Path) -> None:
    assert not stop_unused_server(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


class Health(BaseHTTPRequestHandler):
    """A tracking server's /health below the path /mlflow, and 403 elsewhere, as its host check answers."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/mlflow/health" else 403)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def remote() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_of_the_environment_is_used_and_left_alone(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{remote}/mlflow/")
    with tracking_server(tmp_path) as tracking:
        assert (tracking.uri, tracking.started_here) == (f"{remote}/mlflow", False)
    assert metadata(tmp_path).uri == f"{remote}/mlflow"
    assert servers_of(tmp_path) == []


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:9/", "does not answer: .*refused"),
        ("http://someone:secret@127.0.0.1:9", r"tracking server http://127\.0\.0\.1:9 "),
        ("REMOTE", "/health says 403"),
        ("sqlite:///here.db", "devices can reach"),
        ("elsewhere", "devices can reach"),
    ],
)
def test_a_server_of_the_environment_that_is_no_use_is_named(
    uri: str, said: str, remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.replace("REMOTE", remote))
    with pytest.raises(RegistryError, match=said) as refusal, tracking_server(tmp_path):
        pass
    assert "MLFLOW_TRACKING_URI" in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_a_server_that_cannot_start_is_explained_by_its_own_words(home: Path) -> None:
    (store_folder(home) / "mlflow.db").write_bytes(b"this is no database" * 1000)
    said = re.compile("ended while it started.*not a database", re.DOTALL)
    with pytest.raises(RegistryError, match=said), tracking_server(home):
        pass
    assert servers_of(home) == []
    assert state_of(home)["users"] == {}


def test_what_makes_mlflow_speak_or_send_is_off() -> None:
    assert QUIET_ENVIRONMENT["MLFLOW_DISABLE_TELEMETRY"] == SERVER_SETTINGS["MLFLOW_DISABLE_TELEMETRY"] == "true"


USER = """
import sys
from pathlib import Path
from edgewright.pipeline.tracking import tracking_server
with tracking_server(Path(sys.argv[1])) as tracking:
    print(tracking.uri, tracking.started_here, flush=True)
    sys.stdin.readline()
"""


def start_user(home: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", USER, str(home)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said_by(user: subprocess.Popen[str]) -> list[str]:
    assert user.stdout is not None
    return user.stdout.readline().split()


@pytest.mark.slow
def test_two_users_share_a_server_and_a_killed_one_does_not_keep_it(home: Path) -> None:
    first, second = start_user(home), start_user(home)
    said = [said_by(first), said_by(second)]
    assert said[0][0] == said[1][0]
    assert sorted(each[1] for each in said) == ["False", "True"]
    assert len(servers_of(home)) == 2

    # The one that started it leaves in good order: the server stays for the other.
    starter, other = (first, second) if said[0][1] == "True" else (second, first)
    starter.communicate("\n", timeout=60)
    assert len(servers_of(home)) == 2
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert len(servers_of(home)) == 2, "a kill leaves the server without users"

    with tracking_server(home) as tracking:
        assert (tracking.uri, tracking.started_here) == (said[0][0], False)
        assert not stop_unused_server(home), "it is in use"
    assert servers_of(home) == []


@pytest.mark.slow
def test_an_orphan_that_the_state_file_does_not_know_is_found_and_used(home: Path) -> None:
    user = start_user(home)
    uri = said_by(user)[0]
    user.kill()
    user.communicate()
    (store_folder(home) / "server.json").write_text("{torn")

    with tracking_server(home) as tracking:
        assert (tracking.uri, tracking.started_here) == (uri, False)
    assert servers_of(home) == []


@pytest.mark.slow
def test_a_stale_state_file_is_replaced_and_the_port_kept(home: Path) -> None:
    # Process ids are reused: this one lives, but is not the server that the file speaks of.
    stranger = {"pid": os.getpid(), "created": 1000.0}
    with tracking_server(home) as before:
        port = int(before.uri.rpartition(":")[2])
    stale = {"server": {"mark": stranger, "port": port}, "port": port, "users": {"someone": stranger}}
    (store_folder(home) / "server.json").write_text(json.dumps(stale))

    with tracking_server(home) as tracking:
        assert (tracking.uri, tracking.started_here) == (before.uri, True)
    assert servers_of(home) == []


@pytest.mark.slow
def test_a_server_whose_leader_was_killed_is_cleared_away_and_started_anew(home: Path) -> None:
    with TrackingServer(home) as server:
        server.wait()
        leader = state_of(home)["server"]["mark"]["pid"]
        os.kill(leader, signal.SIGKILL)
        time.sleep(0.5)
        with tracking_server(home) as tracking:
            assert get(f"{tracking.uri}/health")[0] == 200
            assert state_of(home)["server"]["mark"]["pid"] != leader
            assert len(servers_of(home)) == 2
    assert servers_of(home) == []


@pytest.mark.slow
def test_a_server_that_was_killed_before_it_was_needed_is_started_again(home: Path) -> None:
    with TrackingServer(home) as server:
        server.begin()
        for process in servers_of(home):
            process.kill()
        assert get(f"{server.wait().uri}/health")[0] == 200
    assert servers_of(home) == []


@pytest.mark.slow
def test_a_port_that_was_taken_meanwhile_is_exchanged(home: Path, remote: str) -> None:
    taken = int(remote.rpartition(":")[2])
    (store_folder(home) / "server.json").write_text(json.dumps({"server": None, "port": taken, "users": {}}))

    with tracking_server(home) as tracking:
        assert tracking.uri != remote
        assert get(f"{tracking.uri}/health")[0] == 200


@pytest.mark.slow
def test_a_kept_server_outlives_its_users_until_it_is_released(home: Path) -> None:
    keeper = TrackingServer(home, kept=True)
    uri = keeper.wait().uri
    keeper.close()
    with tracking_server(home) as tracking:
        assert (tracking.uri, tracking.started_here) == (uri, False)
        use = server_use(home)
        assert (use.kept, use.users) == (True, (os.getpid(),))
    assert not stop_unused_server(home)
    assert get(f"{uri}/health")[0] == 200, "the last user left, and it is up"

    user = start_user(home)
    assert said_by(user)[0] == uri
    left = release_server(home)
    assert (left.kept, left.users) == (False, (user.pid,)), "not from under a command that uses it"
    user.communicate("\n", timeout=60)
    assert servers_of(home) == []
    assert release_server(home).server is None


@pytest.mark.slow
def test_a_kept_server_that_died_is_kept_no_longer_and_its_successor_is_a_users_own(home: Path) -> None:
    keeper = TrackingServer(home, kept=True)
    port = int(keeper.wait().uri.rpartition(":")[2])
    family = servers_of(home)
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=10)
    use = server_use(home)
    assert (use.server, use.kept, use.port) == (None, False, port), "the port is remembered, for links"
    with tracking_server(home) as tracking:
        assert tracking.started_here
        assert not server_use(home).kept
        assert TrackingServer(home, kept=True).wait().uri == tracking.uri
        assert server_use(home).kept
    assert len(servers_of(home)) == 2
    release_server(home)
    assert servers_of(home) == []
