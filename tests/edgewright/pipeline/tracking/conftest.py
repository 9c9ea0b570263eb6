"""A real registry for every test: a copy of one migrated sqlite store, opened without a server."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.pipeline.tracking import ModelVersion, RunRecord, Tracking, log_run, register
from edgewright.pipeline.tracking.client import database_uri, open_client, store_folder


@pytest.fixture(autouse=True)
def _no_foreign_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all of MLflow's tables: migrating costs seconds, copying nothing."""
    home = tmp_path_factory.mktemp("template")
    store_folder(home).mkdir()
    open_client(Tracking(database_uri(home), home)).search_experiments()
    return store_folder(home) / "mlflow.db"


@pytest.fixture
def tracking(migrated_store: Path, tmp_path: Path) -> Tracking:
    """An empty registry of its own, opened as a file."""
    home = tmp_path / "home"
    store_folder(home).mkdir(parents=True)
    shutil.copy(migrated_store, store_folder(home) / "mlflow.db")
    return Tracking(database_uri(home), home)


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[[str], tuple[Path, str]]:
    """Write a bundle folder whose content follows from a name; returns it and its sha256."""

    def write(name: str) -> tuple[Path, str]:
        folder = tmp_path / f"bundle-{name}"
        folder.mkdir(exist_ok=True)
        model = name.encode() * 1000
        (folder / "model.onnx").write_bytes(model)
        files = [{"name": "model.onnx", "sha256": hashlib.sha256(model).hexdigest(), "size_bytes": len(model)}]
        manifest = json.dumps({"files": files}).encode()
        (folder / "manifest.json").write_bytes(manifest)
        return folder, hashlib.sha256(manifest).hexdigest()

    return write


@pytest.fixture
def record(make_bundle: Callable[[str], tuple[Path, str]], tmp_path: Path) -> Callable[..., RunRecord]:
    """What a build says about one variant, with its bundle, its reference's bundle and its predictions."""

    def describe(build: str, variant: str = "p50-i8", target: str = "linux-x86", **fields: object) -> RunRecord:
        predictions = tmp_path / "predictions"
        predictions.write_bytes(b"\x00\x01predictions")
        usual = RunRecord(
            model="digits",
            build=build,
            variant=variant,
            target=target,
            params={"prune.sparsity": 0.5},
            metrics={"accuracy_pct": 98.75, "latency_p95_ms": 0.125},
            tags={"edgewright.git_commit": "c0ffee"},
            artifacts={
                "bundle": make_bundle(f"{build}-{variant}")[0],
                "reference": make_bundle(f"{build}-fp32")[0],
                "predictions.npz": predictions,
            },
        )
        return replace(usual, **fields)  # type: ignore[arg-type]

    return describe


@pytest.fixture
def release(
    tracking: Tracking,
    record: Callable[..., RunRecord],
    make_bundle: Callable[[str], tuple[Path, str]],
) -> Callable[..., ModelVersion]:
    """Log and register one build for ``digits.linux-x86``."""

    def register_build(build: str, verdict: str = "pass", target: str = "linux-x86") -> ModelVersion:
        run_id = log_run(tracking, record(build, target=target))
        return register(
            tracking,
            "digits",
            target,
            run_id=run_id,
            build=build,
            bundle_sha256=make_bundle(f"{build}-p50-i8")[1],
            reference_bundle_sha256=make_bundle(f"{build}-fp32")[1],
            verdict=verdict,
            variant="p50-i8",
            description=f"build {build}",
        )

    return register_build


class Killed(BaseException):
    """Stands for SIGKILL inside a test's own process: nothing but a finally clause sees it."""


WRITES = (
    "create_experiment",
    "create_run",
    "log_batch",
    "set_experiment_tag",
    "delete_experiment_tag",
    "set_tag",
    "delete_tag",
    "set_terminated",
    "delete_run",
    "create_registered_model",
    "update_registered_model",
    "update_model_version",
    "create_model_version",
    "delete_model_version",
    "set_model_version_tag",
    "delete_model_version_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
)


@pytest.fixture
def killed_before_write(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], bool]:
    """Run an action and end it before its n-th write to the registry; returns whether it was ended.

    Only what leaves the process is intercepted; the store behind it is real.
    """
    from mlflow import MlflowClient

    def run(number: int, action: Callable[[], object]) -> bool:
        left = [number]

        def counted(write: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **kwargs: object) -> object:
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                return write(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for name in WRITES:
                patch.setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
            try:
                action()
            except Killed:
                return True
        return False

    return run
