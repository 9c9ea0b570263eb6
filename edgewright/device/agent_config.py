"""The agent's configuration: one TOML file, and ``EDGEWRIGHT_AGENT_<SECTION>_<KEY>`` from the environment over it.

Every key has a default but the few that only the owner knows. All problems are reported at once.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from edgewright.device.http_address import receiver_address_fault, registry_address_fault
from edgewright.device.http_api_hosts import split_address
from edgewright.errors import AgentConfigError

PREFIX = "EDGEWRIGHT_AGENT_"
Broken = Iterator[tuple[str, str]]
"""Keys of a section, each with the end of a sentence that says which rule it breaks."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _bounded(default: float, low: float, high: float, meaning: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "meaning": meaning})


def _word(default: str, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class DeviceSection:
    """Who this is. Key by key: see `describe_config`."""

    id: str = _word("", "this device's name at the receiver of telemetry; letters, digits, . _ -")
    model: str = _word("", "name of the model, e.g. digits")
    target: str = _word("", "class of this device, e.g. linux-x86")
    state: str = _word("/var/lib/edgewright", "folder of the agent's state; must survive power cuts")
    factory: str = _word("", "folder of the read-only factory bundle; empty for none")
    root: str = _word("", "file of the trusted root metadata; default: root.json beside this file")


@dataclass(frozen=True)
class RegistrySection:
    """Where releases come from."""

    url: str = _word("", "address of the registry, http or https; empty: never asked, the device lives on what it has")
    poll_s: float = _bounded(300, 1, 86_400, "seconds between two questions for a release, ±10 % jitter")
    timeout_s: float = _bounded(30, 1, 600, "longest silence of a connection, seconds")
    minimum_bytes_per_s: float = _bounded(1024, 1, 1e9, "a slower download is broken off and resumed later")
    backoff_first_s: float = _bounded(
        1, 0.01, 300, "shortest pause after a failure, seconds; the longest possible one doubles with each failure"
    )
    backoff_most_s: float = _bounded(
        300, 0.01, 86_400, "longest pause after failures, seconds; each is drawn at random"
    )
    clock_ahead_days: float = _bounded(400, 1, 36_500, "a clock further ahead of the last signature is not believed")


@dataclass(frozen=True)
class ServeSection:
    """How answers are given."""

    listen: str = _word("127.0.0.1:8930", "address and port of the local HTTP interface; port 0: any free one")
    deadline_s: float = _bounded(5, 0.001, 600, "longest time for one inference, seconds")
    start_deadline_s: float = _bounded(60, 1, 3_600, "longest time for a worker to load and prove its bundle, seconds")
    heartbeat_s: float = _bounded(10, 0.2, 600, "a worker that is silent for so long is replaced, seconds")
    memory_mib: float = _bounded(2048, 64, 65_536, "address space (RLIMIT_AS) of the worker, MiB")
    request_kib: float = _bounded(1024, 1, 1_048_576, "largest request, KiB; the agent's memory grows with it")


@dataclass(frozen=True)
class HealthSection:
    """When a new release may serve, and when the device goes back."""

    window_s: float = _bounded(
        120,
        1,
        86_400,
        "a trial must be ready, and have its shadow_minimum, within this time plus shadow_s; "
        "what has served for so long begins its count of failures anew",
    )
    shadow_s: float = _bounded(60, 0, 604_800, "how long a new release answers beside the old one before it serves")
    shadow_minimum: float = _bounded(0, 0, 1e9, "so many live samples must have been compared; 0: none needed")
    shadow_agreement: float = _bounded(0.8, 0, 1, "share of compared decisions that must agree")
    latency_slack: float = _bounded(1.5, 1, 100, "the self-test may exceed the signed latency budget by this factor")


@dataclass(frozen=True)
class SpoolSection:
    """What leaves the device."""

    url: str = _word("", "address of the receiver, http or https; empty: nothing is sent")
    token: str = _word("", "bearer token for the receiver; better EDGEWRIGHT_AGENT_SPOOL_TOKEN")
    maximum_mib: float = _bounded(64, 1, 1e6, "the queue's bound on disk, MiB; the least valuable goes first")
    batch: float = _bounded(100, 1, 10_000, "items a request")
    telemetry_s: float = _bounded(300, 1, 86_400, "seconds between two reports")
    raw_inputs: str = _word("never", "never, or uncertain: samples below sample_confidence may leave the device")
    sample_confidence: float = _bounded(0.6, 0, 1, "a classification below this probability is uncertain")


@dataclass(frozen=True)
class AgentConfig:
    """All sections, and the file that they came from."""

    device: DeviceSection
    registry: RegistrySection = field(default_factory=RegistrySection)
    serve: ServeSection = field(default_factory=ServeSection)
    health: HealthSection = field(default_factory=HealthSection)
    spool: SpoolSection = field(default_factory=SpoolSection)
    folder: Path = Path()

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / self.device.state

    @property
    def factory(self) -> Path | None:
        """The factory bundle's folder, if there is one."""
        return self.folder / self.device.factory if self.device.factory else None

    @property
    def root(self) -> Path:
        """The file of the trusted root."""
        return self.folder / (self.device.root or "root.json")


def load_agent_config(path: Path, environment: Mapping[str, str] = os.environ) -> AgentConfig:
    """Read the configuration.

    Raises:
        AgentConfigError: The file cannot be read, or keys are unknown, missing or out of bounds: all of them.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as cause:
        raise AgentConfigError(f"{path} cannot be read: {cause}.") from cause
    problems: list[str] = []
    sections = {}
    hints = get_type_hints(AgentConfig)
    names = [each.name for each in fields(AgentConfig) if dataclasses.is_dataclass(hints[each.name])]
    problems += [f"[{name}] is unknown. Known: {', '.join(names)}." for name in document if name not in names]
    for name in names:
        values = document.get(name, {})
        if not isinstance(values, dict):
            problems.append(f"[{name}] must be a section.")
            continue
        sections[name] = _read_section(name, hints[name], dict(values), environment, problems)
    if problems:
        raise AgentConfigError("\n".join([f"{path}: {len(problems)} problem(s)", *(f"  {each}" for each in problems)]))
    return AgentConfig(**sections, folder=path.resolve().parent)


def describe_config() -> str:
    """Give every key with its default, bounds and meaning, as a TOML file that says what it says."""
    lines = []
    for name, kind in get_type_hints(AgentConfig).items():
        if not dataclasses.is_dataclass(kind):
            continue
        lines.append(f"[{name}]")
        for each in fields(kind):
            bounds = f" ({each.metadata['low']:g} to {each.metadata['high']:g})" if "low" in each.metadata else ""
            value = f'"{each.default}"' if isinstance(each.default, str) else f"{each.default:g}"
            lines.append(f"{each.name} = {value}  # {each.metadata['meaning']}{bounds}")
        lines.append("")
    return "\n".join(lines)


def _read_section(
    name: str, kind: Any, values: dict[str, object], environment: Mapping[str, str], problems: list[str]
) -> Any:
    found: dict[str, Any] = {}
    broken: dict[str, str] = {}
    for each in fields(kind):
        variable = f"{PREFIX}{name}_{each.name}".upper()
        value = environment.get(variable, values.pop(each.name, each.default))
        if "low" in each.metadata:
            value = _number(value)
            low, high = each.metadata["low"], each.metadata["high"]
            if value is None or not low <= value <= high:
                broken[each.name] = f"must be a number from {low:g} to {high:g}."
                continue
        elif not isinstance(value, str):
            broken[each.name] = f"must be a text, found {value!r:.80}."
            continue
        found[each.name] = value
    section = kind(**found)  # with the default for what is broken, so that the rest of it can be looked at
    broken = {**dict(_CHECKS.get(name, _no_rules)(section)), **broken}
    problems += [f"{name}.{key} {rule}" for key, rule in broken.items()]
    problems += [f"{name}.{key} is unknown. Known: {', '.join(e.name for e in fields(kind))}." for key in values]
    return section


def _number(value: object) -> float | None:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _no_rules(section: object) -> Broken:
    return iter(())


def _check_device(device: DeviceSection) -> Broken:
    for name in ("id", "model", "target"):
        if not _NAME.fullmatch(getattr(device, name)):
            yield name, f"must be 1 to 64 letters, digits, '.', '_' or '-', found {getattr(device, name)!r:.80}."


def _check_registry(registry: RegistrySection) -> Broken:
    if registry.url and (fault := registry_address_fault(registry.url)):
        yield "url", fault


def _check_serve(serve: ServeSection) -> Broken:
    try:
        split_address(serve.listen)
    except AgentConfigError as error:
        yield "listen", str(error).removeprefix("serve.listen ")


def _check_spool(spool: SpoolSection) -> Broken:
    if spool.url and (fault := receiver_address_fault(spool.url)):
        yield "url", fault
    if not (spool.token.isascii() and spool.token.isprintable()):
        yield "token", "must be one line of printable ASCII."  # and is shown to nobody
    if spool.raw_inputs not in ("never", "uncertain"):
        yield "raw_inputs", f"must be never or uncertain, found {spool.raw_inputs!r:.80}."


_CHECKS: dict[str, Callable[[Any], Broken]] = {
    "device": _check_device,
    "registry": _check_registry,
    "serve": _check_serve,
    "spool": _check_spool,
}
