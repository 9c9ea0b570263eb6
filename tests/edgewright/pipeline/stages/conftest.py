"""One small build, stage by stage, in processes of their own as in a real one; the tests look at what each stage left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from edgewright.pipeline.artifact_store import ArtifactStore, Outcome
from edgewright.pipeline.document import parse_fields
from edgewright.pipeline.progress import Progress
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages import compress, quantize, snapshot, train
from edgewright.pipeline.stages.compress import CompressResult
from edgewright.pipeline.stages.quantize import QuantizeResult
from edgewright.pipeline.stages.snapshot import SnapshotResult, SnapshotsResult
from edgewright.pipeline.stages.train import TrainResult
from edgewright.pipeline.targets import Target

_RECIPE: dict[str, Any] = {
    "model": "digits",
    "seed": 3,
    "data": {"dataset": "digits", "limit_per_class": 120, "calibration_share": 0.15, "calibration_samples": 100},
    "architecture": {"name": "resnet8", "widths": [8, 8, 16]},
    "training": {
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.01,
        "fine_tune_learning_rate": 0.005,
        "shift_steps": 0,
    },
    "variants": [
        {"name": "fp32"},
        {"name": "p50-i8", "prune": {"sparsity": 0.5, "fine_tune_epochs": 2}, "quantize": {}},
    ],
    "targets": ["here"],
    "gate": {"floor_pct": 50.0},
}


@dataclass(frozen=True)
class Build:
    """What the stages left: the values and what was heard on the way."""

    store: ArtifactStore
    recipe: Recipe
    data: Outcome[SnapshotsResult]
    base: Outcome[TrainResult]
    pruned: Outcome[CompressResult]
    int8: Outcome[QuantizeResult]
    heard: dict[str, list[Progress]]

    @property
    def snapshot(self) -> SnapshotResult:
        """The data: there are no folds."""
        return self.data.value.folds[0]


@pytest.fixture(scope="session")
def target() -> Target:
    """A target of this machine's usual kind."""
    parsed, _ = parse_fields(Target, {"platform": "linux/amd64", "engines": ["onnxruntime"], "pays": ["latency"]})
    assert parsed is not None
    return parsed


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Snapshot, training, pruning and quantization of a small recipe."""
    store = ArtifactStore(tmp_path_factory.mktemp("build") / "store")
    recipe, problems = parse_fields(Recipe, _RECIPE)
    assert recipe is not None, problems
    heard: dict[str, list[Progress]] = {"train": [], "compress": [], "quantize": []}
    variant = recipe.variants[1]
    assert variant.quantize is not None
    data = snapshot.run(store, recipe.data, recipe.task)
    fold = data.value.folds[0]
    base = train.run(store, recipe, fold, "base", heard["train"].append)
    pruned = compress.run(store, recipe, fold, base.value, variant.prune, variant.name, heard["compress"].append)
    int8 = quantize.run(
        store,
        fold,
        pruned.value.model,
        variant.quantize,
        recipe.data.calibration_samples,
        ("uint8", "int8"),
        recipe.task,
        variant.name,
        heard["quantize"].append,
    )
    return Build(store, recipe, data, base, pruned, int8, heard)
