"""A team's servers, from docker/compose.yaml, as processes: one build against them, then lost, restored, and used again."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from edgewright.desk.accounts import Accounts
from edgewright.errors import RegistryError
from team_servers import BIN, TeamServers, postgres_tools

pytestmark = pytest.mark.skipif(
    postgres_tools() is None, reason="no PostgreSQL server is installed (Debian: apt-get install postgresql)"
)
BUCKET = "edgewright"
# As small as a build with a verdict can be.
RECIPE: dict[str, Any] = {
    "model": "tiny",
    "description": "A small trial.",
    "seed": 3,
    "data": {
        "dataset": "digits",
        "limit_per_class": 60,
        "validation_share": 0.3,
        "calibration_share": 0.3,
        "calibration_samples": 64,
    },
    "architecture": {"name": "resnet8", "widths": [8, 8, 16]},
    "training": {"epochs": 8, "batch_size": 16},
    "variants": [{"name": "fp32"}, {"name": "i8", "quantize": {"calibration": ["minmax"]}}],
    "targets": ["here"],
    "objective": {"minimize": "size", "max_validation_drop_points": 90},
    "gate": {"margin_points": 50, "floor_pct": 1, "latency_processes": 5},
}
# In compose's order; the first list of those that end by themselves.
ONCE = ("mlflow-database", "prepare", "deploy")
ORDER = ("postgres", "storage", "mlflow-database", "mlflow", "prepare", "prefect", "deploy", "worker")
# Tables that Prefect's own loops write to all the time: the next nights, when a worker last asked, what happened.
MOVING = {
    f"prefect.{name}"
    for name in (
        *("flow_run", "flow_run_state", "events", "event_resources", "log", "worker", "automation_bucket"),
        *("deployment", "work_pool", "work_queue"),
    )
}
TARGETS = {"here": {"platform": "linux/amd64", "engines": ["onnxruntime"], "pays": ["size"]}}


@pytest.fixture
def make_servers(tmp_path: Path) -> Iterator[Callable[..., TeamServers]]:
    """Servers of a test's own, which end with it."""
    made: list[TeamServers] = []

    def make(variables: dict[str, str] | None = None, mlflow_workers: int | None = None) -> TeamServers:
        made.append(TeamServers(tmp_path / f"servers-{len(made)}", variables, mlflow_workers))
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.destroy()


