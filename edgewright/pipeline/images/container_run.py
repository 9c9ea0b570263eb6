"""Runs an image under limits with a container engine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from edgewright.errors import ImageError
from edgewright.pipeline.images.confinement import Ended, Limits, Start
from edgewright.pipeline.images.engine_client import ContainerEngine
from edgewright.pipeline.images.image_spec import STATE_FOLDER

_MIB = 1024 * 1024
_REMOVAL_S = 60.0
_LOG_LINES = 20
_OUTPUT_BYTES = 64 * 1024
_ENDED, _KILLED = 409, 137  # the engine's answer about a container that has ended; the status of what was killed


class ContainerRun:
    """A container of an image that the engine has; a `edgewright.pipeline.images.confinement.Confined`.

    Attributes:
        runner: The engine's name and version.
        limits: What it runs under: once it is started, no more processors than the engine's machine has.
    """

    def __init__(self, engine: ContainerEngine, image: str, limits: Limits, start: Start, silence_s: float) -> None:
        """Prepare.

        Args:
            engine: The engine.
            image: Name of the image there.
            limits: The limits.
            start: What is started.
            silence_s: How long the engine may be silent, e.g. while a command runs within.
        """
        self.runner = engine.facts.name
        self._engine = engine.reopened(silence_s)
        self._image, self.limits, self._start = image, limits, start
        self._container: Any = None

    def __enter__(self) -> Self:
        with self._engine.errors(f"starting {self._image}"):
            processors = self._engine.client.info().get("NCPU")  # an engine refuses to grant more
            self.limits = limits = self.limits.within(processors) if processors else self.limits
            self._container = self._engine.client.containers.create(
                self._image,
                list(self._start.command),
                environment=dict(self._start.environment),
                mem_limit=limits.memory_mib * _MIB,
                memswap_limit=limits.memory_mib * _MIB,
                nano_cpus=int(limits.cpus * 1e9),
                pids_limit=limits.pids,
                read_only=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                tmpfs={"/tmp": limits.tmp_options},
                volumes=[STATE_FOLDER],
                network_mode="none",
            )
        try:
            with self._engine.errors(f"starting {self._image}"):
                self._container.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is not None:
            with suppress(ImageError), self._engine.errors("removing a container"):
                self._engine.client.api.timeout = _REMOVAL_S
                self._container.remove(force=True, v=True)
        self._engine.client.close()

    def execute(self, words: Sequence[str], timeout_s: float) -> Ended:
        """Run a command within; an engine that is silent for longer than ``silence_s`` is one that refuses.

        In a container that has ended the command fails, as it does in one that ends meanwhile.
        """
        from docker.errors import APIError  # type: ignore[import-untyped]

        with self._engine.errors(f"asking {self._image}"):
            try:
                done = self._container.exec_run(list(words))
            except APIError as cause:
                if cause.status_code != _ENDED:
                    raise
                return Ended(_KILLED, str(cause.explanation))
        return Ended(int(done.exit_code), done.output[-_OUTPUT_BYTES:].decode("utf-8", "replace"))

    def is_running(self) -> bool:
        """Whether the container runs."""
        return bool(self._state().get("Running"))

    def was_killed_for_memory(self) -> bool:
        """Whether the kernel ended something in the container for want of memory."""
        return bool(self._state().get("OOMKilled"))

    def memory_mib(self) -> float | None:
        """What the container's processes take now."""
        with self._engine.errors(f"asking {self._image}"):
            used = self._container.stats(stream=False).get("memory_stats", {})
        if "usage" not in used:
            return None
        kept = used.get("stats", {})
        files = kept.get("total_inactive_file", kept.get("inactive_file", 0))
        return float(used["usage"] - files) / _MIB

    def stop(self, timeout_s: float) -> int | None:
        """Send the image's stop signal, and wait."""
        with self._engine.errors(f"stopping {self._image}"):
            self._container.stop(timeout=int(timeout_s))
            status = int(self._state().get("ExitCode", -1))
        return None if status == _KILLED else status  # killed when the time was over

    def log(self) -> str:
        """The last lines of the container."""
        with self._engine.errors(f"asking {self._image}"):
            return str(self._container.logs(tail=_LOG_LINES).decode("utf-8", "replace"))

    def _state(self) -> dict[str, Any]:
        with self._engine.errors(f"asking {self._image}"):
            self._container.reload()
            return dict(self._container.attrs.get("State", {}))
