"""What one build asks of the servers, without the build: the same requests, as many of them, as large.

Prefect's and MLflow's own clients would cost more here than their requests cost the servers; so these are plain ones.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

NAME = "load-simulation"
_TIMEOUT_S = 120.0
_ATTEMPTS = 6
_BUSY = {408, 429, 502, 503}


@dataclass(frozen=True)
class Shape:
    """How much one build asks: counted in the databases after builds of three variants for two targets.

    Attributes:
        tasks: Task runs, each with three states and one progress artifact that is updated once.
        pages: Tables, verdicts and links on the flow run's page.
        page_bytes: Size of each.
        log_lines: Lines of the flow's and the tasks' log.
        runs: MLflow runs, one per variant and target.
        metrics: Metrics of a run.
        params: Parameters of a run.
        tags: Tags of a run.
        files: Artifacts of a run.
        file_bytes: Mean size of one.
        versions: Model versions, one per target.
    """

    tasks: int = 23
    pages: int = 6
    page_bytes: int = 4_000
    log_lines: int = 50
    runs: int = 6
    metrics: int = 61
    params: int = 17
    tags: int = 10
    files: int = 14
    file_bytes: int = 69_000
    versions: int = 2


@dataclass
class Tally:
    """What was asked and how long each answer took.

    Attributes:
        seconds: Time of each request, by kind.
        repeated: Requests that had to be repeated because the server was too busy, by status.
        build_s: Time of each build that was simulated to its end.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)
    build_s: list[float] = field(default_factory=list)

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Counts one request."""
        started = time.perf_counter()
        yield
        self.seconds.setdefault(kind, []).append(time.perf_counter() - started)


class PrefectSide:
    """The requests of builds to a Prefect server.

    Args:
        url: Its API, ``http://127.0.0.1:4200/api``.
        shape: How much each build asks.
        tally: Where requests are counted.
    """

    def __init__(self, url: str, shape: Shape, tally: Tally) -> None:
        self._url, self._shape, self.tally = url.rstrip("/"), shape, tally
        self._flow = ""
        self.sent_tasks = 0

    async def prepare(self, client: Any) -> None:
        """Makes what all builds share."""
        self._flow = (await _ask(client, "POST", f"{self._url}/flows/", {"name": NAME}))["id"]

    async def build(self, client: Any) -> None:
        """One build: a flow run, its task runs and their artifacts."""
        from websockets.asyncio.client import connect
        from websockets.typing import Subprotocol

        shape = self._shape
        parameters = {"recipe": {"description": "x" * 3_000}}
        pending = {"type": "PENDING", "name": "Pending"}
        wanted = {"flow_id": self._flow, "name": NAME, "parameters": parameters, "state": pending}
        run = (await self._timed(client, "create flow run", "POST", "/flow_runs/", wanted))["id"]
        await self._set_state(client, run, "RUNNING")
        address = self._url.replace("http", "ws", 1) + "/events/in"
        # No pings: a server that is too busy to answer one is what is looked for.
        prefect = [Subprotocol("prefect")]
        async with connect(address, subprotocols=prefect, proxy=None, ping_interval=None) as events:
            await events.send(json.dumps({"type": "auth", "token": None}))
            await events.recv()
            for number in range(shape.tasks):
                await self._task(client, events, run, f"task-{number}")
        for number in range(shape.pages):
            page = {"type": "markdown", "key": f"page-{number}", "data": "x" * shape.page_bytes, "flow_run_id": run}
            await self._timed(client, "create artifact", "POST", "/artifacts/", page)
        lines = [
            {"name": "prefect", "level": 20, "message": "x" * 100, "timestamp": _now(), "flow_run_id": run}
            for _ in range(shape.log_lines)
        ]
        await self._timed(client, "log", "POST", "/logs/", lines)
        await self._set_state(client, run, "COMPLETED")

    async def recorded_tasks(self, client: Any) -> int:
        """How many task runs stand in the server's database: they travel as events and are written later."""
        asked = {"flows": {"name": {"any_": [NAME]}}}
        return int(await _ask(client, "POST", f"{self._url}/task_runs/count", asked))

    async def _task(self, client: Any, events: Any, run: str, name: str) -> None:
        task = str(uuid.uuid4())
        before = None
        for state in ("Pending", "Running"):
            await events.send(json.dumps(_state_event(run, task, name, before, state)))
            before = state
        made = {"type": "progress", "key": f"progress-{name}", "data": 0.0, "flow_run_id": run, "task_run_id": task}
        artifact = await self._timed(client, "create artifact", "POST", "/artifacts/", made)
        await self._timed(client, "update artifact", "PATCH", f"/artifacts/{artifact['id']}", {"data": 100.0})
        await events.send(json.dumps(_state_event(run, task, name, before, "Completed")))
        self.sent_tasks += 1

    async def _set_state(self, client: Any, run: str, state: str) -> None:
        asked = {"state": {"type": state, "name": state.capitalize()}}
        await self._timed(client, "set state", "POST", f"/flow_runs/{run}/set_state", asked)

    async def _timed(self, client: Any, kind: str, method: str, path: str, body: Any) -> Any:
        with self.tally.timed(kind):
            return await _ask(client, method, self._url + path, body, self.tally)


