"""``compose.edge.yaml`` of a target: what a device's engine starts, with the limits that the image was proven under.

``python -m edgewright.pipeline.images.edge_compose`` writes the example, docker/compose.edge.yaml; ``edgewright images
MODEL --target T --compose FILE`` writes that of a release.
"""

from __future__ import annotations

import io
import re
import sys
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML

from edgewright.errors import ImageError
from edgewright.pipeline.images.confinement import Limits
from edgewright.pipeline.images.image_spec import (
    COMMAND,
    CONFIG_FOLDER,
    HEALTH_INTERVAL_S,
    HEALTH_RETRIES,
    HEALTH_START_S,
    HEALTH_TIMEOUT_S,
    STATE_FOLDER,
    USER,
)

PORT = 8930
_PLACE = r"/dev/(?:(?!\.\.?(?:/|:|$))[A-Za-z0-9._-]+/)*(?!\.\.?(?:/|:|$))[A-Za-z0-9._-]+"
_DEVICE = re.compile(rf"({_PLACE})(?::({_PLACE}))?(?::([rwm]{{1,3}}))?")
_GROUP = re.compile(r"[a-z_][a-z0-9_-]{0,31}|\d{1,10}")
_PINNED = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
_LOG_SIZE, _LOG_FILES = "10m", "3"
_STOP_S = 20
_ENROLMENT = "./enrolled"  # what `edgewright enrol` wrote, beside the file
_HEADER = """\
# {name} on a device, {release}.
# Written by `{command}`; write it anew for another release.
# Beside it lies `enrolled/`, which `edgewright enrol` makes: configuration and root of trust. Answers: http://127.0.0.1:{port}
# A newer model does not need a newer image: the agent fetches signed releases by itself and keeps them in the volume.
"""


@dataclass(frozen=True)
class EdgeOptions:
    """What a device's compose file is made from.

    Attributes:
        model: Name of the model.
        target: Class of device.
        release: The release, for people: ``version 4``.
        image: What to pull, by digest.
        platform: The target's platform.
        limits: What the target grants: a board's engine refuses more processors than it has.
        devices: Device files that the container sees: ``/dev/video0``, ``/dev/ttyUSB0:/dev/sensor:r``.
        groups: Groups of the host that may open them: names in the image do not exist, so better numbers.
        command: What wrote it, for its first line.
    """

    model: str
    target: str
    release: str
    image: str
    platform: str
    limits: Limits = field(default_factory=Limits)
    devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    command: str = "edgewright images"

    def __post_init__(self) -> None:
        """Refuse what an engine would refuse, or what would not be what was released.

        Raises:
            ImageError: The image has no digest, or a device or group is none.
        """
        if not _PINNED.fullmatch(self.image):
            raise ImageError(
                f"a device pulls an image by its digest, found {self.image!r:.200}: push it first (edgewright images "
                f"{self.model} --target {self.target} --build --push REGISTRY)."
            )
        for name, pattern, values in (("device", _DEVICE, self.devices), ("group", _GROUP, self.groups)):
            wrong = [each for each in values if not pattern.fullmatch(each)]
            if wrong:
                raise ImageError(f"{wrong[0]!r:.100} is no {name} of a host, e.g. /dev/video0, or group 44.")


def compose_file(options: EdgeOptions) -> dict[str, Any]:
    """Give the file's content."""
    limits = options.limits
    agent: dict[str, Any] = {
        "image": options.image,
        "platform": options.platform,
        "restart": "unless-stopped",
        "user": f"{USER}:{USER}",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": f"{limits.memory_mib}m",
        "memswap_limit": f"{limits.memory_mib}m",
        "cpus": limits.cpus,
        "pids_limit": limits.pids,
        "tmpfs": [f"/tmp:{limits.tmp_options}"],
        "volumes": [
            {"type": "bind", "source": _ENROLMENT, "target": CONFIG_FOLDER, "read_only": True},
            {"type": "volume", "source": "state", "target": STATE_FOLDER},
        ],
        "environment": {"EDGEWRIGHT_AGENT_SERVE_LISTEN": f"0.0.0.0:{PORT}"},
        "ports": [f"127.0.0.1:{PORT}:{PORT}"],
        "healthcheck": {
            "test": ["CMD", f"/{COMMAND}", "healthy"],
            "interval": f"{HEALTH_INTERVAL_S}s",
            "timeout": f"{HEALTH_TIMEOUT_S}s",
            "start_period": f"{HEALTH_START_S}s",
            "retries": HEALTH_RETRIES,
        },
        "logging": {"driver": "json-file", "options": {"max-size": _LOG_SIZE, "max-file": _LOG_FILES}},
        "stop_grace_period": f"{_STOP_S}s",
    }
    if options.devices:
        agent["devices"] = [_mapped(each) for each in options.devices]
    if options.groups:
        agent["group_add"] = list(options.groups)
    # No name for the project: Compose 1.29, which Debian 12 has, knows none. The volume has its own instead.
    volume = {"name": f"edgewright-{options.model}-{options.target}"}
    return {"services": {"agent": agent}, "volumes": {"state": volume}}


def render_compose(options: EdgeOptions) -> str:
    """Give the file's text."""
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    yaml.dump(compose_file(options), text)
    name = f"{options.model}.{options.target}"
    return _HEADER.format(name=name, release=options.release, command=options.command, port=PORT) + text.getvalue()


EXAMPLE = EdgeOptions(
    "digits",
    "pi5-arm64",
    "version 1 (an example: the digest is none of an image)",
    f"registry.example:5000/team/digits.pi5-arm64@sha256:{'0' * 64}",
    "linux/arm64",
    devices=("/dev/video0", "/dev/ttyUSB0:/dev/ttyUSB0:rw"),
    groups=("44", "20"),
    command="python -m edgewright.pipeline.images.edge_compose",
)


def _mapped(device: str) -> str:
    found = _DEVICE.fullmatch(device)
    if found is None:
        raise ImageError(f"{device!r:.100} is no device of a host.")
    host, inside, rights = found.groups()
    return f"{host}:{inside or host}:{rights or 'rw'}"


if __name__ == "__main__":
    sys.stdout.write(render_compose(EXAMPLE))
