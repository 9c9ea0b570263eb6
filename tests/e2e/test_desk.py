"""The desk as a person opens, looks at and closes it; and what a kill of any of its parts leaves."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from edgewright.pipeline.signing.publisher import DEVELOPMENT
from trial_desk import TrialDesk, get, links, wait_for


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialDesk]:
    """One desk for this file; every test begins with `up`, so that none depends on what another one left."""
    desk = TrialDesk(tmp_path_factory.mktemp("checkout"))
    try:
        yield desk
    finally:
        desk.stop()


def test_up_opens_two_pages_a_worker_and_the_deployments_and_a_second_one_finds_them(desk: TrialDesk) -> None:
    first = desk.up()
    mlflow, prefect = links(first)
    assert mlflow.endswith("/#/experiments?workflowType=machine_learning")
    assert prefect.endswith("/deployments")
    for link in (mlflow, prefect):
        assert get(link)[0] == 200
    names = {flow["id"]: flow["name"] for flow in desk.api.all("/flows/filter")}
    deployed = {f"{names[each['flow_id']]}/{each['name']}" for each in desk.api.all("/deployments/filter")}
    assert deployed == {"trial/some", "nightly-retrain/some", "nightly-retrain/paused"}

    processes = {process.pid for process in desk.processes()}
    second = desk.up()
    assert "edgewright desk: was up" in second.out
    assert links(second) == links(first)
    assert {process.pid for process in desk.processes()} == processes
    status = desk.run("status")
    assert status.status == 0, status
    assert [line.split()[:3] for line in status.out.splitlines()[:3]] == [
        ["MLflow", "✓", "running"],
        ["Prefect", "✓", "running"],
        ["worker", "✓", "running"],
    ]


def test_a_schedule_really_has_runs_to_come(desk: TrialDesk) -> None:
    desk.up()
    query = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "sort": "EXPECTED_START_TIME_ASC"}
    coming = [run for run in desk.api.post("/flow_runs/filter", query) if run["auto_scheduled"]]
    active = desk.api.read("/deployments/name/nightly-retrain/some")["id"]
    assert len(coming) >= 3, "the next nights"
    assert {run["deployment_id"] for run in coming} == {active}
    assert "next      nightly-retrain/some " in desk.run("status").out


def test_pages_tell_the_browser_to_ask_this_machine_alone(desk: TrialDesk) -> None:
    _, prefect = links(desk.up())
    home = prefect.removesuffix("/deployments")
    policy = {name.lower(): value for name, value in get(home)[1].items()}["content-security-policy"]
    assert "default-src 'self' http://127.0.0.1:*" in policy
    assert "https" not in policy
    settings = desk.api.read("/admin/settings")
    assert settings["server"]["analytics_enabled"] is False
    assert f'"api_url":"{home}/api"' in get(f"{home}/ui-settings")[2].decode().replace(" ", "")
    # The server has its own list of integrations, and does not go and look for one.
    assert "process" in desk.api.read("/collections/views/aggregate-worker-metadata")["prefect"]


def test_a_run_of_a_form_is_done_in_the_checkout_and_its_page_has_the_log(desk: TrialDesk) -> None:
    desk.up()
    run = desk.begin("trial")
    assert desk.wait_for_state(run, {"Completed", "Failed", "Crashed"}) == "Completed"
    query = {"logs": {"flow_run_id": {"any_": [run]}}}
    wait_for(lambda: "a word from the run" in str(desk.api.post("/logs/filter", query)), 20)


PARTS = {"mlflow": "MLflow", "prefect": "Prefect", "worker": "worker"}


@pytest.mark.parametrize(
    "killed",
    [
        ("prefect", "worker"),
        *(pytest.param((part,), marks=pytest.mark.slow) for part in PARTS),
        pytest.param(tuple(PARTS), marks=pytest.mark.slow),
    ],
    ids="+".join,
)
def test_killed_parts_are_told_and_started_again_where_they_were(killed: tuple[str, ...], desk: TrialDesk) -> None:
    before = desk.up()
    pids = {other: desk.pid(other) for other in PARTS if other not in killed}
    for part in killed:
        desk.kill(part)
    status = desk.run("status")
    assert status.status == 1
    conditions = {line.split()[0].lower(): line.split()[2] for line in status.out.splitlines()[:3]}
    assert conditions == {part: "crashed" if part in killed else "running" for part in PARTS}
    for part in killed:
        assert f"/{'mlflow/server' if part == 'mlflow' else f'desk/{part}'}.log ends with:" in status.out

    again = desk.up()
    started = again.out.split("edgewright desk: started ")[1].split("  (")[0]
    assert set(started.split(", ")) == {PARTS[part] for part in killed}
    assert links(again) == links(before), "links outlive a restart"
    assert {other: desk.pid(other) for other in pids} == pids, "what lived was left alone"


def test_down_ends_what_up_started_and_a_run_that_is_going_on_as_cancelled(desk: TrialDesk) -> None:
    desk.up()
    run = desk.begin("trial", seconds=300)
    desk.wait_for_state(run, {"Running"})
    assert "runs now  trial/some (" in desk.run("status").out
    down = desk.run("down")
    assert down.status == 0, down
    assert "stopped worker, Prefect, MLflow" in down.out
    assert desk.processes() == []
    name, message = desk.recorded_state(run)
    assert (name, message[:19]) == ("Cancelled", "The desk was closed")

    again = desk.run("down")
    assert (again.status, again.out) == (0, "edgewright desk: nothing to stop\n")
    status = desk.run("status")
    assert status.status == 1
    assert status.out.count("not started") == 3


@pytest.mark.slow
def test_two_ups_at_once_open_one_desk(desk: TrialDesk) -> None:
    desk.run("down")
    both = [desk.start("up") for _ in range(2)]
    said = [(process.communicate(timeout=300), process.returncode) for process in both]
    assert [status for _, status in said] == [0, 0], said
    assert sorted("was up" in out for (out, _), _ in said) == [False, True]
    leaders = [process for process in desk.processes() if process.cmdline()[1:3] == ["-m", "prefect"]]
    servers = [process for process in desk.processes() if "edgewright.desk.prefect_process" in process.cmdline()]
    assert (len(leaders), len(servers)) == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0, 8.0, 14.0, 20.0])
def test_what_a_killed_up_left_is_used_by_the_next_one(seconds: float, desk: TrialDesk) -> None:
    desk.run("down")
    first = desk.start("up")
    time.sleep(seconds)
    first.kill()
    first.communicate()
    left = {process.pid for process in desk.processes()}
    # The file may be gone as well: what lives is found by its mark.
    (desk.home / "desk" / "desk.json").unlink(missing_ok=True)
    desk.up()
    assert left <= {process.pid for process in desk.processes()}
    servers = [process for process in desk.processes() if "edgewright.desk.prefect_process" in process.cmdline()]
    assert len(servers) == 1
    down = desk.run("down")
    assert (down.status, desk.processes()) == (0, [])


@pytest.mark.slow
def test_a_port_that_was_taken_meanwhile_is_exchanged_and_the_worker_follows(desk: TrialDesk) -> None:
    before = links(desk.up())
    worker = desk.pid("worker")
    desk.kill("prefect")
    taken: list[socket.socket] = []

    def take() -> bool:
        with suppress(OSError):
            taken.append(socket.create_server(("127.0.0.1", urlsplit(before[1]).port or 0)))
        return bool(taken)

    wait_for(take, 20)
    with taken[0]:
        after = links(desk.up())
    assert after[1] != before[1]
    assert desk.pid("worker") != worker
    assert desk.wait_for_state(desk.begin("trial"), {"Completed", "Failed", "Crashed"}) == "Completed"


@pytest.mark.slow
def test_a_desk_of_another_checkout_is_not_taken_over(desk: TrialDesk, tmp_path: Path) -> None:
    desk.up()
    other = TrialDesk(tmp_path / "other")
    other.variables["EDGEWRIGHT_HOME"] = str(desk.home)
    said = other.run("up")
    assert said.status == 2
    assert f"runs flows in {desk.root}, and this is {other.root}" in said.err
    assert desk.run("status").status == 0


@pytest.mark.slow
def test_a_run_outlives_its_worker_and_the_server(desk: TrialDesk) -> None:
    desk.up()
    run = desk.begin("trial", seconds=30)
    desk.wait_for_state(run, {"Running"})
    desk.kill("worker")
    desk.kill("prefect")
    desk.up()
    assert desk.state(run)[0] == "Running"
    assert desk.wait_for_state(run, {"Completed", "Failed", "Crashed", "Cancelled"}, 90) == "Completed"


@pytest.mark.slow
def test_up_ends_a_run_whose_process_was_killed_with_its_worker(desk: TrialDesk) -> None:
    desk.up()
    run = desk.begin("trial", seconds=300)
    desk.wait_for_state(run, {"Running"})
    desk.kill("worker")
    desk.flow_process(run).kill()
    assert desk.state(run)[0] == "Running", "nobody could say otherwise"
    up = desk.up()
    assert "note      ended as Crashed, because their process was gone: " in up.out
    name, message = desk.state(run)
    assert name == "Crashed"
    assert message.startswith("The process of this run had ended when the desk was opened again")


@pytest.mark.slow
def test_the_automation_ends_a_run_whose_process_was_killed_with_its_worker_and_no_other(desk: TrialDesk) -> None:
    """As installed, but for the wait: a heartbeat comes every 30 s, and the wait is cut from 120 s to 45 s."""
    file = desk.root / "deployments" / "automations" / "silent-runs.yaml"
    as_shipped = file.read_text()
    file.write_text(as_shipped.replace("within: 120", "within: 45"))
    try:
        desk.up()
        # It suspends in its first moment: its first heartbeat arrives after that.
        asking = desk.begin("trial", end="suspended")
        desk.wait_for_state(asking, {"Suspended"})
        first = desk.begin("trial", seconds=600)
        desk.wait_for_state(first, {"Running"})
        desk.kill("worker")
        desk.flow_process(first).kill()
        # Only a worker's own notice of the death is kept away: no `up` is run.
        desk.wait_for_state(first, {"Crashed"}, 120)
        assert desk.state(first)[1].startswith("The process of this run has said nothing for two minutes")
        assert desk.state(asking)[0] == "Suspended", "who waits for a person has no process, and is not dead"

        desk.up()
        second = desk.begin("trial", seconds=100)
        assert desk.wait_for_state(second, {"Completed", "Crashed"}, 200) == "Completed", "who speaks is left alone"
    finally:
        file.write_text(as_shipped)


@pytest.mark.slow
def test_a_suspended_run_goes_on_after_the_desk_was_closed_and_opened(desk: TrialDesk) -> None:
    desk.up()
    run = desk.begin("trial", end="suspended")
    desk.wait_for_state(run, {"Suspended"})
    desk.run("down")
    desk.up()
    assert desk.state(run)[0] == "Suspended"
    assert desk.api.post(f"/flow_runs/{run}/resume", {})["status"] == "ACCEPT"
    assert desk.wait_for_state(run, {"Completed", "Failed", "Crashed"}) == "Completed"


@pytest.mark.slow
def test_of_the_nights_that_passed_without_the_desk_only_the_last_is_made_up_for(desk: TrialDesk) -> None:
    desk.up()
    desk.run("down")
    query = "select id from flow_run where auto_scheduled = 1 and state_type = 'SCHEDULED' order by expected_start_time"
    with sqlite3.connect(desk.home / "prefect" / "prefect.db") as database:
        runs = [str(row[0]) for row in database.execute(query).fetchall()][:3]
        for days, run in zip((3, 2, 1), runs, strict=True):
            at = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%d %H:%M:%S.%f")
            words = "expected_start_time = ?, next_scheduled_start_time = ?, idempotency_key = ?"
            database.execute(f"update flow_run set {words} where id = ?", [at, at, f"scheduled {at}", run])
    identities = [str(uuid.UUID(run)) for run in runs]
    up = desk.up()
    assert "nightly-retrain/some: besides the last one, 2 runs were missed while the desk was closed" in up.out
    assert [desk.state(run)[0] for run in identities[:2]] == ["Skipped", "Skipped"]
    assert desk.wait_for_state(identities[2], {"Completed", "Failed", "Crashed"}) == "Completed"


@pytest.mark.slow
def test_what_a_person_switched_stays_when_the_deployments_change(desk: TrialDesk) -> None:
    desk.up()
    active = desk.api.read("/deployments/name/nightly-retrain/some")
    paused = desk.api.read("/deployments/name/nightly-retrain/paused")
    for deployment, wanted in ((active, False), (paused, True)):
        schedule = deployment["schedules"][0]["id"]
        desk.api.patch(f"/deployments/{deployment['id']}/schedules/{schedule}", {"active": wanted})
    file = desk.root / "deployments" / "prefect.yaml"
    as_shipped = file.read_text()
    file.write_text(
        as_shipped.replace(
            "  - name: some\n    entrypoint: trial_flows.flows.trial",
            "  - name: other\n    entrypoint: trial_flows.flows.trial",
        )
    )
    try:
        assert "deployments put into Prefect" in desk.up().out
        now = [desk.api.read(f"/deployments/name/nightly-retrain/{name}") for name in ("some", "paused")]
        assert [each["schedules"][0]["active"] for each in now] == [False, True]
        assert desk.api.find("/deployments/name/trial/some") is None, "what left the file left Prefect"
        assert desk.api.find("/deployments/name/trial/other") is not None
    finally:
        file.write_text(as_shipped)
        for each, wanted in zip(now, (True, False), strict=True):
            desk.api.patch(f"/deployments/{each['id']}/schedules/{each['schedules'][0]['id']}", {"active": wanted})


# What `edgewright build` does about Prefect, with a flow that does next to nothing.
COMMAND = """
from pathlib import Path
from edgewright.cli.prefect_settings import settle_prefect
from edgewright.pipeline.live_process import process_tag
from edgewright.pipeline.workspace import open_workspace
server = settle_prefect(open_workspace())
server.wait()
from prefect import tags
from trial_flows.flows import trial
with tags(process_tag()):
    trial(seconds=25)
