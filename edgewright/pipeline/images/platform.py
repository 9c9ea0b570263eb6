"""The platforms that images are built for, what each takes from where, and which engines it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgewright.errors import ImageError

PYTHON_VERSION = "3.11"
"""Of every image, and of the machine that builds it: it writes the image's bytecode."""

# The update client, and what verifies signatures. Everything here is read by people: one line a distribution.
_AGENT = ("tuf", "securesystemslib", "urllib3")
# Where there are wheels of it. Without, securesystemslib verifies Ed25519 in Python.
_CRYPTOGRAPHY = ("cryptography", "cffi")
_OLDEST_GLIBC, _NEWEST_GLIBC = 17, 36  # manylinux2014's, and that of Debian 12, which the bases are


@dataclass(frozen=True)
class Platform:
    """An operating system and architecture that images are built for.

    Attributes:
        name: As a target names it: ``linux/arm64``, ``linux/arm/v7``.
        architecture: The image format's word for the architecture.
        variant: The image format's word for its variant; None where there is none.
        debian: Debian's word for the architecture.
        machine: A wheel's word for the machine.
        engine_wheels: Distributions that make up an engine here, by the engine's name.
        agent_wheels: Distributions that the agent needs whatever the engine.
        from_base: Import names that no wheel brings and the base must: from the distribution.
        refusals: Why an engine cannot be had here, by its name.
    """

    name: str
    architecture: str
    variant: str | None
    debian: str
    machine: str
    engine_wheels: Mapping[str, tuple[str, ...]]
    agent_wheels: tuple[str, ...]
    from_base: tuple[str, ...] = ()
    refusals: Mapping[str, str] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The name without slashes, for file names: ``linux-arm-v7``."""
        return self.name.replace("/", "-")

    @property
    def engines(self) -> tuple[str, ...]:
        """Names of the engines that can be had here."""
        return tuple(self.engine_wheels)

    @property
    def wheel_platforms(self) -> tuple[str, ...]:
        """Platform tags of wheels that run here, newest first."""
        newest_first = range(_NEWEST_GLIBC, _OLDEST_GLIBC - 1, -1)
        return (
            *(f"manylinux_2_{minor}_{self.machine}" for minor in newest_first),
            f"manylinux2014_{self.machine}",
        )

    @property
    def oci(self) -> dict[str, str]:
        """The platform as an image index states it."""
        words = {"architecture": self.architecture, "os": "linux"}
        return words if self.variant is None else {**words, "variant": self.variant}

    def wheels(self, engine: str) -> tuple[str, ...]:
        """Distributions that an image with this engine takes as wheels, in order.

        Raises:
            ImageError: The engine cannot be had here.
        """
        if (reason := why_not(self.name, engine)) is not None:
            raise ImageError(reason)
        return tuple(sorted({*self.engine_wheels[engine], *self.agent_wheels}))

    def matches(self, oci: Mapping[str, Any]) -> bool:
        """Whether an image index or configuration means this platform; arm64 may say v8, and arm nothing at all."""
        if oci.get("os") != "linux" or oci.get("architecture") != self.architecture:
            return False
        default = {"arm64": "v8", "arm": "v7"}.get(self.architecture)
        return (oci.get("variant") or default) == (self.variant or default)


_ONNX, _LITERT = ("onnxruntime", "numpy"), ("ai-edge-litert", "numpy")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
_BOTH = {"onnxruntime": _ONNX, "litert": _LITERT}

PLATFORMS = {
    platform.name: platform
    for platform in (
        Platform("linux/amd64", "amd64", None, "amd64", "x86_64", _BOTH, (*_AGENT, *_CRYPTOGRAPHY)),
        Platform("linux/arm64", "arm64", None, "arm64", "aarch64", _BOTH, (*_AGENT, *_CRYPTOGRAPHY)),
        Platform(
            "linux/arm/v7",
            "arm",
            "v7",
            "armhf",
            "armv7l",
            {"litert": ("tflite-runtime",)},  # LiteRT's predecessor; LiteRT itself is built for 64 bits only
            _AGENT,
            ("numpy",),
            {"onnxruntime": "ONNX Runtime is not built for 32-bit ARM. Use the engine litert, or a 64-bit system"},
        ),
    )
}


def platform_named(name: str) -> Platform:
    """Find a platform.

    Raises:
        ImageError: Images are not built for it.
    """
    if name not in PLATFORMS:
        raise ImageError(f"images are built for {', '.join(PLATFORMS)}, not for {name!r:.80}.")
    return PLATFORMS[name]


def architecture_of(machine: str) -> str:
    """Give the image format's word for an architecture that the kernel calls by another: ``amd64`` for ``x86_64``."""
    return _MACHINES.get(machine, machine)


def why_not(platform: str, engine: str) -> str | None:
    """Say why a target cannot have an image with this engine; None where it can. Validation of targets asks this.

    Args:
        platform: The target's platform.
        engine: One of the target's engines.
    """
    if platform not in PLATFORMS:
        return f"there is no image for {platform!r:.80}. Known: {', '.join(PLATFORMS)}."
    known = PLATFORMS[platform]
    if engine in known.engine_wheels:
        return None
    reason = known.refusals.get(engine, f"there is no such engine. Known: {', '.join(known.engines)}")
    return f"an image for {platform} cannot hold the engine {engine!r:.80}: {reason}."
