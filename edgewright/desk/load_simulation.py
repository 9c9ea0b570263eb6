"""How many builds Prefect and MLflow bear: simulated ones, more and more at once, until answers take twice as long.

Run it against servers that may be thrown away, since it leaves thousands of runs behind::

    python -m edgewright.desk.load_simulation --prefect http://127.0.0.1:4200/api --mlflow http://127.0.0.1:5000

Every simulated client asks for one build after the other without a pause; a real build asks as much in minutes. So a
client here stands for many builds, and what counts is the number of builds per minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from edgewright.desk.simulated_build import MlflowSide, PrefectSide, Shape, Tally
from edgewright.errors import EdgewrightError, UsageError
from edgewright.machine import read_cpu_model

_LEVELS = (1, 2, 4, 8, 16, 32, 64, 128)
_PERCENTILE_95 = 0.95
_LAG_DEADLINE_S = 300.0
Side = PrefectSide | MlflowSide


@dataclass(frozen=True)
class Level:
    """What was measured with so many clients at once.

    Attributes:
        clients: How many.
        seconds: For how long.
        builds_per_minute: Simulated builds per minute.
        build_s: Median time of one build's requests, in seconds: the latency that is watched.
        requests_per_minute: Requests per minute, by kind.
        median_ms: Median time of a request, over all of them.
        p95_ms: 95th percentile of it.
        median_ms_of: Median by kind of request.
        refused: Requests that had to be repeated because the server was too busy, by status.
        server_cpu_s_per_build: CPU seconds of the server's own processes per build; None where they are another machine's.
        lag_s: Seconds after the last request until every task run stood in the database; None where nothing comes later.
    """

    clients: int
    seconds: float
    builds_per_minute: float
    build_s: float
    requests_per_minute: dict[str, float]
    median_ms: float
    p95_ms: float
    median_ms_of: dict[str, float]
    refused: dict[str, int]
    server_cpu_s_per_build: float | None
    lag_s: float | None


@dataclass(frozen=True)
class Sweep:
    """All levels of one server.

    Attributes:
        server: Its address.
        levels: What was measured, from one client on.
        doubled_at: Clients at which a build's requests took twice as long as for one; None where that was not reached.
        sustained: The level before that: what it bears.
    """

    server: str
    levels: tuple[Level, ...]
    doubled_at: int | None
    sustained: Level


def sweep(
    side: str,
    url: str,
    shape: Shape,
    seconds: float,
    levels: Sequence[int] = _LEVELS,
    on_level: Callable[[Level], None] = lambda _: None,
) -> Sweep:
    """Simulates builds on more and more clients.

    Args:
        side: ``prefect`` or ``mlflow``.
        url: The server.
        shape: How much a build asks.
        seconds: How long each level lasts.
        levels: Clients at once, rising.
        on_level: Hears what was measured, level by level.

    Raises:
        EdgewrightError: The server does not answer, or refuses.
    """
    import httpx

    measured: list[Level] = []
    try:
        for clients in levels:
            measured.append(asyncio.run(_measure(side, url, shape, clients, seconds)))
            on_level(measured[-1])
            if measured[-1].build_s >= 2 * measured[0].build_s:
                return Sweep(url, tuple(measured), clients, measured[-2] if len(measured) > 1 else measured[0])
    except (httpx.HTTPError, OSError) as error:
        raise EdgewrightError(
            f"{url} cannot be loaded: {error!r}. Is the server up, and is that its address?"
        ) from error
    return Sweep(url, tuple(measured), None, measured[-1])


async def _measure(side: str, url: str, shape: Shape, clients: int, seconds: float) -> Level:
    import httpx

    asked: Side
    tally = Tally()
    asked = PrefectSide(url, shape, tally) if side == "prefect" else MlflowSide(url, shape, tally)
    # Servers close connections that rest for five seconds: one that might be closing right now is not used again.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=clients, keepalive_expiry=2.0)
    # Loopback, or a team's own server: whatever proxy the environment names has no business here.
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
        await asked.prepare(client)
        before_tasks = await asked.recorded_tasks(client) if isinstance(asked, PrefectSide) else 0
        cpu_s = _cpu_seconds(url)
        started = time.monotonic()
        await asyncio.gather(*(_keep_building(asked, client, started + seconds) for _ in range(clients)))
        took_s = time.monotonic() - started
        lag_s = await _wait_for_tasks(asked, client, before_tasks) if isinstance(asked, PrefectSide) else None
        after_s = _cpu_seconds(url)
    every = sorted(each for kind in tally.seconds.values() for each in kind)
    return Level(
        clients=clients,
        seconds=round(took_s, 1),
        builds_per_minute=round(60 * len(tally.build_s) / took_s, 1),
        build_s=round(statistics.median(tally.build_s), 3),
        requests_per_minute={kind: round(60 * len(each) / took_s) for kind, each in tally.seconds.items()},
        median_ms=round(1000 * statistics.median(every), 2),
        p95_ms=round(1000 * every[int(_PERCENTILE_95 * (len(every) - 1))], 2),
        median_ms_of={kind: round(1000 * statistics.median(each), 2) for kind, each in tally.seconds.items()},
        refused=tally.refused,
        server_cpu_s_per_build=round((after_s - cpu_s) / len(tally.build_s), 3) if after_s > cpu_s else None,
        lag_s=lag_s,
    )


async def _keep_building(side: Side, client: object, until: float) -> None:
    while (started := time.monotonic()) < until:
        await side.build(client)
        side.tally.build_s.append(time.monotonic() - started)


async def _wait_for_tasks(side: PrefectSide, client: object, before: int) -> float:
    """Seconds until all task runs that were told of are written down."""
    started = time.monotonic()
    while await side.recorded_tasks(client) < before + side.sent_tasks:
        if time.monotonic() - started > _LAG_DEADLINE_S:
            raise EdgewrightError(
                f"{_LAG_DEADLINE_S:.0f} s after the last request the server has not written down every task run. It loses "
                "some, or is far behind: use fewer clients."
            )
        await asyncio.sleep(0.2)
    return round(time.monotonic() - started, 1)


def _cpu_seconds(url: str) -> float:
    """CPU seconds of the processes behind an address of this machine, so far; 0 for another machine's."""
    parts = urlsplit(url)
    if parts.hostname not in ("127.0.0.1", "localhost"):
        return 0.0
    total = 0.0
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(
                each.status == psutil.CONN_LISTEN and each.laddr.port == parts.port
                for each in process.net_connections()
            ):
                times = process.cpu_times()
                total += times.user + times.system
    return total


