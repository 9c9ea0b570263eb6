"""What the tests of the workshop share: recipes and targets to spoil, and small real data to train on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ruamel.yaml import YAML

from edgewright.pipeline.datasets import digits
from edgewright.pipeline.datasets.dataset import take_subset
from edgewright.preprocessing import Preprocessing

_SOUND_RECIPE: dict[str, Any] = {
    "model": "digits",
    "data": {"dataset": "digits"},
    "architecture": {"name": "resnet8", "widths": [32, 64, 128]},
    "training": {"epochs": 2},
    "variants": [
        {"name": "fp32"},
        {"name": "i8", "quantize": {}},
        {"name": "p50", "prune": {"sparsity": 0.5, "fine_tune_epochs": 2}},
        {"name": "p50-i8", "prune": {"sparsity": 0.5, "fine_tune_epochs": 2}, "quantize": {}},
    ],
    "targets": ["linux-x86"],
    "gate": {"accuracy_floor_pct": 90.0},
}
_SOUND_TARGETS: dict[str, Any] = {
    "linux-x86": {"platform": "linux/amd64", "engine": "onnxruntime", "pays": ["latency"]},
    "pi5-arm64": {"platform": "linux/arm64", "engine": "onnxruntime", "pays": ["latency", "size"]},
}

Spoil = Callable[[dict[str, Any]], Any]


@pytest.fixture
def sound_recipe() -> dict[str, Any]:
    """A recipe that breaks no rule, to be changed at will."""
    return copy.deepcopy(_SOUND_RECIPE)


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[[Spoil], Path]:
    """Write the sound recipe after a function spoiled it."""
    return lambda spoil: _write(tmp_path / "mine.yaml", _SOUND_RECIPE, spoil)


@pytest.fixture
def write_targets(tmp_path: Path) -> Callable[[Spoil], Path]:
    """Write two sound targets after a function spoiled them."""
    return lambda spoil: _write(tmp_path / "targets.yaml", _SOUND_TARGETS, spoil)


def _write(path: Path, sound: dict[str, Any], spoil: Spoil) -> Path:
    content = copy.deepcopy(sound)
    spoil(content)
    with path.open("w") as stream:
        YAML(typ="safe", pure=True).dump(content, stream)
    return path


@dataclass(frozen=True)
class SmallData:
    """Some hundred real digits, preprocessed: ``inputs`` float32 ``[N, 1, 28, 28]``, ``labels`` int64 ``[N]``."""

    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __getitem__(self, part: slice) -> SmallData:
        return SmallData(self.inputs[part], self.labels[part])


@pytest.fixture(scope="session")
def some_digits() -> SmallData:
    """1,000 training images, 100 of each digit, classes mixed."""
    subset = take_subset(digits.load(), per_class_train=100, per_class_test=1)
    assert subset.fixed_split is not None
    mixed = np.random.default_rng(0).permutation(np.flatnonzero(~subset.fixed_split))
    preprocessing = Preprocessing((1, 28, 28), 1 / 255, (0.1307,), (0.3081,))
    return SmallData(preprocessing.apply(subset.images[mixed]), subset.labels[mixed])


WIDTHS = (8, 8, 16)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """Build an untrained narrow ResNet-8 with seeded weights."""
    import torch

    from edgewright.pipeline.models.pytorch import build_model

    def make(seed: int = 0, widths: tuple[int, ...] = WIDTHS) -> Any:
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        return build_model("resnet8", (1, 28, 28), 10, widths).eval()

    return make


@pytest.fixture(scope="session")
def trained_weights(some_digits: SmallData, make_model: Callable[..., Any]) -> bytes:
    """A narrow ResNet-8 after some seconds of training: right on most digits."""
    from edgewright.pipeline.training.pytorch import Samples, TrainingPlan, train, weights_to_bytes

    plan = TrainingPlan(
        epochs=6, batch_size=32, learning_rate=1e-2, weight_decay=1e-3, shift_px=0, patience_epochs=6, seed=0, threads=1
    )
    part, held_out = some_digits[:800], some_digits[800:]
    samples = Samples(part.inputs, part.labels), Samples(held_out.inputs, held_out.labels)
    return weights_to_bytes(train(make_model(), *samples, plan).model)


@pytest.fixture
def trained_model(trained_weights: bytes, make_model: Callable[..., Any]) -> Any:
    """A fresh copy of the trained model."""
    from edgewright.pipeline.training.pytorch import load_weights

    return load_weights(make_model(), trained_weights)


@pytest.fixture(scope="session")
def float_onnx(
    trained_weights: bytes, make_model: Callable[..., Any], some_digits: SmallData
) -> Callable[[int], bytes]:
    """The trained model as a float ONNX file of an opset, exported once."""
    from edgewright.pipeline.export.onnx import export_onnx
    from edgewright.pipeline.training.pytorch import load_weights

    @cache
    def export(opset: int) -> bytes:
        model = load_weights(make_model(), trained_weights)
        return export_onnx(model, some_digits.inputs[:16], opset, 1e-3).content

    return export
