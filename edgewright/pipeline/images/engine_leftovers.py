"""What this program makes in a container engine for a while, and what killed runs left of it there.

Names say which process made a thing. An engine may serve several machines: only what a process of this machine made, which
is gone, is removed.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, Literal

from edgewright.pipeline.images.engine_client import ContainerEngine
from edgewright.pipeline.images.ownership import is_abandoned, owner_tag

_NAME = re.compile(r"edgewright-(?:base|build|proof)/[^:]+:([^:/]+)")


def temporary_name(kind: Literal["base", "build", "proof"], what: str) -> str:
    """Name an image that this process removes again.

    Args:
        kind: What it is for.
        what: What it is of, e.g. ``linux-amd64``.
    """
    return f"edgewright-{kind}/{what.lower()}:{owner_tag()}"


def remove_leftovers(engine: ContainerEngine) -> list[str]:
    """Remove containers and images of processes that are gone; gives the names of the images.

    Raises:
        EngineFailedError: The engine refuses, or answers no more.
    """
    from docker.errors import APIError  # type: ignore[import-untyped]

    with engine.errors("looking for what killed runs left"):
        api = engine.client.api
        for container in api.containers(all=True):
            if _is_abandoned(str(container.get("Image", ""))):
                with suppress(APIError):  # another run removes it just now; or the next one does
                    api.remove_container(container["Id"], force=True, v=True)
        names = [name for image in api.images() for name in _names(image) if _is_abandoned(name)]
    for name in names:
        engine.forget(name)
    return names


def _names(image: dict[str, Any]) -> list[str]:
    return list(image.get("RepoTags") or ())


def _is_abandoned(name: str) -> bool:
    found = _NAME.fullmatch(name)
    return found is not None and is_abandoned(found[1])
