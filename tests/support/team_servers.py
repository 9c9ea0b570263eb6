"""The servers of docker/compose.yaml as processes of this machine: its commands, its variables, its health checks, its files.

What a container gives is replaced: names of services by loopback and free ports, folders of the image by this checkout and a
scratch folder, the object storage by moto's S3 server (``s3_server.py``). PostgreSQL is the system's own (Debian:
`apt-get install postgresql`); it does not run as root, so that root's tests run it as `postgres` or `nobody`.
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
COMPOSE = ROOT / "docker" / "compose.yaml"
EXAMPLE = ROOT / "docker" / "team.env.example"
PORTS = {"postgres": 5432, "storage": 8333, "mlflow": 5000, "prefect": 4200, "worker": 8080}
_START_S, _RUN_S, _STOP_S = 180.0, 400.0, 30.0
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::(?P<kind>[?-])(?P<text>[^}]*))?\})")


def postgres_tools() -> Path | None:
    """Folder of the newest PostgreSQL server's programs; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def other_user() -> str | None:
    """Who runs PostgreSQL where the tests run as root; None where they do not."""
    if os.geteuid() != 0:
        return None
    known = {each.pw_name for each in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


def example_variables(path: Path = EXAMPLE) -> dict[str, str]:
    """The variables of the example, with their values."""
    lines = (line.partition("=") for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in lines}


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """What compose makes of ``${NAME}``, ``${NAME:-default}``, ``${NAME:?message}`` and ``$$``."""

    def replace(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        value = variables.get(match["name"], "")
        if value:
            return value
        assert match["kind"] != "?", f"{match['name']} is not set: {match['text']}"
        return match["text"] or ""

    return _VARIABLE.sub(replace, text)


class TeamServers:
    """One set of servers with their data below a folder.

    Args:
        folder: Theirs alone; made when absent.
        variables: What stands in team.env; None fills the example's empty ones with random text.
        mlflow_workers: How many processes answer for MLflow, each with 5 s to start; None as many as the file says.
    """

    def __init__(
        self, folder: Path, variables: Mapping[str, str] | None = None, mlflow_workers: int | None = None
    ) -> None:
        self.folder, self._mlflow_workers = folder, mlflow_workers
        folder.mkdir(parents=True, exist_ok=True)
        example = example_variables()
        self.variables = dict(variables or {name: value or secrets.token_hex(24) for name, value in example.items()})
        self.services: dict[str, Any] = YAML(typ="safe").load(COMPOSE)["services"]
        self.ports = {name: _free_port() for name in PORTS}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._data: Path | None = None
        (folder / "worker-home" / "tmp").mkdir(parents=True)
        pool = json.loads((ROOT / "docker" / "pool.json").read_text())
        pool["variables"]["properties"]["working_dir"]["default"] = str(ROOT)
        (folder / "pool.json").write_text(json.dumps(pool))

    def url(self, service: str) -> str:
        """Where a server answers."""
        return f"http://127.0.0.1:{self.ports[service]}"

    def environment(self, service: str) -> dict[str, str]:
        """The variables of a service, and little else."""
        definition = self.services[service]
        declared = {}
        for file in definition.get("env_file", []):
            declared |= example_variables((COMPOSE.parent / file).resolve())
        declared |= {name: str(value) for name, value in definition.get("environment", {}).items()}
        own = self.folder / service
        own.mkdir(exist_ok=True)
        tools = postgres_tools()
        path = [str(BIN), *([str(tools)] if tools else []), os.environ.get("PATH", "")]
        kept = {name: os.environ[name] for name in ("LANG", "HOME", "OMP_NUM_THREADS") if name in os.environ}
        plain = {"PATH": os.pathsep.join(path), "PREFECT_HOME": str(own / ".prefect"), "NO_PROXY": "127.0.0.1"}
        plain["PREFECT_WORKER_WEBSERVER_PORT"] = str(self.ports["worker"])
        return {**kept, **plain, **{name: self._value(name, value) for name, value in declared.items()}}

    def words(self, service: str) -> list[str]:
        """The command of a service."""
        definition = self.services[service]
        return [self._place(str(word)) for word in [*definition.get("entrypoint", []), *definition["command"]]]

    def start(self, service: str) -> None:
        """Starts a server and waits until its health check passes."""
        if service == "postgres":
            self._start_postgres()
        elif service == "storage":
            self._start_storage()
        else:
            self._launch(service, self.words(service))
        check = ["python", "-c", f"import urllib.request as r; r.urlopen('{self.url(service)}/moto-api/', timeout=4)"]
        if service != "storage":
            check = [self._place(str(word)) for word in self.services[service]["healthcheck"]["test"][1:]]
        environment = self.environment(service)
        environment["PGPORT"] = str(self.ports["postgres"])
        deadline = time.monotonic() + _START_S
        while subprocess.run(check, env=environment, capture_output=True, check=False).returncode:
            assert self._running[service].poll() is None, f"{service} ended: {self.log(service)[-2000:]}"
            assert time.monotonic() < deadline, f"{service} is not healthy: {self.log(service)[-2000:]}"
            time.sleep(0.5)
        if service == "postgres" and self._is_new:
            self._make_databases()

    def run(self, service: str, *words: str | Path, expect: int = 0) -> str:
        """Runs a service that ends by itself; with other words than its own where some are given."""
        command = [*self.services[service].get("entrypoint", []), *map(str, words)] if words else self.words(service)
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment(service),
            capture_output=True,
            text=True,
            timeout=_RUN_S,
            check=False,
        )
        said = f"{done.stdout}\n{done.stderr}"
        assert done.returncode == expect, f"{service} ended with {done.returncode}: {said[-3000:]}"
        return said

    def stop(self, *services: str) -> None:
        """Stops servers politely."""
        for service in services:
            process = self._running.pop(service)
            os.killpg(process.pid, signal.SIGINT if service == "postgres" else signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def destroy(self) -> None:
        """Ends every server at once, and removes all that they kept."""
        for process in self._running.values():
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in self._running.values():
            process.wait()
        self._running.clear()
        if self._data is not None:
            shutil.rmtree(self._data, ignore_errors=True)
            self._data = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self, service: str) -> str:
        """What a server has said."""
        path = self.folder / f"{service}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def ask(
        self,
        service: str,
        path: str,
        body: Any = None,
        *,
        method: str = "",
        user: tuple[str, str] | None = None,
        host: str | None = None,
        origin: str | None = None,
    ) -> tuple[int, Any]:
        """One request to a server's API: its status and its answer, read as JSON where it is that; bytes go as they are."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        method = method or ("GET" if body is None else "POST")
        request = urllib.request.Request(f"{self.url(service)}{path}", content, method=method)
        request.add_header("Content-Type", "application/json")
        if user:
            request.add_header("Authorization", "Basic " + base64.b64encode(":".join(user).encode()).decode())
        for name, value in (("Host", host), ("Origin", origin)):
            if value:
                request.add_header(name, value)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode(errors="replace")

    def _launch(self, service: str, command: Sequence[str], **more: Any) -> None:
        with (self.folder / f"{service}.log").open("ab") as log:
            self._running[service] = subprocess.Popen(
                command,
                **{
                    "cwd": ROOT,
                    "env": self.environment(service),
                    "stdin": subprocess.DEVNULL,
                    "stdout": log,
                    "stderr": subprocess.STDOUT,
                    "start_new_session": True,
                    **more,
                },
            )

    def _start_postgres(self) -> None:
        tools, user = postgres_tools(), other_user()
        assert tools is not None
        who = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
        self._is_new = self._data is None
        if self._data is None:
            # Not below the tests' own folder, into which no other user can look.
            self._data = Path(tempfile.mkdtemp(prefix="edgewright-postgres-"))
            secret = self._data / "secret"
            secret.write_text(self.variables["POSTGRES_PASSWORD"])
            if user:
                os.chown(self._data, pwd.getpwnam(user).pw_uid, -1)
                os.chown(secret, pwd.getpwnam(user).pw_uid, -1)
            made = subprocess.run(
                [
                    *(tools / "initdb", f"--pgdata={self._data}/data", "--username=postgres", f"--pwfile={secret}"),
                    *("--auth=scram-sha-256", "--no-sync", "--locale=C.UTF-8", "--encoding=UTF8", "--data-checksums"),
                ],
                cwd="/",
                capture_output=True,
                text=True,
                check=False,
                **who,
            )
            assert made.returncode == 0, made.stderr
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        place = ["-D", str(self._data / "data"), "-p", str(self.ports["postgres"])]
        self._launch("postgres", [str(tools / "postgres"), *place, *options], cwd="/", **who)

    def _start_storage(self) -> None:
        self._launch("storage", [sys.executable, str(Path(__file__).parent / "s3_server.py")])
        deadline = time.monotonic() + _START_S
        while not (said := self.log("storage").partition("\n"))[1]:
            assert time.monotonic() < deadline, "the storage does not say where it is"
            time.sleep(0.05)
        self.ports["storage"] = int(said[0])

    def _make_databases(self) -> None:
        """Runs the file that the image runs while its data folder is new."""
        environment = self.environment("postgres")
        environment |= {"PGHOST": "127.0.0.1", "PGPORT": str(self.ports["postgres"])}
        environment["PGPASSWORD"] = self.variables["POSTGRES_PASSWORD"]
        done = subprocess.run(
            ["sh", COMPOSE.parent / "postgres" / "databases.sh"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def _value(self, name: str, value: str) -> str:
        value = self._place(value)
        if name.endswith("HOST") and value in PORTS:
            return "127.0.0.1"
        if name.endswith("PORT") and int(value) in PORTS.values():
            return str(next(self.ports[service] for service, port in PORTS.items() if port == int(value)))
        return value

    def _place(self, text: str) -> str:
        """A word or value of the compose file, as it is on this machine."""
        text = interpolate(text, self.variables)
        for service, port in PORTS.items():
            text = text.replace(f"//{service}:{port}", f"//127.0.0.1:{self.ports[service]}")
            text = text.replace(f"//127.0.0.1:{port}", f"//127.0.0.1:{self.ports[service]}")
            text = re.sub(rf"^--port={port}$", f"--port={self.ports[service]}", text)
        text = re.sub(r"^--host=0\.0\.0\.0$", "--host=127.0.0.1", text)
        if self._mlflow_workers:
            text = re.sub(r"^--workers=\d+$", f"--workers={self._mlflow_workers}", text)
        places = {
            "docker/pool.json": self.folder / "pool.json",
            "/srv/edgewright": ROOT,
            "/var/lib/edgewright": self.folder / "worker-home",
            "/tmp/prefect-page": self.folder / "prefect-page",
        }
        for place, here in places.items():
            text = text.replace(place, str(here))
        return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
