"""Content-addressed artifacts, and a memory of stages that were already run.

An artifact is named by the sha256 of its bytes. A stage is remembered under a key made of its inputs' digests, its
settings, its code and its tools' versions: if none changed it is not run again. What is read from the store is checked
against its digest, so a damaged file is noticed and rebuilt instead of shipped.

Where a team shares a store (``shared_store``), this one is a cache in front of it: what another machine has made is
fetched, and what is made here is put there, artifacts before the record that names them. Machines that compute the same
stage at once waste time, and the first one's result counts for all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from edgewright.errors import IntegrityError
from edgewright.pipeline.code_identity import code_digest, tool_versions
from edgewright.pipeline.settled_json import digest_of, refuse_other_than_json
from edgewright.pipeline.shared_store import SharedArtifacts, team_store

ResultT = TypeVar("ResultT")
_CHUNK_BYTES = 1024 * 1024
# A temporary file this old was left by a killed process: writing one takes seconds.
_STALE_AFTER_S = 86_400


@dataclass(frozen=True)
class Artifact:
    """One file in the store.

    Attributes:
        path: Place below the store's root, with ``/``.
        sha256: Digest of the bytes, hexadecimal.
        size_bytes: Number of bytes.
    """

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Stage:
    """What a stage's result depends on, besides its inputs.

    Attributes:
        name: Name of the stage, e.g. ``train``.
        module: Module whose source (and all edgewright modules it imports) makes the result.
        tools: Distributions whose versions make the result.
    """

    name: str
    module: str
    tools: tuple[str, ...]


@dataclass(frozen=True)
class Outcome(Generic[ResultT]):
    """A stage's result.

    Attributes:
        value: The result.
        unchanged: Whether it was remembered rather than computed.
        compute_s: Seconds that computing it took, whenever that was.
    """

    value: ResultT
    unchanged: bool
    compute_s: float


class ArtifactStore:
    """A folder of artifacts and stage records. Safe to share between processes of one machine.

    Attributes:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        for folder in ("sha256", "stages", "locks", "tmp"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    def put_bytes(self, content: bytes) -> Artifact:
        """Stores ``content`` durably; storing the same bytes twice keeps one file."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = f"sha256/{sha256[:2]}/{sha256}"
        place = self.root / path
        if not (place.exists() and _sha256_of(place) == sha256 and _used_now(place)):
            _write_durably(place, content, self.root / "tmp")
        return Artifact(path, sha256, len(content))

    def put_file(self, source: Path) -> Artifact:
        """Stores a copy of one file."""
        return self.put_bytes(source.read_bytes())

    def path(self, artifact: Artifact) -> Path:
        """Where the artifact lies, after checking its bytes; fetched from the team's store where it lies there alone.

        Raises:
            IntegrityError: The file is missing or its bytes changed.
            SharedStoreError: The team's store cannot be asked.
        """
        place = self.root / artifact.path
        found = _sha256_of(place) if place.is_file() else None
        if found != artifact.sha256 and self._fetch(artifact):
            return place
        if found is None:
            raise IntegrityError(
                f"artifact {artifact.sha256[:12]} is missing from {self.root}. Build again to remake it."
            )
        if found != artifact.sha256:
            raise IntegrityError(
                f"artifact {artifact.sha256[:12]} in {self.root} is damaged: its bytes have sha256 {found[:12]}. "
                "Build again to remake it."
            )
        return place

    def read(self, artifact: Artifact) -> bytes:
        """The artifact's bytes, checked. Raises as ``path``."""
        return self.path(artifact).read_bytes()

    def run_stage(
        self,
        stage: Stage,
        inputs: Mapping[str, Any],
        result_type: type[ResultT],
        compute: Callable[[], ResultT],
    ) -> Outcome[ResultT]:
        """Returns the remembered result of a stage, or computes and remembers it.

        Two processes of a machine that need the same stage at once compute it once: the second waits.

        Args:
            stage: What the result depends on besides its inputs.
            inputs: Settings and input digests, as plain JSON values.
            result_type: A frozen dataclass (of dataclasses, numbers, text, lists, artifacts).
            compute: Makes the result.

        Raises:
            StageError: An input is not a plain JSON value.
            SharedStoreError: The team's store cannot be asked.
        """
        key = stage_key(stage, inputs)
        record = self.root / "stages" / stage.name / f"{key}.json"
        adapter = TypeAdapter(result_type)
        with FileLock(self.root / "locks" / f"{stage.name}-{key[:32]}.lock"):
            known = self._recall(_read(record), key, adapter)
            if known is not None:
                _used_now(record)
                self._share(record, known.value)
                return known
            theirs = self._recall_shared(record, adapter)
            if theirs is not None:
                return theirs
            self._clear_scratch()
            started = time.monotonic()
            value = compute()
            compute_s = time.monotonic() - started
            content = {
                "stage": stage.name,
                "key": key,
                "inputs": inputs,
                "compute_s": compute_s,
                "result": adapter.dump_python(value, mode="json"),
            }
            sealed = {"sha256": digest_of(content), "content": content}
            _write_durably(record, json.dumps(sealed, indent=1).encode(), self.root / "tmp")
            if not self._share(record, value):
                theirs = self._recall_shared(record, adapter)
                if theirs is not None:
                    value = theirs.value
                else:  # what lies there is damaged
                    self._share(record, value, anew=True)
            return Outcome(value, unchanged=False, compute_s=compute_s)

    def _recall(self, record: bytes | None, key: str, adapter: TypeAdapter[ResultT]) -> Outcome[ResultT] | None:
        """The remembered result if it and every artifact it names are whole; otherwise None, so that it is remade."""
        if record is None:
            return None
        try:
            sealed = json.loads(record)
            content = sealed["content"]
            if sealed["sha256"] != digest_of(content) or content["key"] != key:
                return None
            value = adapter.validate_python(content["result"])
            for artifact in artifacts_in(value):
                self.path(artifact)
            return Outcome(value, unchanged=True, compute_s=content["compute_s"])
        except (ValueError, KeyError, TypeError, RecursionError, ValidationError, IntegrityError):
            # A damaged record or artifact is as good as none: the stage runs again and overwrites it.
            return None

    def _recall_shared(self, record: Path, adapter: TypeAdapter[ResultT]) -> Outcome[ResultT] | None:
        """What another machine of the team remembers; it and its artifacts are here, too, from then on."""
        shared = _shared_artifacts()
        content = shared.read_record(record.parent.name, record.stem) if shared else None
        theirs = self._recall(content, record.stem, adapter)
        if theirs is not None and content is not None:
            _write_durably(record, content, self.root / "tmp")
        return theirs

    def _share(self, record: Path, value: object, anew: bool = False) -> bool:
        """Lets the team have a result: its artifacts, then the record; False where it knows a result already."""
        shared = _shared_artifacts()
        if shared is None:
            return True
        for artifact in artifacts_in(value):
            if not shared.has(artifact.sha256):
                shared.upload(artifact.sha256, self.read(artifact))
        stage, key, content = record.parent.name, record.stem, record.read_bytes()
        if not anew:
            return shared.create_record(stage, key, content)
        shared.write_record(stage, key, content)
        return True

    def _fetch(self, artifact: Artifact) -> bool:
        """Fetches an artifact from the team's store; False where there is none."""
        shared = _shared_artifacts()
        content = shared.fetch(artifact.sha256) if shared else None
        if content is None:
            return False
        _write_durably(self.root / artifact.path, content, self.root / "tmp")
        return True

    def _clear_scratch(self) -> None:
        """Removes temporary files that a killed process left."""
        for path in (self.root / "tmp").iterdir():
            with contextlib.suppress(FileNotFoundError):  # its writer renamed it, or another process was faster
                if time.time() - path.stat().st_mtime > _STALE_AFTER_S:
                    path.unlink()


def _used_now(path: Path) -> bool:
    """Makes a file young, so that a sweep that looked a moment ago leaves it; False where one was faster."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _shared_artifacts() -> SharedArtifacts | None:
    store = team_store()
    return None if store is None else SharedArtifacts(store)


def artifacts_in(value: object) -> Iterator[Artifact]:
    """Every artifact that a result names, at any depth."""
    if isinstance(value, Artifact):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from artifacts_in(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from artifacts_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from artifacts_in(item)


def stage_key(stage: Stage, inputs: Mapping[str, Any]) -> str:
    """The key under which a stage's result is remembered: sha256 in hexadecimal.

    Raises:
        StageError: An input is not a plain JSON value.
    """
    refuse_other_than_json(stage.name, "inputs", inputs)
    parts = {
        "stage": stage.name,
        "inputs": inputs,
        "code": code_digest(stage.module),
        "tools": tool_versions(stage.tools),
    }
    return digest_of(parts)


def _read(record: Path) -> bytes | None:
    return record.read_bytes() if record.is_file() else None


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _write_durably(place: Path, content: bytes, scratch: Path) -> None:
    """Writes a file so that a crash leaves the old one or the new one: temporary, fsync, rename, fsync of the folder."""
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=scratch)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
