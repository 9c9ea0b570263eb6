"""A build on a Dask cluster: two workers as separate processes, in separate folders, with one shared store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dask_cluster import DaskCluster, dask_cluster, results_of
from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.datasets import digits
from edgewright.pipeline.datasets.dataset import take_subset
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages import compress, quantize, snapshot, train
from edgewright.pipeline.targets import Target
from edgewright.pipeline.tracking import tracking_server

TARGETS = {"here": {"platform": "linux/amd64", "engines": ["onnxruntime"], "pays": ["size"]}}
PRUNE = {"sparsity": 0.5, "fine_tune_epochs": 4}
RECIPE: dict[str, Any] = {
    "model": "tiny",
    "data": {
        "dataset": "digits",
        "limit_per_class": 60,
        "validation_share": 0.3,
        "calibration_share": 0.3,
        "calibration_samples": 64,
    },
    "architecture": {"name": "resnet8", "widths": [8, 8, 16]},
    "training": {"epochs": 10, "batch_size": 16},
    "variants": [
        {"name": "fp32"},
        {"name": "i8", "quantize": {"calibration": ["minmax"]}},
        {"name": "p50", "prune": PRUNE},
        {"name": "p50-i8", "prune": PRUNE, "quantize": {"calibration": ["minmax"]}},
    ],
    "targets": ["here"],
    "objective": {"minimize": "size", "max_validation_drop_points": 90},
    "gate": {
        "margin_points": 50,
        "floor_pct": 1,
        "latency_processes": 5,
        "robustness": {"corruptions": ["noise"], "margin_points": 50},
    },
}
# Computed by the cluster; the others stay in the flow's process, beside the data, the registry and what is measured.
ON_THE_CLUSTER = {"train", "compress", "quantize", "evaluate", "robustness"}


@pytest.fixture
def build(prefect_api: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the flow here, in a workspace of a name."""
    from flows.release_model import release_model

    whole = digits.load()
    monkeypatch.setattr(digits, "load", lambda *_: take_subset(whole, None, 100))
    targets = tmp_path / "targets.yaml"
    YAML().dump(TARGETS, targets)

    def run(name: str, **environment: str) -> Any:
        monkeypatch.setenv("EDGEWRIGHT_HOME", str(tmp_path / name))
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        state = release_model(Recipe.model_validate(RECIPE), str(targets), return_state=True)
        return state.result(raise_on_failure=state.name not in {"Refused", "Incomplete"})

    return run


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One registry for all workspaces, as a team has."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with tracking_server(tmp_path / "registry") as tracking:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
        yield


def test_a_build_on_two_workers_gives_what_one_process_gives(
    build: Callable[..., Any], registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = {"EDGEWRIGHT_SHARED": str(tmp_path / "team")}
    with dask_cluster(tmp_path / "cluster", team, [tmp_path / "flow"]) as cluster:
        summary = build("flow", **team, EDGEWRIGHT_TASK_RUNNER=cluster.address.replace("tcp", "dask"))
        check_workers(cluster)
    assert summary.exit_code == 0
    computed_here = {path.name for path in (tmp_path / "flow" / "store" / "stages").iterdir()}
    assert computed_here.isdisjoint(ON_THE_CLUSTER)
    made = results_of(tmp_path / "team" / "stages")
    assert str(tmp_path) not in "".join(made.values()), "no result holds a path of a machine"
    monkeypatch.delenv("EDGEWRIGHT_SHARED")
    build_one_variant(ArtifactStore(tmp_path / "alone"))
    alone = results_of(tmp_path / "alone" / "stages")
    assert {name.split("/")[0] for name in alone} == {"snapshot", "train", "compress", "quantize"}
    for name, result in alone.items():
        assert made[name] == result, name


def build_one_variant(store: ArtifactStore) -> None:
    """The chain behind ``p50-i8`` in this process, by the stages themselves."""
    recipe = Recipe.model_validate(RECIPE)
    (data,) = snapshot.run(store, recipe.data, recipe.task).value.folds
    variant, target = recipe.variants[3], Target.model_validate(TARGETS["here"])
    assert variant.quantize is not None
    base = train.run(store, recipe, data).value
    model = compress.run(store, recipe, data, base, variant.prune, variant.name).value.model
    types, samples = (target.activation_type, target.weight_type), recipe.data.calibration_samples
    quantize.run(store, data, model, variant.quantize, samples, types, recipe.task, variant.name)


def check_workers(cluster: DaskCluster) -> None:
    """Both did work, each for itself."""
    one, other = (worker.computed() for worker in cluster.workers)
    assert one and other and one.isdisjoint(other)
    assert {name.split("/")[0] for name in one | other} == ON_THE_CLUSTER
    for worker in cluster.workers:
        watched, looks = worker.looks()
        assert watched > 1, "the worker's Python, and those that computed for it"
        assert looks == [], "nothing of the flow's folder, nothing of the other worker's"
