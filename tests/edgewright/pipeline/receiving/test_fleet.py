"""What ``edgewright receive --show`` says of devices, from what they reported, however odd that is."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import pytest

from edgewright.cli import receive
from edgewright.device.agent_config import AgentConfig, DeviceSection, SpoolSection
from edgewright.device.agent_log import AgentLog
from edgewright.device.agent_state import AgentState
from edgewright.device.events import Events
from edgewright.errors import UsageError
from edgewright.pipeline.receiving.fleet import fleet_figures
from edgewright.pipeline.receiving.inbox import Inbox
from edgewright.pipeline.receiving.item import read_items


def deliver(inbox: Inbox, device: str, *items: tuple[str, dict[str, Any]]) -> None:
    epoch = f"{inbox.count():016x}"
    lines = [
        json.dumps(
            {"epoch": epoch, "sequence": n, "kind": kind, "priority": 1, "at": f"2030-01-01T00:{n:02}", "payload": said}
        )
        for n, (kind, said) in enumerate(items, 1)
    ]
    inbox.take(device, read_items("\n".join(lines).encode()))


def report(p50: float | None, psi: float | None = None, version: int = 3) -> tuple[str, dict[str, Any]]:
    serves = {"name": "digits.linux-x86", "version": version, "variant": "i8"}
    p95 = None if p50 is None else 2 * p50
    return "report", {"serves": serves, "latency_ms": {"p50": p50, "p95": p95}, "drift": {"psi": psi, "noise": 0.04}}


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path, 64 << 20, wall=lambda: 1_900_000_000.0)


def test_the_latest_figures_that_a_device_has(inbox: Inbox) -> None:
    deliver(inbox, "b", report(1.0, 0.5), report(1.5, None), report(None, None, version=4))
    deliver(inbox, "a", ("event.rollback", {"reason": "slow"}), ("event.fall_back", {"reason": "crashed"}))
    a, b = fleet_figures(inbox.folder)
    assert (a.device, a.release, a.latency_p50_ms, a.rollbacks, a.last_reason) == ("a", None, None, 2, "crashed")
    assert (b.release, b.latency_p50_ms, b.latency_p95_ms) == ("digits.linux-x86 4 i8", 1.5, 3.0)
    assert (b.drift_psi, b.drift_noise, b.rollbacks, b.items) == (0.5, 0.04, 0, 3)
    assert b.seen_at.startswith("2030-03-17T17:46:40")


def test_figures_that_are_none_are_left_out(inbox: Inbox) -> None:
    deliver(inbox, "odd", ("report", {"serves": 7, "latency_ms": {"p50": "fast"}, "drift": [1]}), ("report", {}))
    (odd,) = fleet_figures(inbox.folder)
    assert (odd.release, odd.latency_p50_ms, odd.drift_psi, odd.items) == (None, None, None, 2)


def test_what_a_real_device_sends_is_understood(inbox: Inbox, tmp_path: Path) -> None:
    device = DeviceSection(id="press-7", model="digits", target="linux-x86", state=str(tmp_path / "device"))
    settings = SpoolSection(url="http://127.0.0.1:9", raw_inputs="uncertain")
    events = Events(AgentConfig(device, spool=settings), AgentLog(io.StringIO()))
    events.follow(lambda: AgentState(active="factory"))
    for index in range(1100):
        facts = {"samples": 1, "confidences": [0.4], "input_mean": [float(index % 10)], "labels": ["7"]}
        events.answered(2.0, facts)
        if index == 600:
            events.report()
    events.event("fall_back", place="A", to="factory", reason="three failed starts")
    events.sample(b"\x93NUMPY", "application/x-npy", 0.4)
    events.report()
    assert events.spool is not None
    assert events.spool.write_pending()
    batch = b"\n".join(item.line for item in events.spool.next_batch(100))
    answer = inbox.take("press-7", read_items(batch))
    events.spool.stop()
    assert (len(answer.stored), answer.refused) == (4, ())
    (press,) = fleet_figures(inbox.folder)
    assert (press.release, press.rollbacks, press.last_reason, press.samples) == (
        "factory",
        1,
        "three failed starts",
        1,
    )
    assert press.latency_p95_ms == pytest.approx(2.0, rel=0.021)
    assert press.drift_psi is not None and press.drift_psi < 0.1


def words(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    receive.add_words(parser)
    return parser.parse_args(given)


def test_the_table(inbox: Inbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert receive.run(words("--show", "--folder", str(inbox.folder))) == 0
    assert "no device has reported yet" in capsys.readouterr().out
    deliver(inbox, "press-7", report(1.2345, 0.91), ("event.rollback", {"reason": "p95 9.1 ms, budget 5 ms"}))
    deliver(inbox, "press-8", report(0.5, 0.02), ("sample", {"content_type": "image/png", "body": ""}))
    receive.run(words("--show", "--folder", str(inbox.folder)))
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[1].split()) == "device last seen (UTC) release p50 p95 rollbacks drift (PSI) items"
    assert " ".join(lines[2].split()) == "press-7 2030-03-17 17:46:40 digits.linux-x86 3 i8 1.23 ms 2.47 ms 1 0.910 ! 2"
    assert " ".join(lines[3].split()) == "press-8 2030-03-17 17:46:40 digits.linux-x86 3 i8 0.5 ms 1 ms 0 0.020 2"
    assert "press-7 went back last because: p95 9.1 ms, budget 5 ms" in lines[4]
    assert "without labels" in lines[5]


def test_beyond_this_machine_a_token_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(receive.TOKEN_VARIABLE, raising=False)
    with pytest.raises(UsageError, match="--token-file"):
        receive.run(words("--host", "0.0.0.0", "--folder", str(tmp_path)))
    token = tmp_path / "token"
    token.write_text("\n")
    with pytest.raises(UsageError, match="not empty"):
        receive.run(words("--token-file", str(token), "--folder", str(tmp_path)))
    with pytest.raises(UsageError, match="cannot be read"):
        receive.run(words("--token-file", str(tmp_path / "none"), "--folder", str(tmp_path)))
    with pytest.raises(UsageError, match="--maximum-gib"):
        receive.run(words("--maximum-gib", "0", "--folder", str(tmp_path)))
    with pytest.raises(UsageError, match="cannot be listened on"):
        receive.run(words("--host", "192.0.2.1", "--token-file", str(good(tmp_path)), "--folder", str(tmp_path)))


def good(folder: Path) -> Path:
    file = folder / "good"
    file.write_text("a-token\n")
    return file
