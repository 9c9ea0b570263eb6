"""A network of your own goes through the same stages as those that ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import StageError
from edgewright.pipeline.architecture import EntryPointSettings
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages import compress, quantize, train

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, hidden):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, hidden, 3, stride=2), nn.ReLU())
        self.head = nn.Linear(hidden, classes)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))
"""


@pytest.fixture
def own(build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """The small recipe with a network from the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net_in_stages.py").write_text(NET)
    settings = {"name": "entry_point", "entry_point": "net_in_stages:Net", "arguments": {"hidden": 24}}
    architecture = EntryPointSettings.model_validate(settings)
    training = build.recipe.training.model_copy(update={"epochs": 1})
    recipe: Recipe = build.recipe.model_copy(update={"architecture": architecture, "training": training})
    return recipe


def test_it_is_trained_pruned_and_quantized_in_processes_of_their_own(build: Any, own: Recipe) -> None:
    data, variant = build.snapshot, own.variants[1]
    base = train.run(build.store, own, data)
    pruned = compress.run(build.store, own, data, base.value, variant.prune, variant.name)
    assert pruned.value.sparsity_pct > 40
    assert variant.quantize is not None
    int8 = quantize.run(
        build.store, data, pruned.value.model, variant.quantize, 100, ("uint8", "int8"), own.task, variant.name
    )
    assert (int8.value.quantized_operators, int8.value.float_operators) == (3, 0)
    assert train.run(build.store, own, data).unchanged
    Path("net_in_stages.py").write_text(NET.replace("ReLU", "LeakyReLU"))
    assert not train.run(build.store, own, data).unchanged, "another source is another network"


def test_what_does_not_fit_is_told_before_the_training_by_its_key(build: Any, own: Recipe) -> None:
    Path("net_in_stages.py").write_text(NET.replace("Linear(hidden, classes)", "Linear(hidden, 7)"))
    with pytest.raises(
        StageError, match=r"^architecture: Net answers a batch float32 \[2, 1, 28, 28\] with float32 \[2, 7\]"
    ):
        train.run(build.store, own, build.snapshot)
    Path("net_in_stages.py").write_text(NET.replace("16, hidden, 3, stride=2", "16, hidden, 3, stride=2, groups=2"))
    with pytest.raises(StageError, match=r"^variants\[1\]\.prune: Conv2d body\.2 has 2 groups of several channels"):
        train.run(build.store, own, build.snapshot)
