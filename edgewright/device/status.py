"""``edgewright-agent status``: what runs here, since when, why, what was refused, and what would come next.

A running agent is asked over its local HTTP interface; where none answers, the state folder is read. Both give the same
object, of which everything may be missing: the page shows what there is.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgewright.device.agent_state import STARTS_ALLOWED
from edgewright.device.spool import peek_items
from edgewright.device.state_file import StateFile
from edgewright.device.state_words import describe_state
from edgewright.errors import printable

RUNNING_NAME = "agent.json"
_TIMEOUT_S = 5.0
_ANSWER_MAX_BYTES = 1 << 20
_REFUSALS_SHOWN = 5
_WIDTH = 12


def read_status(folder: Path, listen: str = "", device: str = "") -> dict[str, Any]:
    """Say how the agent of a state folder is.

    Args:
        folder: The state folder.
        listen: Where it listens by its configuration, for `ask_agent`.
        device: This device's name.

    Returns:
        What the running agent says of itself, or what its folder says, with ``running`` and, where there is no answer
        though there should be one, ``trouble``.

    Raises:
        AgentStateError: No agent answers, and the state cannot be read either.
    """
    said, trouble = ask_agent(folder, listen, device)
    if said is not None:
        return {"running": True, **said}
    state, damage = StateFile(folder).read()
    return {"running": False, "trouble": trouble or damage, **describe_state(state), "spool": _peeked(folder)}


def ask_agent(folder: Path, listen: str, device: str) -> tuple[dict[str, Any] | None, str | None]:
    """Ask the agent of a folder, where it said that it listens when it started.

    A full disk has no room for that word: then whoever answers where the configuration says is asked, and believed when
    it says that it is this device.

    Args:
        folder: The state folder.
        listen: Where it listens by its configuration; empty: not known.
        device: This device's name.

    Returns:
        What it says of itself, with its ``address``, or None; and why there is no answer though there should be one.
    """
    try:
        address = _address(folder)
    except (OSError, ValueError) as error:
        return None, f"where the agent listens cannot be read: {error}"
    try:
        if address is not None:
            return _ask(address), None
        said = _ask(f"http://{listen}") if listen else {}
        return said if said.get("device") == device else None, None
    except (OSError, ValueError, http.client.HTTPException) as error:
        return None, None if address is None else f"the agent does not answer at {address}: {error}"


def render_status(status: Mapping[str, Any], now_s: float | None = None) -> str:
    """Give the page for people.

    Args:
        status: From `read_status`.
        now_s: The time of day, seconds since 1970, to tell ages by; None: now.
    """
    now = datetime.fromtimestamp(now_s, UTC) if now_s is not None else datetime.now(UTC)
    lines = [f"{name:<{_WIDTH}}{text}".rstrip() for name, text in _rows(status, now)]
    return "\n".join(printable(line).replace("\n", " ") for line in lines)


def _rows(status: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, str]]:
    yield "agent", _agent(status)
    if status.get("trouble"):
        yield "trouble", str(status["trouble"])
    active = status.get("active")
    held = _part(_part(status, "slots"), str(active))
    begins = active is not None and status.get("running") and "serves" in status and status["serves"] is None
    yield "serves", _served(active, held) + ("; its worker is being started" if begins else "")
    yield "since", _moment(held.get("installed_at"), now) if held else "-"
    yield "why", _why(status, active, held)
    yield "trial", _trial(_part(status, "trial"))
    yield from _refusals(status.get("refused"), now)
    yield "floors", _floors(status)
    yield from _updates(_part(status, "updates"), now)
    yield "spool", _spool(_part(status, "spool"))
    if sender := _part(status, "sender"):
        sent = _moment(sender.get("last_sent_s"), now) if sender.get("last_sent_s") else "nothing yet"
        error = f"; last error: {sender['last_error']}" if sender.get("last_error") else ""
        yield "sent", f"{sender.get('sent_items', 0):,} items, last {sent}{error}"
    if (psi := _part(status, "drift").get("psi")) is not None:
        yield "drift", f"PSI {psi:.3f} (chance alone gives about {_part(status, 'drift').get('noise') or 0:.3f})"
    yield "next", _next(status, active)


def _agent(status: Mapping[str, Any]) -> str:
    if not status.get("running"):
        return "does not run; this is what its folder says"
    words = [f"{status['device']}," if status.get("device") else "", f"version {status.get('agent', '?')}"]
    up_s = status.get("up_s")
    since = f", up {_span(float(up_s))}" if isinstance(up_s, int | float) else ""
    return f"runs: {' '.join(filter(None, words))}, process {status.get('pid', '?')}{since}"


def _served(active: object, held: Mapping[str, Any]) -> str:
    if active is None:
        return "nothing"
    if active == "factory":
        return "the factory bundle"
    return f"version {held.get('version', '?')} ({held.get('variant', '?')}), slot {active}, bundle {_short(held)}"


def _why(status: Mapping[str, Any], active: object, held: Mapping[str, Any]) -> str:
    """A refusal after the installation is why this one serves again."""
    refused = [each for each in status.get("refused") or () if isinstance(each, dict)]
    last = refused[-1] if refused else None
    if active is None:
        return (
            f"version {last.get('version')} was refused, and nothing else is here"
            if last
            else "no release was installed"
        )
    if active == "factory":
        return f"version {last.get('version')} was refused" if last else "no release has proved itself here yet"
    if last and str(last.get("at", "")) >= str(held.get("installed_at", "")):
        return f"it had proved itself here, and version {last.get('version')}, which came after it, was refused"
    return "it is the latest release that proved itself here"


def _trial(trial: Mapping[str, Any]) -> str:
    if not trial:
        return "none"
    words = [f"version {trial.get('version', '?')} in slot {trial.get('slot', '?')}"]
    words.append(f"start {trial.get('starts', 0)} of {STARTS_ALLOWED}")
    if trial.get("phase"):
        words.append(str(trial["phase"]))
    if trial.get("compared"):
        words.append(f"{trial.get('agreeing', 0)} of {trial['compared']} live answers agree")
    if isinstance(trial.get("running_s"), int | float):
        words.append(f"for {_span(trial['running_s'])}")
    return ", ".join(words)


def _refusals(refused: object, now: datetime) -> Iterator[tuple[str, str]]:
    entries = [each for each in refused if isinstance(each, dict)] if isinstance(refused, list) else []
    if not entries:
        yield "refused", "nothing"
    for index, each in enumerate(reversed(entries[-_REFUSALS_SHOWN:])):
        when = _moment(each.get("at"), now)
        yield "refused" if index == 0 else "", f"version {each.get('version', '?')}, {when}: {each.get('reason', '?')}"
    if len(entries) > _REFUSALS_SHOWN:
        yield "", f"and {len(entries) - _REFUSALS_SHOWN} before"


def _floors(status: Mapping[str, Any]) -> str:
    floors = _part(status, "floors")
    told = ", ".join(f"{role} {version}" for role, version in sorted(floors.items()))
    signed_at = status.get("signed_at_s")
    time = (
        _iso(datetime.fromtimestamp(signed_at, UTC)) if isinstance(signed_at, int | float) and signed_at > 0 else None
    )
    return "; ".join(filter(None, (told, f"it is later than {time}" if time else ""))) or "none yet"


def _updates(updates: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, str]]:
    if not updates:
        return
    if not updates.get("registry"):
        yield "registry", "none is configured"
        return
    contact = _moment(updates["contact_at"], now) if updates.get("contact_at") else "none since the start"
    yield "registry", f"{updates['registry']}, last contact: {contact}"
    for name, key in (("offered", "offered"), ("note", "note"), ("last error", "error"), ("clock", "clock")):
        if updates.get(key):
            yield name, str(updates[key])


def _spool(spool: Mapping[str, Any]) -> str:
    if not spool:
        return "none: no receiver is configured, or nothing was ever spooled"
    items = _part(spool, "items")
    told = f"{sum(items.values()):,} items wait ({', '.join(f'{count:,} {name}' for name, count in items.items())})"
    if "maximum_bytes" in spool:
        told += f", {spool.get('size_bytes', 0) / (1 << 20):.1f} of {spool['maximum_bytes'] / (1 << 20):g} MiB"
    if evicted := sum(_part(spool, "evicted").values()):
        told += f", {evicted:,} forgotten for want of room"
    return told + (f"; cannot be written: {spool['error']}" if spool.get("error") else "")


def _next(status: Mapping[str, Any], active: object) -> str:
    trial = _part(status, "trial")
    if not status.get("running"):
        goal = f"prove version {trial.get('version')} and serve it" if trial else "serve what stands above"
        if active is None and not trial:
            goal = "wait for a release"
        return f"once it is started: {goal}"
    if trial:
        left = STARTS_ALLOWED - int(trial.get("starts") or 0)
        return f"version {trial.get('version')} serves if it does well, and is refused if not ({left} more starts)"
    if failed := int(status.get("failed_starts") or 0):
        return (
            f"start it again; {STARTS_ALLOWED - failed} more failures and this device goes back" if active else "wait"
        )
    updates = _part(status, "updates")
    if not updates.get("registry"):
        return "nothing new: no registry is configured"
    left_s = updates.get("next_s")
    return f"ask the registry for a release{f' in {_span(left_s)}' if isinstance(left_s, int | float) else ''}"


def _address(folder: Path) -> str | None:
    """Where the agent of a folder said that it listens; None where it said nothing.

    Raises:
        OSError: What it said cannot be read.
        ValueError: It is no address.
    """
    try:
        with (folder / RUNNING_NAME).open("rb") as stream:
            said = json.loads(stream.read(_ANSWER_MAX_BYTES))
    except FileNotFoundError:
        return None
    if not isinstance(said, dict) or not isinstance(said.get("address"), str):
        raise ValueError(f"{folder / RUNNING_NAME} has no address")
    return str(said["address"])


def _ask(address: str) -> dict[str, Any]:
    place = address.removeprefix("http://").rstrip("/")
    with closing(http.client.HTTPConnection(place, timeout=_TIMEOUT_S)) as connection:
        connection.request("GET", "/status")
        answer = connection.getresponse()
        data = answer.read(_ANSWER_MAX_BYTES)
    value = json.loads(data) if answer.status == 200 else None
    if not isinstance(value, dict):
        raise ValueError(f"its answer was {answer.status} {data[:80]!r}")
    return {**value, "address": address}


def _peeked(folder: Path) -> dict[str, Any] | None:
    items = peek_items(folder)
    return None if items is None else {"items": items}


def _part(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = value.get(key)
    return part if isinstance(part, dict) else {}


def _short(held: Mapping[str, Any]) -> str:
    return str(held.get("bundle_sha256", "?"))[:12]


def _moment(value: object, now: datetime) -> str:
    """A time with its age; as it stands where it is none."""
    try:
        moment = (
            datetime.fromtimestamp(value, UTC)
            if isinstance(value, int | float)
            else datetime.fromisoformat(str(value)).astimezone(UTC)
        )
    except (ValueError, OverflowError, OSError):
        return str(value)
    age_s = (now - moment).total_seconds()
    return f"{_iso(moment)} ({_span(age_s)} ago)" if age_s >= 0 else f"{_iso(moment)} (by a clock that is ahead)"


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
