"""The proof of an image: it is started under its target's limits, and must answer as its bundle promises.

An image of this machine's architecture is run by a container engine or, without one, as root, by the kernel's own means. A
foreign one is run the same way under an emulator that may be believed. Where neither is possible the answer is ``not proven
here`` with the reason: what was not run is never passed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgewright.bundle import Bundle, read_bundle
from edgewright.pipeline.images.chroot_leftovers import remove_chroot_leftovers
from edgewright.pipeline.images.chroot_run import ChrootRun
from edgewright.pipeline.images.confinement import Confined, Limits, NotProvableError, Start
from edgewright.pipeline.images.container_run import ContainerRun
from edgewright.pipeline.images.descriptor import Descriptor
from edgewright.pipeline.images.emulation import Emulator, find_emulator, host_architecture
from edgewright.pipeline.images.engine_client import ContainerEngine
from edgewright.pipeline.images.engine_leftovers import temporary_name
from edgewright.pipeline.images.image_answers import ASK, RefutedError, judge, last_words, read_answer, why_no_worker
from edgewright.pipeline.images.image_spec import COMMAND, CONFIG_FILE, FACTORY, STATE_FOLDER
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import PYTHON_VERSION, Platform

ProofOutcome = Literal["proven", "failed", "not proven here"]
PROVEN: ProofOutcome = "proven"
FAILED: ProofOutcome = "failed"
NOT_PROVEN: ProofOutcome = "not proven here"

_POLL_S = 0.1
_SETTLED_S = 0.5
_STOP_S = 20.0


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
            ``golden_deviation``, ``peak_memory_mib`` (the model's process), ``container_memory_mib`` (all of it), ``stop_s``;
            ``answers_deviation``, of values, as they were asked from outside the model's process.
        limits: What it ran under: the target's limits, but no more processors than there were.
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
    remove_chroot_leftovers()
    figures: dict[str, float] = {}
    by = ""
    try:
        emulator = None if _runs_here(platform, engine) else _emulator(platform, engine)
        if bundle is None:
            raise NotProvableError("it holds no bundle: there is nothing that it could answer with.")
        patience = patience or (NATIVE if emulator is None else EMULATED)
        with _run(layout, image, platform, limits, engine, emulator, patience) as run:
            by = run.runner if emulator is None else f"{run.runner}, emulated by {emulator.name}"
            if run.limits.cpus < limits.cpus:
                by += f", on {run.limits.cpus:g} of {limits.cpus:g} processors"
            limits = run.limits
            _prove(run, read_bundle(bundle), limits, budget_mib if emulator is None else None, patience, figures)
    except NotProvableError as cause:
        return Proof(platform.name, NOT_PROVEN, str(cause), by, figures, limits)
    except RefutedError as cause:
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
    said = read_answer(run.execute([f"python{PYTHON_VERSION}", "-c", ASK, *words], patience.answer_s))
    found: dict[str, Any] = (said["serves"] or {}).get("figures", {})
    figures |= {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
    if (memory_mib := run.memory_mib()) is not None:
        figures["container_memory_mib"] = memory_mib
    figures |= judge(said, found, bundle, budget_mib)
    begun = time.monotonic()
    status = run.stop(_STOP_S)
    figures["stop_s"] = time.monotonic() - begun
    if run.was_killed_for_memory():
        raise RefutedError(f"it needed more than {limits.memory_mib} MiB.")
    if status != 0:
        raise RefutedError(f"told to end, it ended with {'a kill' if status is None else status} instead of 0.")


def _wait_healthy(run: Confined, limits: Limits, patience: Patience) -> float:
    """Ask its own health check until it says yes; returns the seconds since the start."""
    begun = time.monotonic()
    while True:
        done = run.execute([f"/{COMMAND}", "healthy"], patience.answer_s)
        took_s = time.monotonic() - begun
        if done.status == 0:
            return took_s
        is_running, no_worker = run.is_running(), why_no_worker(run.log())
        if no_worker or not is_running:
            time.sleep(_SETTLED_S)  # an engine hears of the reason after the end
        if run.was_killed_for_memory():
            raise RefutedError(f"it needed more than {limits.memory_mib} MiB before it was healthy.")
        if not is_running:
            raise RefutedError(f"it ended before it was healthy: {last_words(run.log())}")
        if no_worker:
            raise RefutedError(f"its model cannot be served: {no_worker}")
        if took_s > patience.healthy_s:
            said = f"{last_words(done.output)} It said: {last_words(run.log())}"
            raise RefutedError(f"it was not healthy within {patience.healthy_s:g} s: {said}")
        time.sleep(_POLL_S)