def _show(level: Level) -> None:
    print(
        f"{level.clients:4} clients  {level.builds_per_minute:8.1f} builds/min  build {level.build_s:7.2f} s  "
        f"request {level.median_ms:7.1f} ms  p95 {level.p95_ms:8.1f} ms  {sum(level.refused.values()):5} repeated  "
        f"server {level.server_cpu_s_per_build or 0:.2f} CPU s/build",
        flush=True,
    )


def main(words: Sequence[str] | None = None) -> int:
    """Runs the simulation; writes what it measured as JSON."""
    parser = argparse.ArgumentParser(prog="python -m edgewright.desk.load_simulation", description=__doc__)
    parser.add_argument("--prefect", metavar="URL", help="API of a Prefect server, http://127.0.0.1:4200/api")
    parser.add_argument("--mlflow", metavar="URL", help="an MLflow server, http://127.0.0.1:5000")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each level (20)")
    parser.add_argument("--most", type=int, default=_LEVELS[-1], help="most clients at once (128)")
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    asked = parser.parse_args(words)
    servers = {name: url for name in ("prefect", "mlflow") if (url := getattr(asked, name))}
    try:
        if not servers:
            raise UsageError("no server was named: give --prefect, --mlflow or both.")
        levels = [level for level in _LEVELS if level <= asked.most]
        found = {name: sweep(name, url, Shape(), asked.seconds, levels, _show) for name, url in servers.items()}
    except EdgewrightError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    machine = {"cpu": read_cpu_model(), "cores": os.cpu_count(), "python": platform.python_version()}
    figures = {"machine": machine, "shape": asdict(Shape()), **{name: asdict(each) for name, each in found.items()}}
    if asked.output:
        asked.output.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