def objects(servers: TeamServers) -> dict[str, str]:
    """Every object of the bucket with its digest."""
    import boto3  # type: ignore[import-untyped]

    environment = servers.environment("mlflow")
    client = boto3.client(
        "s3",
        endpoint_url=servers.url("storage"),
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
    return {key: hashlib.sha256(client.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest() for key in keys}


def tables(servers: TeamServers) -> dict[str, tuple[int, str]]:
    """How many rows every table of every database holds, and a digest of them all."""
    environment = servers.environment("backup")
    digest = "count(*) || '' '' || md5(coalesce(string_agg(each::text, '' '' order by each::text), ''''))"
    query = (
        f"select table_name, (xpath('/row/c/text()', query_to_xml(format('select {digest} as c from %I.%I as each', "
        "table_schema, table_name), false, true, '')))[1]::text from information_schema.tables "
        "where table_schema = 'public' and table_type = 'BASE TABLE' order by 1"
    )
    found = {}
    for name in ("prefect", "mlflow", "mlflow_auth"):
        words = [
            "psql",
            "--no-psqlrc",
            "--no-password",
            "--csv",
            "--tuples-only",
            f"--dbname={name}",
            f"--command={query}",
        ]
        said = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
        for table, answer in (line.split(",") for line in said.splitlines()):
            count, _, md5 = answer.partition(" ")
            found[f"{name}.{table}"] = (int(count), md5)
    return found


def registry(servers: TeamServers) -> dict[str, Any]:
    """Everything that people see of MLflow: experiments, runs, metrics, versions, aliases, accounts."""
    admin = Account(servers, "admin")

    def ask(path: str, body: Any = None) -> Any:
        return admin.ask(f"mlflow/{path}", body)

    experiments = ask("experiments/search?max_results=100")["experiments"]
    runs = ask("runs/search", {"experiment_ids": [each["experiment_id"] for each in experiments], "max_results": 1000})
    histories = {
        (run["info"]["run_id"], metric["key"]): ask(
            f"metrics/get-history?run_id={run['info']['run_id']}&metric_key={metric['key']}"
        )["metrics"]
        for run in runs.get("runs", [])
        for metric in run["data"].get("metrics", [])[:5]
    }
    models = ask("registered-models/search?max_results=100").get("registered_models", [])
    versions = ask("model-versions/search?max_results=1000").get("model_versions", [])
    exact = [ask(f"model-versions/get?name={each['name']}&version={each['version']}") for each in versions]
    return {
        "experiments": experiments,
        "runs": runs,
        "histories": histories,
        "models": models,
        "versions": exact,
        "users": [ask(f"users/get?username={name}") for name in ("admin", "workshop", "devices")],
    }


class Prefect:
    """Prefect's API, as a person of the team."""

    def __init__(self, servers: TeamServers) -> None:
        self.servers = servers

    def ask(self, path: str, body: Any = None) -> Any:
        user = ("team", self.servers.variables["PREFECT_PASSWORD"])
        status, answer = self.servers.ask("prefect", f"/api/{path}", body, user=user)
        assert status in (200, 201), answer
        return answer

    def all(self, kind: str) -> list[dict[str, Any]]:
        return sorted(self.ask(f"{kind}/filter", {"limit": 200}), key=lambda each: str(each["id"]))

    def deployment(self, flow: str, name: str | None = None) -> dict[str, Any]:
        """A flow's deployment of that name, or its only one."""
        found = self.ask("deployments/filter", {"flows": {"name": {"any_": [flow]}}})
        (known,) = [each for each in found if name in (None, each["name"])]
        return dict(known)

    def run(self, flow: str, name: str | None = None, /, **parameters: Any) -> dict[str, Any]:
        """Starts a deployment and waits until its run has ended."""
        known = self.deployment(flow, name)
        run = self.ask(f"deployments/{known['id']}/create_flow_run", {"parameters": parameters})
        deadline = time.monotonic() + 300
        while run["state_type"] in ("SCHEDULED", "PENDING", "RUNNING"):
            assert time.monotonic() < deadline, f"{flow} takes too long: {run['state']}"
            time.sleep(1)
            run = self.ask(f"flow_runs/{run['id']}")
        found: dict[str, Any] = run
        return found

    def switch(self, flow: str, name: str, *, active: bool) -> None:
        """Throws the switch of a deployment's schedules, as its page does."""
        known = self.deployment(flow, name)
        for schedule in known["schedules"]:
            path = f"/api/deployments/{known['id']}/schedules/{schedule['id']}"
            user = ("team", self.servers.variables["PREFECT_PASSWORD"])
            status, answer = self.servers.ask("prefect", path, {"active": active}, method="PATCH", user=user)
            assert status == 204, answer

    def coming(self, flow: str, name: str) -> list[str]:
        """When a schedule will start it."""
        known = self.deployment(flow, name)
        wanted = {"flow_runs": {"deployment_id": {"any_": [known["id"]]}, "state": {"type": {"any_": ["SCHEDULED"]}}}}
        deadline = time.monotonic() + 30
        while not (found := self.ask("flow_runs/filter", wanted)) and time.monotonic() < deadline:
            time.sleep(1)
        return [each["expected_start_time"] for each in found]

    def seen(self) -> dict[str, Any]:
        """Everything that people see: runs and their states, deployments, schedules, artifacts; but for what moves on."""
        runs = [each for each in self.all("flow_runs") if not each["auto_scheduled"]]
        keep = (
            "id",
            "name",
            "flow_id",
            "deployment_id",
            "parameters",
            "state_type",
            "state_name",
            "start_time",
            "end_time",
        )
        deployments = self.all("deployments")
        schedules = {each["id"]: self.ask(f"deployments/{each['id']}/schedules") for each in deployments}
        return {
            "runs": [{name: run[name] for name in keep} for run in runs],
            "states": {run["id"]: self.ask(f"flow_run_states/?flow_run_id={run['id']}") for run in runs},
            "deployments": [
                {name: each[name] for name in ("id", "name", "parameters", "paused")} for each in deployments
            ],
            "schedules": schedules,
            "artifacts": [{name: each[name] for name in ("id", "key", "data")} for each in self.all("artifacts")],
            "flows": [each["name"] for each in self.all("flows")],
        }


def pull(servers: TeamServers, into: Path, account: str | None) -> subprocess.CompletedProcess[str]:
    """What a device does, with the account's words in its environment and nothing else of the team's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_"))}
    if account:
        user, password = Account(servers, account).user
        environment |= {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
    words = ["pull", "--registry", servers.url("mlflow"), "--model", "tiny", "--target", "here", "--into", into]
    command = [BIN / "edgewright-agent", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


class Account:
    """MLflow's API, as one of its accounts."""

    def __init__(self, servers: TeamServers, name: str) -> None:
        variable = {"admin": "MLFLOW_ADMIN_PASSWORD", "workshop": "WORKSHOP_PASSWORD", "devices": "DEVICES_PASSWORD"}[
            name
        ]
        self.servers, self.user = servers, (name, servers.variables[variable])

    def status(self, path: str, body: Any = None, **more: Any) -> int:
        return self.servers.ask("mlflow", path, body, user=self.user, **more)[0]

    def ask(self, path: str, body: Any = None, **more: Any) -> Any:
        status, answer = self.servers.ask("mlflow", f"/api/2.0/{path}", body, user=self.user, **more)
        assert status == 200, answer
        return answer

    def release(self, model: str, content: bytes) -> str:
        """A run with a metric and an artifact, and a version that is champion; returns the artifact's path."""
        experiment = self.ask("mlflow/experiments/create", {"name": model})["experiment_id"]
        run = self.ask("mlflow/runs/create", {"experiment_id": experiment, "run_name": "fp32@here"})["run"]["info"]
        metric = {"run_id": run["run_id"], "key": "accuracy_pct", "value": 98.5, "timestamp": 1}
        self.ask("mlflow/runs/log-metric", metric)
        path = f"{run['artifact_uri'].removeprefix('mlflow-artifacts:/')}/bundle"
        self.ask(f"mlflow-artifacts/artifacts/{path}/model.onnx", content, method="PUT")
        name = f"{model}.here"
        self.ask("mlflow/registered-models/create", {"name": name})
        source = {"name": name, "source": f"{run['artifact_uri']}/bundle", "run_id": run["run_id"]}
        self.ask("mlflow/model-versions/create", source)
        self.ask("mlflow/registered-models/alias", {"name": name, "alias": "champion", "version": "1"})
        return f"/api/2.0/mlflow-artifacts/artifacts/{path}/model.onnx"


def test_the_registry_on_postgresql_and_s3_asks_who_is_there_and_survives_the_loss_of_everything(
    make_servers: Callable[..., TeamServers], tmp_path: Path
) -> None:
    servers = make_servers(mlflow_workers=1)
    servers.variables |= {
        "MLFLOW_PUBLISHED_HOST": "mlflow.example.org",
        "MLFLOW_PUBLISHED_ORIGIN": "https://mlflow.example.org",
    }
    servers.start("postgres")
    servers.start("storage")
    servers.run("mlflow-database")
    servers.start("mlflow")
    said = servers.run("prepare")
    assert "account devices made" in said
    admin = Accounts(servers.url("mlflow"), "admin", servers.variables["MLFLOW_ADMIN_PASSWORD"])
    assert admin.ensure("devices", servers.variables["DEVICES_PASSWORD"]) is False, "again at every start"
    with pytest.raises(RegistryError, match="has 5 characters, MLflow takes 12 or more"):
        admin.ensure("devices", "short")
    search, workshop = "/api/2.0/mlflow/experiments/search?max_results=1", Account(servers, "workshop")
    assert servers.ask("mlflow", search)[0] == 401
    assert servers.ask("mlflow", search, user=("admin", "password1234"))[0] == 401, "no password that everybody knows"
    assert workshop.status(search) == 200
    assert workshop.status(search, host="mlflow:5000") == 200, "by its name among the services"
    assert workshop.status(search, host="elsewhere.example") == 403
    published = {"host": "mlflow.example.org", "origin": "https://mlflow.example.org"}
    post, body = "/api/2.0/mlflow/experiments/search", {"max_results": 1}
    assert workshop.status(post, body, **published) == 200, "a page behind the proxy with TLS"
    assert workshop.status(post, body, **{**published, "origin": "https://elsewhere.example"}) == 403
    content = os.urandom(200_000)
    model = workshop.release("smoke", content)
    assert model.removeprefix("/api/2.0/mlflow-artifacts/artifacts/") in {key[7:] for key in objects(servers)}
    devices, alias = Account(servers, "devices"), {"name": "smoke.here", "alias": "champion", "version": "1"}
    assert devices.status(model) == 200
    assert devices.status("/api/2.0/mlflow/registered-models/alias", alias) == 403, "a device changes nothing"
    assert devices.status(model, b"other", method="PUT") == 403
    assert servers.ask("mlflow", model)[0] == 401
    held = objects(servers)
    servers.run("backup", "backup", tmp_path / "monday")
    kept = tables(servers)
    assert (kept["mlflow.runs"][0], kept["mlflow.model_versions"][0], kept["mlflow_auth.users"][0]) == (1, 1, 3)
    servers.destroy()

    new = make_servers(servers.variables, mlflow_workers=1)
    new.start("postgres")
    new.start("storage")
    assert "is whole" in new.run("backup", "restore", tmp_path / "monday")
    assert tables(new) == {}, "nothing without --yes"
    new.run("backup", "restore", tmp_path / "monday", "--yes")
    assert tables(new) == kept
    assert objects(new) == held
    again = new.run("backup", "restore", tmp_path / "monday", "--yes", expect=1)
    assert "database mlflow_auth on 127.0.0.1" in again
    assert "is not empty" in again


@pytest.mark.slow
def test_a_build_on_the_teams_servers_is_there_again_after_all_of_them_were_lost(
    make_servers: Callable[..., TeamServers], tmp_path: Path
) -> None:
    targets = tmp_path / "targets.yaml"
    YAML().dump(TARGETS, targets)
    servers = make_servers()
    for step in ORDER:
        (servers.run if step in ONCE else servers.start)(step)
    prefect = Prefect(servers)
    automations = {each["name"]: each["enabled"] for each in prefect.all("automations")}
    assert len(automations) == 3
    assert list(automations.values()).count(True) == 2, "what ends dead runs; nobody is told of anything yet"
    built = prefect.run("release-model", "digits", recipe=RECIPE, targets_file=str(targets))
    assert (built["state_type"], built["state_name"]) == ("COMPLETED", "Released"), servers.log("worker")[-3000:]
    held = objects(servers)
    assert {key.split("/")[0] for key in held} == {"mlflow", "shared"}
    device = tmp_path / "device"
    pulled = pull(servers, device, "devices")
    assert pulled.returncode == 0, pulled.stderr
    assert "version 1" in pulled.stdout
    stranger = pull(servers, tmp_path / "stranger", None)
    assert stranger.returncode == 1
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in stranger.stderr
    prefect.switch("nightly-retrain", "motion", active=True)  # by a person: in no file

    reports = [path.name for path in (servers.folder / "worker-home" / "reports").iterdir()]
    assert reports
    said = servers.run("backup", "backup", tmp_path / "monday")
    before, registered, kept = prefect.seen(), registry(servers), tables(servers)
    assert "backup      ✓" in said
    servers.destroy()

    new = make_servers(servers.variables)
    new.start("postgres")
    new.start("storage")
    new.run("backup", "restore", tmp_path / "monday", "--yes")
    assert held.items() <= objects(new).items()
    assert [path.name for path in (new.folder / "worker-home" / "reports").iterdir()] == reports
    assert not (new.folder / "worker-home" / "store").exists(), "a cache, which fills itself from the bucket"
    restored = tables(new)
    assert {name for name in kept if restored[name] != kept[name]} <= MOVING
    new.start("mlflow")
    new.start("prefect")
    prefect = Prefect(new)
    assert registry(new) == registered
    assert prefect.seen() == before
    assert prefect.coming("nightly-retrain", "digits"), "the next nights are planned"
    assert prefect.coming("nightly-retrain", "motion"), "as the person had switched it"
    assert "unchanged" in new.run("deploy"), "the shared store remembers what stands in Prefect"
    assert prefect.coming("nightly-retrain", "motion")

    new.start("worker")
    again = prefect.run("release-model", "digits", recipe={**RECIPE, "seed": 4}, targets_file=str(targets))
    assert again["state_name"] == "Released", new.log("worker")[-3000:]
    words = {"model": "tiny", "target": "here", "reason": "the drill", "who": "a person"}
    back = prefect.run("rollback-release", **words)
    assert back["state_name"] == "Rolled back", back["state"]
    version = prefect.run("promote-release", **words, version=2)
    assert version["state_name"] == "Promoted", version["state"]
    pulled = pull(new, device, "devices")
    assert "version 2" in pulled.stdout, pulled.stderr