"""


@pytest.mark.slow
def test_a_commands_run_is_on_the_desks_page_and_down_leaves_prefect_up_for_it(desk: TrialDesk) -> None:
    desk.up()
    words = [sys.executable, "-c", COMMAND, "build"]
    with subprocess.Popen(words, cwd=desk.root, env=desk.environment, stderr=subprocess.PIPE, text=True) as command:
        tag = f":{command.pid}:"
        query = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}

        def running() -> list[Any]:
            found = desk.api.post("/flow_runs/filter", query)
            return [run for run in found if any(tag in each for each in run["tags"])]

        wait_for(running, 60)
        [run] = running()
        down = desk.run("down")
        assert down.status == 1
        assert f"Prefect   stays up for edgewright build (process {command.pid})" in down.out
        assert desk.run("status").out.count("not started") == 2
        assert command.wait(60) == 0
        assert command.stderr is not None and command.stderr.read().replace(f"{DEVELOPMENT}\n", "") == ""
    assert desk.state(run["id"])[0] == "Completed"
    down = desk.run("down")
    assert (down.status, desk.processes()) == (0, [])


class Receiver(BaseHTTPRequestHandler):
    """A webhook that remembers what it was told."""

    told: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.told.append({"type": self.headers["Content-Type"], **json.loads(body)})
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[str]:
    Receiver.told.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_a_webhook_is_told_of_nightlies_that_did_not_end_well_and_of_nothing_else(
    desk: TrialDesk, receiver: str
) -> None:
    desk.up("--notify", receiver)
    for flow, end in (("trial", "failed"), ("nightly-retrain", "completed")):
        desk.wait_for_state(desk.begin(flow, end=end), {"Failed", "Completed"})
    refused = desk.begin("nightly-retrain", end="refused")
    desk.wait_for_state(refused, {"Refused"})
    failed = desk.begin("nightly-retrain", end="failed")
    desk.wait_for_state(failed, {"Failed"})
    crashed = desk.begin("nightly-retrain", seconds=300)
    desk.wait_for_state(crashed, {"Running"})
    desk.flow_process(crashed).kill()
    desk.wait_for_state(crashed, {"Crashed"})
    wait_for(lambda: len(Receiver.told) >= 3, 30)
    time.sleep(5)
    texts = [each["text"] for each in Receiver.told]
    assert len(texts) == 3
    for text, run, words in zip(texts, (refused, failed, crashed), ("Refused", "Failed", "Crashed"), strict=True):
        assert text.startswith("some: ")
        assert f" ended as {words}. " in text
        assert text.endswith(f"{links(desk.up())[1].removesuffix('/deployments')}/runs/flow-run/{run}")
    assert 'too few samples of class "8"' in texts[0]
    assert Receiver.told[0]["type"] == "application/json"


@pytest.mark.slow
def test_the_pages_load_in_a_browser_and_ask_no_other_machine(desk: TrialDesk) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    mlflow, prefect = links(desk.up())
    asked: list[str] = []
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(prefect)
        page.get_by_text("nightly-retrain").first.wait_for(timeout=60_000)
        page.goto(mlflow)
        page.get_by_text("Model training").first.wait_for(timeout=60_000)
        page.goto(prefect.replace("/deployments", "/v2/dashboard"))
        page.get_by_text("Flow Runs").first.wait_for(timeout=60_000)
        browser.close()
    hosts = {urlsplit(url).hostname for url in asked if url.startswith(("http", "ws"))}
    assert hosts == {"127.0.0.1"}
