"""The proof of an image: it is started under its target's limits, and must answer as its bundle promises.

An image of this machine's architecture is run by a container engine or, without one, as root, by the kernel's own means. A
foreign one is run the same way under an emulator that may be believed. Where neither is possible the answer is ``not proven
here`` with the reason: what was not run is never passed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgewright.bundle import Bundle, read_bundle
from edgewright.errors import EdgewrightError
from edgewright.pipeline.images.chroot_run import ChrootRun
from edgewright.pipeline.images.confinement import Confined, Ended, Limits, NotProvableError, Start
from edgewright.pipeline.images.container_run import ContainerRun
from edgewright.pipeline.images.descriptor import Descriptor
from edgewright.pipeline.images.emulation import Emulator, find_emulator, host_architecture
from edgewright.pipeline.images.engine_client import ContainerEngine
from edgewright.pipeline.images.engine_leftovers import temporary_name
from edgewright.pipeline.images.image_spec import COMMAND, CONFIG_FILE, FACTORY, STATE_FOLDER, USER
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import PYTHON_VERSION, Platform

ProofOutcome = Literal["proven", "failed", "not proven here"]
PROVEN: ProofOutcome = "proven"
FAILED: ProofOutcome = "failed"
NOT_PROVEN: ProofOutcome = "not proven here"

_POLL_S = 0.1
_SETTLED_S = 0.5
_STOP_S = 20.0
# Run within the image: what serves, how it answers its golden samples, and what the agent's process may do.
_ASK = """
import http.client, json, os, sys
from pathlib import Path
from edgewright.bundle import read_bundle
from edgewright.device.local_model import LocalModel
from edgewright.device.status import RUNNING_NAME
state, factory, timeout = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
running = json.loads((state / RUNNING_NAME).read_bytes())
connection = http.client.HTTPConnection(running["address"].removeprefix("http://"), timeout=timeout)
connection.request("GET", "/status")
serves = json.loads(connection.getresponse().read())["serves"]
answers = LocalModel(running["address"], timeout).answer(read_bundle(factory).golden.samples)
process = dict(line.split(":", 1) for line in Path(f"/proc/{running['pid']}/status").read_text().splitlines())
print(json.dumps({
    "serves": serves,
    "answers": [getattr(each, "label_index", None) for each in answers],
    "user": int(process["Uid"].split()[1]),
    "capabilities": int(process["CapEff"], 16) | int(process["CapBnd"], 16),
    "new_privileges": process["NoNewPrivs"].strip() != "1",
    "writable_root": not os.statvfs("/").f_flag & os.ST_RDONLY,
}))
"""


@dataclass(frozen=True)
class Patience:
    """How long a proof may take; after that it has failed, or nothing is known.

    Attributes:
        healthy_s: Until the agent is healthy.
        answer_s: Longest silence of one question.
    """

    healthy_s: float = 120.0
    answer_s: float = 60.0


NATIVE, EMULATED = Patience(), Patience(1500.0, 900.0)


@dataclass(frozen=True)
class Proof:
    """What running an image came to.

    Attributes:
        platform: The image's platform.
        outcome: ``proven``, ``failed`` or ``not proven here``.
        reason: What was found, in a sentence.
        by: What ran it: an engine, the kernel; with the emulator, where there was one. Empty where nothing ran.
        figures: What was measured, unit in the name: ``start_to_healthy_s``, ``golden_samples``, ``golden_agreeing``,
            ``golden_deviation``, ``peak_memory_mib`` (the model's process), ``container_memory_mib`` (all of it), ``stop_s``.
        limits: What it ran under.
    """

    platform: str
    outcome: ProofOutcome
    reason: str
    by: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    def describe(self) -> str:
        """One line, as a version's tag has it."""
        return f"{self.outcome}: {self.reason}" + (f" ({self.by})" if self.by else "")


class _RefutedError(EdgewrightError):
    """The image does not do what it must."""


def prove_image(
    layout: OciLayout,
    image: Descriptor,
    platform: Platform,
    bundle: Path | None,
    limits: Limits,
    budget_mib: float | None = None,
    engine: ContainerEngine | None = None,
    patience: Patience | None = None,
) -> Proof:
    """Start an image and have it answer.

    Args:
        layout: Where it lies.
        image: Which one.
        platform: What it is for.
        bundle: Folder of the bundle in it.
        limits: What it runs under.
        budget_mib: Memory that the model's process may take, in MiB; not asked under emulation.
        engine: What runs it; None: the kernel alone, as root.
        patience: How long it may take; None: by whether it is emulated.

    Raises:
        IntegrityError: A blob of the image is missing, damaged or exchanged.
        ImageError: The engine died, or refused.
        DiskFullError: There is no room to unpack it.
    """
    figures: dict[str, float] = {}
    by = ""
    try:
        emulator = None if _runs_here(platform, engine) else _emulator(platform, engine)
        if bundle is None:
            raise NotProvableError("it holds no bundle: there is nothing that it could answer with.")
        patience = patience or (NATIVE if emulator is None else EMULATED)
        with _run(layout, image, platform, limits, engine, emulator, patience) as run:
            by = run.runner if emulator is None else f"{run.runner}, emulated by {emulator.name}"
            _prove(run, read_bundle(bundle), limits, budget_mib if emulator is None else None, patience, figures)
    except NotProvableError as cause:
        return Proof(platform.name, NOT_PROVEN, str(cause), by, figures, limits)
    except _RefutedError as cause:
        return Proof(platform.name, FAILED, str(cause), by, figures, limits)
    samples = int(figures["golden_samples"])
    told = f"{samples} of {samples} golden samples, healthy after {figures['start_to_healthy_s']:.1f} s"
    if emulator is None:
        told += (
            f", {figures['peak_memory_mib']:.0f} MiB for the model's process, {limits.memory_mib} MiB allowed in all"
        )
    return Proof(platform.name, PROVEN, told, by, figures, limits)


def _runs_here(platform: Platform, engine: ContainerEngine | None) -> bool:
    return platform.architecture == (engine.facts.architecture if engine else host_architecture())


def _emulator(platform: Platform, engine: ContainerEngine | None) -> Emulator:
    if engine is not None and not engine.facts.is_local:
        raise NotProvableError(
            f"the container engine runs on another kernel, whose emulators are not known here: prove {platform.name} there."
        )
    return find_emulator(platform)


@contextmanager
def _run(
    layout: OciLayout,
    image: Descriptor,
    platform: Platform,
    limits: Limits,
    engine: ContainerEngine | None,
    emulator: Emulator | None,
    patience: Patience,
) -> Iterator[Confined]:
    environment = {
        "EDGEWRIGHT_AGENT_SERVE_START_DEADLINE_S": f"{patience.healthy_s:g}",
        **({} if emulator is None else emulator.environment),
    }
    if emulator is not None:  # nobody's clock is right under an emulator
        slow = dict.fromkeys(("DEADLINE_S", "HEARTBEAT_S"), f"{min(600.0, patience.answer_s):g}")
        environment |= {f"EDGEWRIGHT_AGENT_SERVE_{name}": value for name, value in slow.items()}
    start = Start(("run", "--config", CONFIG_FILE), environment)
    if engine is None:
        with ChrootRun(layout, image, limits, start) as run:
            yield run
        return
    tag = temporary_name("proof", platform.slug)
    engine.load(layout, image, tag)
    try:
        with ContainerRun(engine, tag, limits, start, patience.answer_s) as run:
            yield run
    finally:
        engine.forget(tag)


def _prove(
    run: Confined,
    bundle: Bundle,
    limits: Limits,
    budget_mib: float | None,
    patience: Patience,
    figures: dict[str, float],
) -> None:
    figures["start_to_healthy_s"] = _wait_healthy(run, limits, patience)
    words = [STATE_FOLDER, f"/{FACTORY}", f"{patience.answer_s:g}"]
    said = _answered(run.execute([f"python{PYTHON_VERSION}", "-c", _ASK, *words], patience.answer_s))
    found: dict[str, Any] = (said["serves"] or {}).get("figures", {})
    figures |= {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
    if (memory_mib := run.memory_mib()) is not None:
        figures["container_memory_mib"] = memory_mib
    _judge(said, found, bundle, budget_mib)
    begun = time.monotonic()
    status = run.stop(_STOP_S)
    figures["stop_s"] = time.monotonic() - begun
    if run.was_killed_for_memory():
        raise _RefutedError(f"it needed more than {limits.memory_mib} MiB.")
    if status != 0:
        raise _RefutedError(f"told to end, it ended with {'a kill' if status is None else status} instead of 0.")


def _wait_healthy(run: Confined, limits: Limits, patience: Patience) -> float:
    """Ask its own health check until it says yes; returns the seconds since the start."""
    begun = time.monotonic()
    while True:
        done = run.execute([f"/{COMMAND}", "healthy"], patience.answer_s)
        took_s = time.monotonic() - begun
        if done.status == 0:
            return took_s
        is_running = run.is_running()
        if not is_running:
            time.sleep(_SETTLED_S)  # an engine hears of the reason after the end
        if run.was_killed_for_memory():
            raise _RefutedError(f"it needed more than {limits.memory_mib} MiB before it was healthy.")
        if not is_running:
            raise _RefutedError(f"it ended before it was healthy: {_last(run.log())}")
        if took_s > patience.healthy_s:
            raise _RefutedError(
                f"it was not healthy within {patience.healthy_s:g} s: {_last(done.output)} It said: {_last(run.log())}"
            )
        time.sleep(_POLL_S)


def _answered(done: Ended) -> dict[str, Any]:
    lines = done.output.strip().splitlines()
    try:
        if done.status == 0:
            said: dict[str, Any] = json.loads(lines[-1])
            return said
    except (ValueError, IndexError):
        pass  # said below
    raise _RefutedError(f"it is healthy and does not answer its golden samples: {_last(done.output)}")


def _judge(said: dict[str, Any], found: dict[str, Any], bundle: Bundle, budget_mib: float | None) -> None:
    """Hold what it said against what it must be."""
    served = (said["serves"] or {}).get("release", {}).get("bundle_sha256")
    golden = bundle.golden
    answers, expected = said["answers"], [int(index) for index in golden.label_index]
    wrong = [number for number, (a, b) in enumerate(zip(answers, expected, strict=False)) if a not in (None, b)]
    faults = [
        (len(answers) != len(golden), f"it gave {len(answers)} answers to {len(golden)} golden samples"),
        (served != bundle.sha256, f"it serves the bundle {str(served)[:12]}, not {bundle.sha256[:12]}"),
        (bool(wrong), f"{len(wrong)} of {len(golden)} golden samples are answered otherwise, number {wrong[:1]} first"),
        (
            found.get("golden_agreeing") != len(golden),
            f"{found.get('golden_agreeing')} of {len(golden)} golden samples were reproduced",
        ),
        (said["user"] != USER, f"it runs as user {said['user']}, not {USER}"),
        (bool(said["capabilities"]), f"it has capabilities: {said['capabilities']:x}"),
        (said["new_privileges"], "it may gain privileges"),
        (said["writable_root"], "its root can be written"),
        (
            budget_mib is not None and found.get("peak_memory_mib", float("inf")) > budget_mib,
            f"the model's process takes {found.get('peak_memory_mib', 0):.0f} MiB, its budget is {budget_mib} MiB",
        ),
    ]
    if told := [text for is_so, text in faults if is_so]:
        raise _RefutedError("; ".join(told) + ".")


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:])[:400] or "it said nothing."
