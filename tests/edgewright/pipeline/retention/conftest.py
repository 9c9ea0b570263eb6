"""A workspace with stages that have run, and a registry with builds that were logged; all of it real files."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Stage
from edgewright.pipeline.tracking import ModelVersion, RunRecord, Tracking, log_run, promote, register
from edgewright.pipeline.workspace import Workspace

DAY_S = 86_400.0


@dataclass(frozen=True)
class Made:
    """What a stage of these tests makes: one file."""

    file: Artifact


class Shop:
    """A workspace and its registry."""

    def __init__(self, tracking: Tracking, folder: Path) -> None:
        self.tracking, self._folder = tracking, folder
        self.workspace = Workspace(tracking.home)

    @property
    def store(self) -> ArtifactStore:
        return self.workspace.store

    def stage(self, name: str, content: str, **inputs: Any) -> Artifact:
        """Run a stage, or remember it."""
        stage = Stage(name, "edgewright.errors", ())
        outcome = self.store.run_stage(
            stage, inputs or {"from": content}, Made, lambda: Made(self.store.put_bytes(content.encode()))
        )
        return outcome.value.file

    def age(self, days: float = 400) -> None:
        """Make every file of the store so old."""
        then = time.time() - days * DAY_S
        for path in (*self.store.root.glob("sha256/*/*"), *self.store.root.glob("stages/*/*")):
            os.utime(path, (then, then))

    def build(
        self, build: str, *, target: str = "here", verdict: str = "pass", takes_office: bool = False
    ) -> ModelVersion:
        """Log and register a build of two variants, as if it had been made from stages of this store."""
        manifest = f'{{"build": "{build}", "target": "{target}"}}'.encode()
        folder = self._folder / f"bundle-{build}-{target}"
        folder.mkdir()
        (folder / "manifest.json").write_bytes(manifest)
        fields: dict[str, Any] = {
            "model": "digits",
            "build": build,
            "target": target,
            "metrics": {"accuracy_pct": 98.0},
        }
        log_run(
            self.tracking, RunRecord(variant="fp32", artifacts={"predictions.npz": folder / "manifest.json"}, **fields)
        )
        run_id = log_run(self.tracking, RunRecord(variant="i8", artifacts={"bundle": folder}, **fields))
        sha256 = hashlib.sha256(manifest).hexdigest()
        words = {"build": build, "bundle_sha256": sha256, "verdict": verdict, "variant": "i8"}
        version = register(self.tracking, "digits", target, run_id=run_id, **words)
        if takes_office:
            promote(self.tracking, "digits", target, version.version, reason="passed", who="test")
        return version


@pytest.fixture
def shop(empty_registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """An empty one."""
    monkeypatch.delenv("EDGEWRIGHT_SHARED", raising=False)
    folder = tmp_path / "bundles"
    folder.mkdir()
    return Shop(empty_registry, folder)


@pytest.fixture
def later() -> Callable[[float], float]:
    """The time in so many days, seconds since the epoch."""
    return lambda days: time.time() + days * DAY_S
