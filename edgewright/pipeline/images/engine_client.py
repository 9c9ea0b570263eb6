"""A container engine, where one answers: whatever ``DOCKER_HOST`` names, asked by the ``docker`` SDK.

An engine is somebody else's process, on another machine perhaps: it may be away, refuse, or die while it works. All of that
is one `EngineFailedError`; nothing of the SDK's own leaves this file untranslated.
"""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from edgewright.errors import DiskFullError, ImageError
from edgewright.pipeline.images.descriptor import Descriptor, parse_descriptor, to_bytes
from edgewright.pipeline.images.layout_writer import no_room
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import architecture_of

_QUESTION_S, _WORK_S = 5.0, 600.0


class EngineFailedError(ImageError):
    """The container engine refused, or ended in the middle of something."""


@dataclass(frozen=True)
class EngineFacts:
    """What an engine says of itself.

    Attributes:
        name: Product and version, for people: ``docker 20.10.24``.
        architecture: The image format's word for its machine's architecture.
        is_local: Whether it runs on this machine's kernel.
    """

    name: str
    architecture: str
    is_local: bool


class ContainerEngine:
    """An engine that answered.

    Attributes:
        facts: What it says of itself.
        client: The SDK's client; wrap what is asked of it in `errors`.
    """

    def __init__(self, client: Any, facts: EngineFacts) -> None:
        self.client, self.facts = client, facts

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Say what went wrong with the engine as one error.

        Args:
            doing: What was being done, as the middle of a sentence: ``building digits.linux-x86``.

        Raises:
            EngineFailedError: The engine refused, died, or did not answer in time.
            DiskFullError: Its disk is full.
        """
        from docker.errors import DockerException  # type: ignore[import-untyped]
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (DockerException, RequestException, HTTPError) as cause:
            said = str(getattr(cause, "explanation", None) or cause).strip().splitlines()
            reason = (said or [type(cause).__name__])[-1][:300]
            if "no space left on device" in reason.lower():
                raise DiskFullError(
                    f"the disk of the container engine is full: {doing} was not done, and nothing of it is registered. "
                    f"Make room there (docker system df), then begin again."
                ) from cause
            gone = not self.answers()
            what = "ended or stopped answering" if gone else f"refused: {reason}"
            remedy = "start it again, or build without it" if gone else "look at its log"
            raise EngineFailedError(
                f"the container engine ({self.facts.name}) {what} while {doing}. Nothing was registered: {remedy}."
            ) from cause

    def answers(self) -> bool:
        """Whether it is still there."""
        client = _open(_QUESTION_S)
        if client is not None:
            client.close()
        return client is not None

    def close(self) -> None:
        """Give the connection back."""
        self.client.close()

    def reopened(self, timeout_s: float) -> ContainerEngine:
        """The same engine by another connection, whose silences may last this long.

        Raises:
            ImageError: It answers no more.
        """
        client = _open(timeout_s)
        if client is None:
            raise EngineFailedError(f"the container engine ({self.facts.name}) answers no more: start it again.")
        return ContainerEngine(client, self.facts)

    def load(self, layout: OciLayout, image: Descriptor, tag: str) -> None:
        """Bring an image of a layout into the engine, every blob compared with its digest on the way.

        Raises:
            IntegrityError: A blob is missing, damaged or exchanged.
            ImageError: The engine refused, or made something else of it.
        """
        manifest = layout.document(image, "manifest")
        config = parse_descriptor(manifest.get("config"), "manifest")
        layers = [parse_descriptor(each, "manifest") for each in manifest.get("layers", ())]
        diff_ids = layout.document(config, "configuration").get("rootfs", {}).get("diff_ids", [])
        paths = [layout.check(config, "configuration")]
        paths += [layout.check(layer, f"layer {number}") for number, layer in enumerate(layers, 1)]
        with tempfile.TemporaryFile() as archive, no_room(Path(tempfile.gettempdir())):
            write_archive(archive, [tag], config, layers, {each.name: each for each in paths})
            archive.seek(0)
            with self.errors(f"loading {tag}"):
                self.client.images.load(archive)
                found = self.client.images.get(tag)
        if found.attrs.get("RootFS", {}).get("Layers") != diff_ids:
            raise EngineFailedError(
                f"the container engine ({self.facts.name}) made other layers of {tag} than it was given."
            )

    @contextmanager
    def saved(self, reference: str) -> Iterator[tarfile.TarFile]:
        """An image as the engine writes it: an archive with ``manifest.json``.

        Raises:
            ImageError: The engine has no such image, or died.
        """
        with tempfile.TemporaryFile() as spool, no_room(Path(tempfile.gettempdir())):
            with self.errors(f"saving {reference}"):
                for chunk in self.client.images.get(reference).save():
                    spool.write(chunk)
            spool.seek(0)
            with tarfile.open(fileobj=spool) as archive:
                yield archive

    def forget(self, reference: str) -> None:
        """Remove an image, or a name of it; one that is not there, or an engine that is gone, is no error."""
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        with suppress(DockerException, RequestException):
            self.client.images.remove(reference, force=True)

    def forget_built_on(self, reference: str) -> None:
        """Remove an image and what a build that failed left on it: images whose parents lead there."""
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        with suppress(DockerException, RequestException):
            parents = {each.id: each.attrs.get("Parent") for each in self.client.images.list(all=True)}
            generations = [{self.client.images.get(reference).id}]
            while generations[-1]:
                generations.append({each for each, parent in parents.items() if parent in generations[-1]})
            for each in (each for children in generations[:0:-1] for each in children):  # the youngest first
                self.forget(each)
        self.forget(reference)


def find_engine() -> ContainerEngine | None:
    """The engine that answers here; None where none does, or where ``DOCKER_HOST`` is ``none`` on purpose."""
    client = _open(_WORK_S)
    if client is None:
        return None
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        version, info = client.version(), client.info()
    except (DockerException, RequestException):  # it ended between two questions
        client.close()
        return None
    product = "podman" if "podman" in json.dumps(version.get("Components", [])).lower() else "docker"
    facts = EngineFacts(
        name=f"{product} {version.get('Version', '?')}",
        architecture=architecture_of(str(info.get("Architecture", ""))),
        is_local=info.get("KernelVersion") == os.uname().release and info.get("Name") == os.uname().nodename,
    )
    return ContainerEngine(client, facts)


def write_archive(
    stream: IO[bytes], tags: list[str], config: Descriptor, layers: list[Descriptor], blobs: Mapping[str, Path | bytes]
) -> None:
    """Write an image as engines load it.

    Args:
        stream: Where to.
        tags: What the engine shall call it.
        config: Its configuration.
        layers: Its layers, lowest first.
        blobs: All blobs by the digits of their digests.
    """
    place = "blobs/sha256/{}".format
    manifest = {"Config": place(config.sha256), "RepoTags": tags, "Layers": [place(each.sha256) for each in layers]}
    listed = b"[" + to_bytes(manifest) + b"]"
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in (*((place(key), value) for key, value in blobs.items()), ("manifest.json", listed)):
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                archive.addfile(member, BytesIO(content))
            else:
                member.size = content.stat().st_size
                with content.open("rb") as blob:
                    archive.addfile(member, blob)


def _open(timeout_s: float) -> Any:
    """A client of an engine that answers now; None without one."""
    if os.environ.get("DOCKER_HOST") == "none":
        return None
    try:
        import docker  # type: ignore[import-untyped]
        from docker.errors import DockerException
        from requests.exceptions import RequestException
    except ImportError:
        return None
    client: Any = None
    try:
        client = docker.from_env(timeout=int(_QUESTION_S))
        client.ping()
        client.api.timeout = timeout_s
    except (DockerException, RequestException, ValueError, OSError):
        if client is not None:
            client.close()
        return None
    return client
