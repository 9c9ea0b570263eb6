"""What a build made, before it is judged: variants by target and fold.

With folds the same recipe is built once per fold, each time without the groups that this fold tests; together the folds
answer every sample once, by a model that never met its group. The first fold's models are what may be released. Without
folds there is one, and everything below is about that one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgewright.bench_report import BenchReport
from edgewright.pipeline.answering import quality_for
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.compress import CompressResult
from edgewright.pipeline.stages.evaluate import EvaluationResult, load_predictions
from edgewright.pipeline.stages.measure import MeasureResult
from edgewright.pipeline.stages.quantize import QuantizeResult
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.stages.train import TrainResult
from edgewright.pipeline.targets import Target
from edgewright.pipeline.variant_settings import Variant


@dataclass(frozen=True)
class BuiltVariant:
    """One variant, built and evaluated for one target.

    Attributes:
        variant: What was asked for.
        model: The model file.
        base: The base model's training that it goes back to.
        compress: The float model behind it.
        quantize: The step to fewer bits; None where there was none.
        evaluation: What it answers on the target's engine.
    """

    variant: Variant
    model: Artifact
    base: TrainResult
    compress: CompressResult
    quantize: QuantizeResult | None
    evaluation: EvaluationResult


@dataclass(frozen=True)
class Fold:
    """One fold of a target's build.

    Attributes:
        snapshot: Its data.
        variants: Built variants by name, the same names in every fold.
    """

    snapshot: SnapshotResult
    variants: Mapping[str, BuiltVariant]


@dataclass(frozen=True)
class SampleFacts:
    """What is known of the test samples beside their labels, in the order of the pooled predictions.

    Attributes:
        groups: One group per sample; None where samples stand alone.
        slices: By what an evaluation can be sliced: ``class``, ``group`` and the data's columns, one text per sample.
    """

    groups: tuple[str, ...] | None
    slices: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class TargetBuild:
    """All that a build made for one target.

    Attributes:
        recipe: What was built.
        build: Identity of the build.
        target_name: Name of the target.
        target: The target.
        folds: At least one; the first one's models may be released.
        facts: Groups and slices of all folds' test samples.
        measured: Latency of the first fold's models; None where the target is not this machine.
        reports: What devices measured of them since, by variant.
    """

    recipe: Recipe
    build: str
    target_name: str
    target: Target
    folds: tuple[Fold, ...]
    facts: SampleFacts
    measured: MeasureResult | None
    reports: Mapping[str, BenchReport] = field(default_factory=dict)

    @property
    def snapshot(self) -> SnapshotResult:
        """The data that the release is built from."""
        return self.folds[0].snapshot

    @property
    def variants(self) -> Mapping[str, BuiltVariant]:
        """What may be released."""
        return self.folds[0].variants

    @property
    def reference(self) -> str:
        """Name of the uncompressed variant that the others are judged against."""
        return self.recipe.reference_for(self.target).name

    @property
    def quality(self) -> Quality:
        """The figure by which answers are judged."""
        return quality_for(self.recipe.task, self.snapshot)

    @property
    def data_sha256(self) -> str:
        """Digest of the data of all folds; the snapshot's own where there is one."""
        return data_sha256([fold.snapshot for fold in self.folds])

    def of_every_fold(self, variant: str) -> tuple[str, ...]:
        """The same variant in every fold."""
        return (variant,) * len(self.folds)


def data_sha256(snapshots: Sequence[SnapshotResult]) -> str:
    """Digest of a build's data: the snapshot's, or over those of all folds."""
    if len(snapshots) == 1:
        return snapshots[0].sha256
    return hashlib.sha256(" ".join(each.sha256 for each in snapshots).encode()).hexdigest()


def samples_of(snapshots: Sequence[SnapshotResult]) -> dict[str, int]:
    """Number of samples by split: the first fold's, but every fold's test samples."""
    samples = dict(snapshots[0].samples)
    samples["test"] = sum(each.samples["test"] for each in snapshots)
    return samples


def pool(parts: Sequence[Predictions]) -> Predictions:
    """The folds' answers in one, fold after fold; their samples are disjoint."""
    if len(parts) == 1:
        return parts[0]
    scores = [part.score for part in parts if part.score is not None]
    return Predictions(
        tuple(digest for part in parts for digest in part.sample_sha256),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.predicted for part in parts]),
        np.concatenate(scores) if len(scores) == len(parts) else None,
    )


def pooled_answers(store: ArtifactStore, folds: Sequence[Fold], variants: Sequence[str]) -> Predictions:
    """Answers on all test samples.

    Args:
        store: Where predictions lie.
        folds: The folds.
        variants: Which variant answers in each of them.
    """
    return pool(
        [
            load_predictions(store, fold.variants[name].evaluation.test)
            for fold, name in zip(folds, variants, strict=True)
        ]
    )


def sample_facts(store: ArtifactStore, snapshots: Sequence[SnapshotResult]) -> SampleFacts:
    """What is known of all test samples, in the order of `pooled_answers`."""
    splits = [snapshot_stage.load(store, snapshot).test for snapshot in snapshots]
    slices: dict[str, tuple[str, ...]] = {}
    names = snapshots[0].class_names
    if names:
        slices["class"] = tuple(names[label] for split in splits for label in split.labels.tolist())
    groups = None
    if all(split.groups is not None for split in splits):
        groups = tuple(group for split in splits for group in split.groups or ())
        slices["group"] = groups
    for column in snapshots[0].columns:
        slices[column] = tuple(text for split in splits for text in split.columns[column])
    return SampleFacts(groups, slices)


def build_identity(
    recipe: Recipe,
    targets: Mapping[str, Target],
    folds: Mapping[str, Sequence[Fold]],
    measured: Mapping[str, MeasureResult | None],
) -> str:
    """The identity of a build: 12 hexadecimal digits over its recipe, its targets and all that came out.

    Figures count as much as models: the runs of a build are logged once, so what was measured anew (on another machine,
    with another version of the engine) is another build, or its runs would show figures that its verdict never saw.

    Args:
        recipe: What was built.
        targets: The targets it was built for.
        folds: By target, its folds.
        measured: By target, its latency measurements; None where there are none.
    """
    content = {
        # When a retrain is tried, and who approves, is nothing that was built.
        "recipe": recipe.model_dump(mode="json", exclude={"nightly"}),
        "targets": {name: targets[name].model_dump(mode="json") for name in recipe.targets},
        "variants": {
            name: [
                {variant: [each.model.sha256, each.evaluation.test.sha256] for variant, each in fold.variants.items()}
                for fold in of_target
            ]
            for name, of_target in folds.items()
        },
        "measured": {
            name: {variant: each.to_json() for variant, each in result.measurements.items()}
            for name, result in measured.items()
            if result is not None
        },
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]
