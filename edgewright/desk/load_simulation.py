"""How many builds Prefect and MLflow bear: simulated ones, more and more a minute, until answers take twice as long.

Run it against servers that may be thrown away, since it leaves thousands of runs behind::

    python -m edgewright.desk.load_simulation --prefect http://127.0.0.1:4200/api --mlflow http://127.0.0.1:5000

A simulated build asks for all at once what a real one asks for in minutes. Builds begin at random moments, as if nobody
knew of the others; what is watched is the time that one build's requests take together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
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

_RATES = (10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100, 120, 140, 160, 200, 250, 300, 400, 500)
_SEED = 5
_PERCENTILE_95 = 0.95
_LAG_DEADLINE_S = 300.0
Side = PrefectSide | MlflowSide


@dataclass(frozen=True)
class Level:
    """What was measured with so many builds a minute.

    Attributes:
        offered: Builds that began per minute, on average.
        builds: How many there were.
        build_s: Median time of one build's requests, in seconds: the latency that is watched.
        build_p95_s: 95th percentile of it.
        at_once: Most builds at the same time.
        requests_per_minute: Requests answered per minute, by kind.
        median_ms: Median time of a request, by kind.
        repeated: Requests that had to be repeated because the server was too busy, by status.
        server_cpu_s_per_build: CPU seconds of the server's own processes per build; None where they are another machine's.
        lag_s: Seconds after the last request until every task run stood in the database; None where nothing comes later.
    """

    offered: float
    builds: int
    build_s: float
    build_p95_s: float
    at_once: int
    requests_per_minute: dict[str, int]
    median_ms: dict[str, float]
    repeated: dict[str, int]
    server_cpu_s_per_build: float | None
    lag_s: float | None


@dataclass(frozen=True)
class Sweep:
    """All levels of one server.

    Attributes:
        server: Its address.
        levels: What was measured, from few builds a minute on.
        doubled_at: Builds a minute at which one's requests took twice as long as at the first level; None where that was
            not reached.
        sustained: The level before that: what it bears.
    """

    server: str
    levels: tuple[Level, ...]
    doubled_at: float | None
    sustained: Level


def sweep(
    side: str,
    url: str,
    shape: Shape,
    seconds: float,
    rates: Sequence[float] = _RATES,
    on_level: Callable[[Level], None] = lambda _: None,
) -> Sweep:
    """Simulates more and more builds a minute.

    Args:
        side: ``prefect`` or ``mlflow``.
        url: The server.
        shape: How much a build asks.
        seconds: For how long builds begin at each level.
        rates: Builds a minute, rising.
        on_level: Hears what was measured, level by level.

    Raises:
        EdgewrightError: The server does not answer, or refuses.
    """
    import httpx

    measured: list[Level] = []
    try:
        for rate in rates:
            measured.append(asyncio.run(_measure(side, url, shape, rate, seconds)))
            on_level(measured[-1])
            if measured[-1].build_s >= 2 * measured[0].build_s:
                return Sweep(url, tuple(measured), rate, measured[-2] if len(measured) > 1 else measured[0])
    except (httpx.HTTPError, OSError) as error:
        raise EdgewrightError(
            f"{url} cannot be loaded: {error!r}. Is the server up, and is that its address?"
        ) from error
    return Sweep(url, tuple(measured), None, measured[-1])


async def _measure(side: str, url: str, shape: Shape, rate: float, seconds: float) -> Level:
    import httpx

    asked: Side
    tally = Tally()
    asked = PrefectSide(url, shape, tally) if side == "prefect" else MlflowSide(url, shape, tally)
    # Servers close connections that rest for five seconds: one that might be closing right now is not used again.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=2.0)
    # Loopback, or a team's own server: whatever proxy the environment names has no business here.
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
        await asked.prepare(client)
        before_tasks = await asked.recorded_tasks(client) if isinstance(asked, PrefectSide) else 0
        cpu_s, started = _cpu_seconds(url), time.monotonic()
        at_once = await _begin_builds(asked, client, rate, seconds)
        took_s = time.monotonic() - started
        lag_s = await _wait_for_tasks(asked, client, before_tasks) if isinstance(asked, PrefectSide) else None
        after_s = _cpu_seconds(url)
    times = sorted(tally.build_s)
    return Level(
        offered=rate,
        builds=len(times),
        build_s=round(statistics.median(times), 3),
        build_p95_s=round(times[int(_PERCENTILE_95 * (len(times) - 1))], 3),
        at_once=at_once,
        requests_per_minute={kind: round(60 * len(each) / took_s) for kind, each in tally.seconds.items()},
        median_ms={kind: round(1000 * statistics.median(each), 1) for kind, each in tally.seconds.items()},
        repeated=tally.repeated,
        server_cpu_s_per_build=round((after_s - cpu_s) / len(times), 3) if after_s > cpu_s else None,
        lag_s=lag_s,
    )


async def _begin_builds(side: Side, client: object, rate: float, seconds: float) -> int:
    """Begins builds at random moments and waits for all; returns how many there were at once."""
    random_gaps = random.Random(_SEED)
    under_way = most = 0

    async def one() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        started = time.monotonic()
        await side.build(client)
        side.tally.build_s.append(time.monotonic() - started)
        under_way -= 1

    begun = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        begun.append(asyncio.create_task(one()))
        await asyncio.sleep(random_gaps.expovariate(rate / 60))
    await asyncio.gather(*begun)
    return most


async def _wait_for_tasks(side: PrefectSide, client: object, before: int) -> float:
    """Seconds until all task runs that were told of are written down."""
    started = time.monotonic()
    while await side.recorded_tasks(client) < before + side.sent_tasks:
        if time.monotonic() - started > _LAG_DEADLINE_S:
            raise EdgewrightError(
                f"{_LAG_DEADLINE_S:.0f} s after the last request the server has not written down every task run: it loses "
                "some, or is far behind. Offer fewer builds a minute."
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
        f"{level.offered:5.0f} builds/min  requests of a build {level.build_s:7.2f} s, 95 % {level.build_p95_s:7.2f} s  "
        f"{level.at_once:3} at once  {sum(level.repeated.values()):4} repeated  "
        f"server {level.server_cpu_s_per_build or 0:.2f} CPU s/build",
        flush=True,
    )


def main(words: Sequence[str] | None = None) -> int:
    """Runs the simulation; writes what it measured as JSON."""
    parser = argparse.ArgumentParser(prog="python -m edgewright.desk.load_simulation", description=__doc__)
    parser.add_argument("--prefect", metavar="URL", help="API of a Prefect server, http://127.0.0.1:4200/api")
    parser.add_argument("--mlflow", metavar="URL", help="an MLflow server, http://127.0.0.1:5000")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long builds begin at each level (30)")
    parser.add_argument("--most", type=float, default=_RATES[-1], help="most builds a minute (500)")
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    asked = parser.parse_args(words)
    servers = {name: url for name in ("prefect", "mlflow") if (url := getattr(asked, name))}
    try:
        if not servers:
            raise UsageError("no server was named: give --prefect, --mlflow or both.")
        rates = [rate for rate in _RATES if rate <= asked.most]
        found = {name: sweep(name, url, Shape(), asked.seconds, rates, _show) for name, url in servers.items()}
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
