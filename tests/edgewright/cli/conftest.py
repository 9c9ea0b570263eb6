"""Releases to look at and to move, in a registry of this test's own, and the commands as a person calls them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edgewright.cli.main import main
from edgewright.pipeline.signing import publisher
from edgewright.pipeline.signing.attestation import attest
from edgewright.pipeline.tracking import ModelVersion, RunRecord, log_run, promote, register
from edgewright.pipeline.workspace import Workspace
from registered import attestation


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    status: int
    out: str
    err: str


@pytest.fixture
def edgewright(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Run a command in this process, as if it were one of its own."""

    def run(*words: str | Path) -> Said:
        monkeypatch.setattr(publisher, "_unsaid", threading.Lock())  # what is said once a process
        try:
            status = main([str(word) for word in words])
        except SystemExit as left:  # argparse leaves that way
            status = int(left.code or 0)
        captured = capsys.readouterr()
        return Said(status, captured.out, captured.err)

    return run


@pytest.fixture
def release(empty_registry: Any, tmp_path: Path) -> Callable[..., ModelVersion]:
    """Release a build with a verdict for ``digits.here``; ``pass`` takes office."""

    def publish(build: str, verdict: str = "pass", accuracy_pct: float = 98.75) -> ModelVersion:
        folder = tmp_path / f"bundle-{build}"
        folder.mkdir()
        (folder / "manifest.json").write_text(f'{{"build": "{build}"}}')
        sha256 = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
        metrics = {"accuracy_pct": accuracy_pct, "accuracy_drop_points": 0.125, "size_kib": 97.0}
        fields: dict[str, Any] = {"model": "digits", "build": build, "target": "here", "metrics": metrics}
        log_run(empty_registry, RunRecord(variant="fp32", **fields))
        run_id = log_run(empty_registry, RunRecord(variant="p50-i8", artifacts={"bundle": folder}, **fields))
        words = {"build": build, "bundle_sha256": sha256, "verdict": verdict, "variant": "p50-i8"}
        version = register(empty_registry, "digits", "here", run_id=run_id, **words)
        word = replace(attestation(folder, "digits", "here", verdict), version=version.version, source=version.source)
        attest(Workspace(empty_registry.home).shared, word)
        if verdict == "pass":
            promote(empty_registry, "digits", "here", version.version, reason="passed", who="build")
        return version

    return publish