class MlflowSide:
    """The requests of builds to an MLflow server that passes artifacts on.

    Args:
        url: Its address, ``http://127.0.0.1:5000``.
        shape: How much each build asks.
        tally: Where requests are counted.
    """

    def __init__(self, url: str, shape: Shape, tally: Tally) -> None:
        self._url, self._shape, self.tally = url.rstrip("/"), shape, tally
        self._experiment = ""
        self._numbers = itertools.count()
        # One build per model at a time: what is free, and how many there are.
        self._free, self._models = list[str](), 0

    async def prepare(self, client: Any) -> None:
        """Makes what all builds share."""
        name = f"{NAME}-{uuid.uuid4().hex[:8]}"
        asked = await _ask(client, "POST", f"{self._url}/api/2.0/mlflow/experiments/create", {"name": name})
        self._experiment = asked["experiment_id"]

    async def build(self, client: Any) -> None:
        """One build: a run per variant and target with its figures and files, a version per target."""
        model = self._free.pop() if self._free else await self._new_model(client)
        build = f"b{next(self._numbers)}"
        for number in range(self._shape.runs):
            run = await self._run(client, f"{build}-{number}")
            if number < self._shape.versions:
                await self._version(client, f"{model}.target-{number}", run)
        self._free.append(model)

    async def _run(self, client: Any, name: str) -> str:
        shape = self._shape
        wanted = {"experiment_id": self._experiment, "run_name": name, "start_time": _now_ms()}
        run = (await self._timed(client, "create run", "runs/create", wanted))["run"]["info"]["run_id"]
        figures = {
            "run_id": run,
            "metrics": [
                {"key": f"metric_{number}", "value": 1.0, "timestamp": _now_ms(), "step": 0}
                for number in range(shape.metrics)
            ],
            "params": [{"key": f"param.{number}", "value": "value"} for number in range(shape.params)],
            "tags": [{"key": f"edgewright.tag_{number}", "value": "value"} for number in range(shape.tags)],
        }
        await self._timed(client, "log figures", "runs/log-batch", figures)
        below = f"{self._url}/api/2.0/mlflow-artifacts/artifacts/{self._experiment}/{run}/artifacts"
        for number in range(shape.files):
            with self.tally.timed("log artifact"):
                await _put(client, f"{below}/file-{number}.bin", bytes(shape.file_bytes), self.tally)
        done = {"run_id": run, "key": "edgewright.complete", "value": "true"}
        await self._timed(client, "set tag", "runs/set-tag", done)
        ended = {"run_id": run, "status": "FINISHED", "end_time": _now_ms()}
        await self._timed(client, "end run", "runs/update", ended)
        return str(run)

    async def _version(self, client: Any, model: str, run: str) -> None:
        source = f"mlflow-artifacts:/{self._experiment}/{run}/artifacts/bundle"
        wanted = {"name": model, "source": source, "run_id": run}
        made = await self._timed(client, "create version", "model-versions/create", wanted)
        for alias in ("candidate", "champion"):
            named = {"name": model, "alias": alias, "version": made["model_version"]["version"]}
            await self._timed(client, "set alias", "registered-models/alias", named)

    async def _new_model(self, client: Any) -> str:
        self._models += 1
        model = f"{NAME}-{self._experiment}-{self._models}"
        for number in range(self._shape.versions):
            named = {"name": f"{model}.target-{number}"}
            await _ask(client, "POST", f"{self._url}/api/2.0/mlflow/registered-models/create", named, self.tally)
        return model

    async def _timed(self, client: Any, kind: str, path: str, body: Any) -> Any:
        with self.tally.timed(kind):
            return await _ask(client, "POST", f"{self._url}/api/2.0/mlflow/{path}", body, self.tally)


async def _ask(client: Any, method: str, url: str, body: Any, tally: Tally | None = None) -> Any:
    answer = await _send(client, tally, method, url, json=body)
    return answer.json() if answer.content else None


async def _put(client: Any, url: str, content: bytes, tally: Tally) -> None:
    await _send(client, tally, "PUT", url, content=content)


async def _send(client: Any, tally: Tally | None, method: str, url: str, **body: Any) -> Any:
    """One request; repeated later and later while the server is too busy, as Prefect's client does."""
    import httpx

    for attempt in range(1, _ATTEMPTS + 1):
        try:
            answer = await client.request(method, url, timeout=_TIMEOUT_S, **body)
            if answer.status_code not in _BUSY or attempt == _ATTEMPTS:
                answer.raise_for_status()
                return answer
            refusal = str(answer.status_code)
        except (httpx.ReadError, httpx.RemoteProtocolError):
            if attempt == _ATTEMPTS:
                raise
            refusal = "connection closed"
        if tally is not None:
            tally.repeated[refusal] = tally.repeated.get(refusal, 0) + 1
        await asyncio.sleep(2**attempt * random.uniform(0.8, 1.2))
    raise AssertionError("unreachable: the last attempt returns or raises")


def _state_event(run: str, task: str, name: str, before: str | None, after: str) -> dict[str, Any]:
    """What Prefect's client tells of a task run's new state."""
    now = _now()
    state = {"type": after.upper(), "name": after, "message": "", "state_details": {}}
    initial = {"type": before.upper(), "name": before, "message": "", "state_details": {}} if before else None
    return {
        "id": str(uuid.uuid4()),
        "occurred": now,
        "event": f"prefect.task-run.{after}",
        "payload": {
            "intended": {"from": before.upper() if before else None, "to": after.upper()},
            "initial_state": initial,
            "validated_state": {**state, "data": None},
            "task_run": {"name": name, "task_key": name, "dynamic_key": task, "run_count": 1, "task_inputs": {}},
        },
        "resource": {
            "prefect.resource.id": f"prefect.task-run.{task}",
            "prefect.resource.name": name,
            "prefect.run-count": "1",
            "prefect.state-message": "",
            "prefect.state-name": after,
            "prefect.state-timestamp": now,
            "prefect.state-type": after.upper(),
            "prefect.orchestration": "client",
        },
        "related": [{"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}],
        "follows": None,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _now_ms() -> int:
    return int(time.time() * 1000)
