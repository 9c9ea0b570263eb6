"""docker/compose.yaml: by the specification's own schema, by docker compose where it is, and by the rules of this project."""

from __future__ import annotations

import configparser
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

import edgewright
from team_servers import COMPOSE, EXAMPLE, ROOT, example_variables, interpolate

SCHEMA = Path(__file__).parent / "compose-spec.schema.json"
SCHEMA_SHA256 = "d549057ebc2925f39f62799eab0db7b9e2c18b35b6c00595199116da3ed10e64"
TEXT = COMPOSE.read_text()
FILE: dict[str, Any] = YAML(typ="safe").load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
ONCE = {"mlflow-database", "prepare", "deploy", "backup"}
SECRET = re.compile(r"PASSWORD|SECRET|KEY_ID|SESSION_KEY|AUTH_STRING")
REFERENCE = re.compile(r"\$\{(\w+)(:[?-])?")


def compose_command() -> list[str] | None:
    """``docker compose``, or ``docker-compose``, from version 2 on; None where neither is."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            said = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
            if said.returncode == 0 and int(said.stdout.strip().lstrip("v").partition(".")[0]) >= 2:
                return command
    return None


def filled(folder: Path, **changes: str) -> Path:
    """team.env as a person fills it."""
    variables = {name: value or "not-a-real-secret" for name, value in example_variables().items()} | changes
    place = folder / "team.env"
    place.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    return place


def test_it_is_what_the_compose_specification_allows() -> None:
    assert hashlib.sha256(SCHEMA.read_bytes()).hexdigest() == SCHEMA_SHA256, "the schema is kept as it was published"
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(FILE)


@pytest.mark.parametrize(
    "damage", [{"imagee": "x"}, {"ports": 5000}, {"restart": ["always"]}, {"depends_on": {"a": {}}}]
)
def test_the_schema_would_notice(damage: dict[str, Any]) -> None:
    broken = {**FILE, "services": {**SERVICES, "mlflow": {**SERVICES["mlflow"], **damage}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(broken)


def test_docker_compose_takes_it(tmp_path: Path) -> None:
    command = compose_command()
    if command is None:
        pytest.skip(
            "no docker compose from version 2 on is installed: its own check of docker/compose.yaml is left out"
        )
    words = [
        *command,
        "--env-file",
        str(filled(tmp_path)),
        "--file",
        str(COMPOSE),
        "--profile",
        "maintenance",
        "config",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert YAML(typ="safe").load(done.stdout)["services"].keys() == SERVICES.keys()
    without = filled(tmp_path, POSTGRES_PASSWORD="")
    refused = subprocess.run([*words[:-1], "config", "--quiet"], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "POSTGRES_PASSWORD" in refused.stderr, f"it starts with an unset secret of {without}"


def test_every_service_that_stays_has_a_health_check_and_comes_back() -> None:
    staying = SERVICES.keys() - ONCE
    assert staying == {"postgres", "storage", "mlflow", "prefect", "worker"}
    for name in staying:
        check = SERVICES[name]["healthcheck"]
        assert check["test"][0] == "CMD", "no shell in between"
        assert {"interval", "timeout", "retries", "start_period"} <= check.keys()
        assert SERVICES[name]["restart"] == "unless-stopped"
    for name in ONCE:
        assert SERVICES[name]["restart"] == "no"
        assert SERVICES[name]["healthcheck"] == {"disable": True}, "the image's is a worker's"


def test_a_service_waits_for_what_it_needs() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed in ONCE else "service_healthy"
            assert how == {"condition": wanted}, f"{name} needs {needed}"
        # Whoever is spoken to by name is waited for.
        spoken_to = set(re.findall(r"//(\w+):", json.dumps({**service, "command": []}))) & SERVICES.keys()
        if any(value == "postgres" for value in service.get("environment", {}).values()):
            spoken_to.add("postgres")
        assert spoken_to - {name} <= service.get("depends_on", {}).keys(), name
    assert SERVICES["worker"]["depends_on"].keys() >= {"prepare", "deploy"}


def test_images_from_elsewhere_are_pinned_by_tag_and_digest_and_ours_by_tag() -> None:
    for name, service in SERVICES.items():
        if "build" in service:
            assert service["image"] == f"edgewright:{edgewright.__version__}", name
        else:
            assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", service["image"]), name
            assert not re.search(r":(latest|\d+)@", service["image"]), f"{name}: a tag that says which version it is"


def test_nothing_listens_beyond_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"mlflow", "prefect"}, "storage and database are for the other services alone"
    for ports in published.values():
        for port in ports:
            assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port)
    assert not any("network_mode" in service or "privileged" in service for service in SERVICES.values())


def test_no_secret_stands_in_the_file_and_every_one_is_asked_for() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if SECRET.search(variable):
                assert re.fullmatch(r"(team:)?\$\{\w+:\?[^}]+\}", str(value)), f"{name}: {variable}"
        said = json.dumps([service.get("command", []), service.get("entrypoint", []), service.get("build", {})])
        for variable, _ in REFERENCE.findall(said):
            assert not SECRET.search(variable), f"{name}: other users of the machine see a command's words"
    for value in re.findall(r"postgresql://[^\s\"']*", TEXT):
        assert value.startswith("postgresql:///"), "libpq's variables say where and who"


def test_every_variable_is_in_the_example_and_every_one_of_the_example_is_used() -> None:
    used = {name for name, _ in REFERENCE.findall(TEXT)}
    said = set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE.read_text(), re.MULTILINE))
    assert used == said
    for name, kind in REFERENCE.findall(TEXT):
        assert kind == (":?" if SECRET.search(name) else ":-"), f"{name}: a secret has no default, the rest has one"
    empty = {name for name, value in example_variables().items() if not value}
    assert empty == {name for name in used if SECRET.search(name)}, "exactly the secrets are left to be filled in"


def test_the_line_in_the_example_fills_every_secret(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: the line that fills team.env is not run")
    line = next(each.lstrip("# ") for each in EXAMPLE.read_text().splitlines() if "openssl rand" in each)
    target = tmp_path / "team.env"
    subprocess.run(
        ["sh", "-c", line.replace("docker/team.env.example", str(EXAMPLE)).replace("> docker/team.env", f"> {target}")],
        check=True,
    )
    values = example_variables(target)
    secrets = [values[name] for name, value in example_variables().items() if not value]
    assert len(set(secrets)) == len(secrets)
    assert all(len(value) == 48 for value in secrets)


def test_mlflow_is_told_who_may_ask_and_runs_nothing_else() -> None:
    service = SERVICES["mlflow"]
    words = [interpolate(str(word), {}) for word in service["command"]]
    assert "--app-name=basic-auth" in words
    assert int(next(word for word in words if word.startswith("--workers=")).partition("=")[2]) in (1, 2)
    hosts = next(word for word in words if word.startswith("--allowed-hosts=")).partition("=")[2].split(",")
    assert {"mlflow:5000", "127.0.0.1:*", "localhost"} <= set(hosts), "the service's name, and the published one"
    assert "*" not in hosts
    assert service["env_file"] == ["../mlflow/server.env"]
    assert example_variables(ROOT / "mlflow" / "server.env")["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    auth = configparser.ConfigParser()
    auth.read(ROOT / "mlflow" / "auth.ini")
    assert service["environment"]["MLFLOW_AUTH_CONFIG_PATH"] == "/srv/edgewright/mlflow/auth.ini"
    assert not {"admin_username", "admin_password"} & auth["mlflow"].keys(), "no secret, not even a default one"
    assert auth["mlflow"]["database_uri"] == "postgresql:///mlflow_auth"


def test_nothing_is_sent_home() -> None:
    assert "-master.telemetry=false" in SERVICES["storage"]["command"]
    assert SERVICES["prefect"]["environment"]["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    for name in ("prefect", "worker", "deploy"):
        assert SERVICES[name]["environment"]["DO_NOT_TRACK"] == "1"


def test_the_storage_shows_others_nothing_but_the_gateway_that_asks_for_a_key() -> None:
    words = SERVICES["storage"]["command"]
    assert {"-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.ip.bind=0.0.0.0"} <= set(words)
    release = re.search(r"seaweedfs:(\d+)\.(\d+)@", SERVICES["storage"]["image"])
    assert release is not None
    assert (int(release[1]), int(release[2])) >= (4, 18), "before, two conditional writes at once both succeeded"


def test_state_is_on_named_volumes() -> None:
    mounted = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert {name for name in mounted if not name.startswith("./")} == FILE["volumes"].keys()


def test_the_pool_starts_flows_where_the_image_has_the_checkout() -> None:
    pool = json.loads((ROOT / "docker" / "pool.json").read_text())
    assert pool["variables"]["properties"]["working_dir"]["default"] == "/srv/edgewright"
    assert pool["job_configuration"].keys() == pool["variables"]["properties"].keys()


def test_no_python_file_shadows_the_package_docker() -> None:
    assert not [path for name in ("docker", "mlflow") for path in (ROOT / name).rglob("*.py")]
    assert not list((ROOT / "tests" / "docker").rglob("__init__.py"))
