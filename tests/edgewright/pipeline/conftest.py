"""What the tests of the workshop share: recipes and targets to spoil, and small real data to train on."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ruamel.yaml import YAML

from edgewright.measurement import Measurement, ProcessFigures
from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.built import BuiltVariant, Fold, SampleFacts, TargetBuild, pooled_answers
from edgewright.pipeline.datasets import digits
from edgewright.pipeline.datasets.dataset import take_subset
from edgewright.pipeline.evidence import NoneYet
from edgewright.pipeline.judging import Decision, choose, decide
from edgewright.pipeline.model_cost import ModelCost
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.publishing import Published, publish
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.run_metrics import metrics_of
from edgewright.pipeline.stages.compress import CompressResult
from edgewright.pipeline.stages.evaluate import EvaluationResult
from edgewright.pipeline.stages.measure import MeasureResult
from edgewright.pipeline.stages.pack import PackResult
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.stages.train import TrainResult
from edgewright.pipeline.targets import Target
from edgewright.pipeline.training.plan import Epoch
from edgewright.pipeline.variant_settings import PruneSettings, Variant
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
    "gate": {"floor_pct": 90.0},
}
_SOUND_TARGETS: dict[str, Any] = {
    "linux-x86": {"platform": "linux/amd64", "engines": ["onnxruntime"], "pays": ["latency"]},
    "pi5-arm64": {"platform": "linux/arm64", "engines": ["onnxruntime"], "pays": ["latency", "size"]},
}

_CARD = {
    "name": "digits",
    "source": "data/digits",
    "splits": {"test": {"samples": 2000, "per_class": {str(digit): 200 for digit in range(10)}, "duplicates": 0}},
}

NONE_YET = NoneYet()
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
    from edgewright.pipeline.training.plan import Samples, TrainingPlan
    from edgewright.pipeline.training.pytorch import train, weights_to_bytes

    plan = TrainingPlan(
        epochs=6,
        batch_size=32,
        learning_rate=1e-2,
        weight_decay=1e-3,
        shift_steps=0,
        patience_epochs=6,
        seed=0,
        threads=1,
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


class HandMade:
    """Builds without training: answers of one's choice, sizes and latencies of one's choice, real bundles around them."""

    samples = 2000

    def __init__(self, folder: Path, tracking: Any, make_bundle: Callable[..., Any]) -> None:
        self.folder, self.tracking, self._make_bundle = folder, tracking, make_bundle
        self.store = ArtifactStore(folder / "store")
        self.labels = np.arange(self.samples, dtype=np.int64) % 10
        self.digests = tuple(hashlib.sha256(b"%d" % index).hexdigest() for index in range(self.samples))

    def predictions(self, wrong: int, first: int = 0) -> Predictions:
        """Wrong on so many samples in a row."""
        predicted = self.labels.copy()
        predicted[first : first + wrong] = (predicted[first : first + wrong] + 1) % 10
        return Predictions(self.digests, self.labels, predicted, np.full(self.samples, 0.9, dtype=np.float32))

    def measurement(self, latency_ms: float) -> Measurement:
        figures = ProcessFigures(latency_ms, 1.2 * latency_ms, 1.5 * latency_ms, latency_ms, 5.0, 60.0, 1000.0, 100)
        return Measurement("onnxruntime", "1.0", ("CPUExecutionProvider",), 1, (figures,) * 7)

    def variant(self, name: str, wrong: int, size_bytes: int, reference: bool) -> BuiltVariant:
        model = self.store.put_bytes(name.encode() * size_bytes)
        cost = ModelCost(1000, 1000, 10_000, 4000, 3000)
        answers = self.predictions(wrong)
        answers.save(self.folder / f"{name}.npz")
        kept = self.store.put_file(self.folder / f"{name}.npz")
        evaluation = EvaluationResult(
            validation=kept,
            test=kept,
            validation_pct=answers.accuracy_pct,
            threshold=None,
            size_bytes=size_bytes,
            compressed_size_bytes=size_bytes // 2,
            engine_version="1.0",
            providers_in_use=("CPUExecutionProvider",),
        )
        prune = None if reference else PruneSettings(sparsity=0.5, fine_tune_epochs=1)
        after = cost if reference else ModelCost(500, 500, 5000, 2000, 1500)
        compress = CompressResult(model, model, cost, after, None, 18, {"Conv": 9}, 1e-6)
        return BuiltVariant(Variant(name=name, prune=prune), model, self.base, compress, None, evaluation)

    def build(
        self,
        build: str = "b1",
        wrong: dict[str, int] | None = None,
        latencies_ms: dict[str, float] | None = None,
        gate: dict[str, Any] | None = None,
        target: dict[str, Any] | None = None,
    ) -> TargetBuild:
        """One target's build: ``fp32`` and one pruned variant per further entry of ``wrong``, each half as large.

        Latencies are those given, else the target is another machine's.
        """
        wrong = wrong or {"fp32": 20, "p50": 22}
        variants = {
            name: self.variant(name, count, 4096 >> place, name == "fp32")
            for place, (name, count) in enumerate(wrong.items())
        }
        recipe = Recipe.model_validate(
            {
                **_SOUND_RECIPE,
                "variants": [each.variant.model_dump() for each in variants.values()],
                "targets": ["t"],
                "gate": {"floor_pct": 90.0, **(gate or {})},
            }
        )
        measured = None
        if latencies_ms is not None:
            measured = MeasureResult({name: self.measurement(ms) for name, ms in latencies_ms.items()}, "0" * 64)
        snapshot = SnapshotResult(
            sha256="d" * 64,
            arrays=self.store.put_bytes(b"data"),
            card=self.store.put_bytes(json.dumps(_CARD).encode()),
            class_names=tuple("0123456789"),
            samples={"test": 2000},
            input_shape=(1, 28, 28),
            mean=(0.1,),
            std=(0.3,),
            kind="image",
            dtype="uint8",
            scale=1 / 255,
            channel_names=None,
            groups=None,
            columns=(),
            values=None,
            fold=None,
        )
        platform = {
            "platform": "linux/amd64" if measured else "linux/arm64",
            "engines": ["onnxruntime"],
            "pays": ["size"],
        }
        described = Target.model_validate({**platform, "budgets": {"latency_p95_ms": 20.0}, **(target or {})})
        return TargetBuild(recipe, build, "t", described, (Fold(snapshot, variants),), self.facts, measured)

    @property
    def base(self) -> TrainResult:
        """A training of two epochs."""
        epochs = (Epoch(1, 0.5, 0.4, 90.0, 1.0), Epoch(2, 0.3, 0.2, 95.0, 1.0))
        return TrainResult(self.store.put_bytes(b"weights"), epochs, 2, False, "cpu")

    @property
    def facts(self) -> SampleFacts:
        """What is known of the samples: their class."""
        return SampleFacts(None, {"class": tuple(str(label) for label in self.labels.tolist())})

    def decide(
        self, made: TargetBuild, champion: Any = NONE_YET, baseline: Any = NONE_YET, waivers: Any = ()
    ) -> Decision:
        """What the gate says of it."""
        choices = choose(made.recipe, made.target, made.folds, made.measured)
        return decide(self.store, made, choices, {}, champion, baseline, waivers)

    def metrics(self, made: TargetBuild, name: str) -> dict[str, float]:
        """The figures of one variant."""
        answers = pooled_answers(self.store, made.folds, made.of_every_fold(name))
        reference = pooled_answers(self.store, made.folds, made.of_every_fold(made.reference))
        return metrics_of(made, name, answers, reference)

    def pack(self, made: TargetBuild) -> dict[str, PackResult]:
        """Real bundles of all variants, by name."""
        packed = {}
        for name in made.variants:
            folder = self.folder / f"bundle-{made.build}-{name}"
            fields = {"target": made.target_name, "platform": made.target.platform, "variant": name}
            bundle = self._make_bundle(folder, build=made.build, **fields)
            packed[name] = PackResult(
                bundle.sha256, {path.name: self.store.put_file(path) for path in sorted(folder.iterdir())}
            )
        return packed

    def publish(self, made: TargetBuild, decision: Decision | None = None, champion: Any = None) -> Published:
        """Put it into the registry, judged against nobody unless a decision is given."""
        return publish(self.store, self.tracking, made, decision or self.decide(made), self.pack(made), champion)


@pytest.fixture
def hand_made(tmp_path: Path, empty_registry: Any, make_bundle: Callable[..., Any]) -> HandMade:
    """Builds without training, and an empty registry for them."""
    folder = tmp_path / "hand-made"
    folder.mkdir()
    return HandMade(folder, empty_registry, make_bundle)
