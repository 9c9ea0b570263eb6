"""Content-addressed artifacts, and a memory of stages that were already run.

An artifact is named by the sha256 of its bytes. A stage is remembered under a key made of its inputs' digests, its
settings, its code and its tools' versions: if none changed it is not run again. What is read from the store is checked
against its digest, so a damaged file is noticed and rebuilt instead of shipped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from edgewright.errors import IntegrityError, StageError
from edgewright.pipeline.code_identity import code_digest, tool_versions

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
    """A folder of artifacts and stage records. Safe to share between processes of one machine."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        for folder in ("sha256", "stages", "locks", "tmp"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    def put_bytes(self, content: bytes) -> Artifact:
        """Stores ``content`` durably; storing the same bytes twice keeps one file."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = f"sha256/{sha256[:2]}/{sha256}"
        place = self.root / path
        if not (place.exists() and _sha256_of(place) == sha256):
            _write_durably(place, content, self.root / "tmp")
        return Artifact(path, sha256, len(content))

    def put_file(self, source: Path) -> Artifact:
        """Stores a copy of one file."""
        return self.put_bytes(source.read_bytes())

    def path(self, artifact: Artifact) -> Path:
        """Where the artifact lies, after checking its bytes.

        Raises:
            IntegrityError: The file is missing or its bytes changed.
        """
        place = self.root / artifact.path
        if not place.is_file():
            raise IntegrityError(
                f"artifact {artifact.sha256[:12]} is missing from {self.root}. Build again to remake it."
            )
        found = _sha256_of(place)
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

        Two processes that need the same stage at once compute it once: the second waits.

        Args:
            stage: What the result depends on besides its inputs.
            inputs: Settings and input digests, as plain JSON values.
            result_type: A frozen dataclass (of dataclasses, numbers, text, lists, artifacts).
            compute: Makes the result.

        Raises:
            StageError: An input is not a plain JSON value.
        """
        key = stage_key(stage, inputs)
        record = self.root / "stages" / stage.name / f"{key}.json"
        adapter = TypeAdapter(result_type)
        with FileLock(self.root / "locks" / f"{stage.name}-{key[:32]}.lock"):
            known = self._recall(record, adapter)
            if known is not None:
                return known
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
            sealed = {"sha256": _digest(content), "content": content}
            _write_durably(record, json.dumps(sealed, indent=1).encode(), self.root / "tmp")
            return Outcome(value, unchanged=False, compute_s=compute_s)

    def _recall(self, record: Path, adapter: TypeAdapter[ResultT]) -> Outcome[ResultT] | None:
        """The remembered result if it and every artifact it names are whole; otherwise None, so that it is remade."""
        if not record.is_file():
            return None
        try:
            sealed = json.loads(record.read_bytes())
            content = sealed["content"]
            if sealed["sha256"] != _digest(content) or content["key"] != record.stem:
                return None
            value = adapter.validate_python(content["result"])
            for artifact in artifacts_in(value):
                self.path(artifact)
            return Outcome(value, unchanged=True, compute_s=content["compute_s"])
        except (ValueError, KeyError, TypeError, RecursionError, ValidationError, IntegrityError):
            # A damaged record or artifact is as good as none: the stage runs again and overwrites it.
            return None

    def _clear_scratch(self) -> None:
        """Removes temporary files that a killed process left."""
        for path in (self.root / "tmp").iterdir():
            with contextlib.suppress(FileNotFoundError):  # its writer renamed it, or another process was faster
                if time.time() - path.stat().st_mtime > _STALE_AFTER_S:
                    path.unlink()


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
    _refuse_other_than_json(stage.name, "inputs", inputs)
    parts = {
        "stage": stage.name,
        "inputs": inputs,
        "code": code_digest(stage.module),
        "tools": tool_versions(stage.tools),
    }
    return _digest(parts)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _refuse_other_than_json(stage: str, place: str, value: object) -> None:
    """Other values have no settled text: a path would be remembered although the file behind it changed."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise StageError(
                    f"stage {stage}: key {key!r} of {place} is not text, so no settled input. Use text keys."
                )
            _refuse_other_than_json(stage, f"{place}.{key}", item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _refuse_other_than_json(stage, f"{place}[{index}]", item)
    elif value is not None and not isinstance(value, (str, int, float)):
        raise StageError(
            f"stage {stage}: {place} is a {type(value).__name__}, not a plain JSON value. Give a file's digest, not its path."
        )
    elif isinstance(value, float) and not math.isfinite(value):
        raise StageError(f"stage {stage}: {place} is {value}, which JSON cannot say. Give a finite number.")


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
