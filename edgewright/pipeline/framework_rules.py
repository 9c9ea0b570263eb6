"""Rules of frameworks: what PyTorch and Keras can each be asked for, and which files they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgewright.errors import Problem, StageError
from edgewright.pipeline.pruning.keras_schedule import pruning_steps
from edgewright.pipeline.tensorflow_process import check_installed
from edgewright.pipeline.training.plan import steps_per_epoch

if TYPE_CHECKING:
    from edgewright.pipeline.architecture import ArchitectureSettings
    from edgewright.pipeline.recipe import Recipe
    from edgewright.pipeline.stages.snapshot import SnapshotResult
    from edgewright.pipeline.variant_settings import PruneSettings, QuantizeSettings, Variant

# What tfmot's polynomial decay is told beyond the exponent.
OF_POLYNOMIAL_DECAY = ("initial_sparsity", "begin_step", "end_step", "frequency_steps")
_OF_KERAS = (*OF_POLYNOMIAL_DECAY, "pattern")
_SHARE_OF_2_4 = 0.5


def check_frameworks(variants: Mapping[int, Variant], architecture: ArchitectureSettings | None) -> list[Problem]:
    """Whether the frameworks that a recipe names are here, and can share its network."""
    named = {variant.framework for variant in variants.values()}
    problems = check_installed("framework") if "keras" in named else []
    if len(named) > 1 and architecture and architecture.name == "entry_point":
        message = (
            "a network of your own belongs to one framework, and these variants name pytorch and keras. Write a recipe for "
            "each."
        )
        problems.append(Problem("architecture.name", message))
    return problems


def check_framework(index: int, variant: Variant, architecture: ArchitectureSettings | None) -> list[Problem]:
    """Whether a variant's framework can do what it asks for."""
    key, problems = f"variants[{index}]", []
    if variant.framework == "pytorch" and variant.format == "tflite":
        message = "pytorch networks become ONNX files. Set framework: keras, or format: onnx."
        problems.append(Problem(f"{key}.format", message))
    if variant.prune:
        problems += _check_pruning(f"{key}.prune", variant.prune, variant.framework == "keras")
    if variant.quantize and variant.quantize.aware:
        problems += _check_aware(f"{key}.quantize", variant.quantize, variant, architecture)
    return problems


def check_schedules(recipe: Recipe, snapshots: Sequence[SnapshotResult]) -> list[Problem]:
    """Whether Keras' schedules of pruning fit the trainings that they are for, as far as that is known before any training.

    Args:
        recipe: What is built.
        snapshots: The data, one per fold; how many samples there are settles how many steps a training takes.

    Returns:
        One problem per variant at most. None for anomalies: they are learned from the normal samples alone, which a
        snapshot does not count, so a schedule that does not fit is found by the stage that prunes.
    """
    if recipe.task.kind == "anomaly":
        return []
    per_epoch = {steps_per_epoch(each.samples["train"], recipe.training.batch_size) for each in snapshots}
    problems = []
    for index, variant in enumerate(recipe.variants):
        if variant.framework != "keras" or variant.prune is None:
            continue
        try:
            for steps in sorted(per_epoch):  # the shortest training leaves the least room
                pruning_steps(variant.prune, steps * recipe.float_epochs(variant))
        except StageError as error:
            key, _, message = str(error).partition(": ")  # it begins with the key of the schedule that is to blame
            problems.append(Problem(f"variants[{index}].{key}", message))
    return problems


def _check_pruning(key: str, prune: PruneSettings, keras: bool) -> list[Problem]:
    def changed(name: str) -> bool:
        return bool(getattr(prune, name) != type(prune).model_fields[name].default)

    if not keras:
        return [
            Problem(f"{key}.{name}", "is only used with framework: keras. Remove it.")
            for name in _OF_KERAS
            if changed(name)
        ]
    problems = []
    if prune.method == "channels":
        message = "channels is done with framework: pytorch alone; keras prunes single weights. Set method: magnitude."
        problems.append(Problem(f"{key}.method", message))
    if prune.distill:
        problems.append(Problem(f"{key}.distill", "is done with framework: pytorch alone. Remove it."))
    if changed("steps"):
        problems.append(Problem(f"{key}.steps", "is only used with framework: pytorch. Set frequency_steps instead."))
    if prune.initial_sparsity >= prune.sparsity:
        message = f"{prune.initial_sparsity:g} is not below sparsity {prune.sparsity:g}. Lower it."
        problems.append(Problem(f"{key}.initial_sparsity", message))
    if prune.end_step is not None and prune.begin_step >= prune.end_step:
        message = f"{prune.begin_step} is not before end_step {prune.end_step}. Lower it, or raise end_step."
        problems.append(Problem(f"{key}.begin_step", message))
    if prune.pattern == "2:4" and prune.sparsity != _SHARE_OF_2_4:
        message = f"{prune.sparsity:g} is not what pattern 2:4 leaves, two of every four weights. Set 0.5."
        problems.append(Problem(f"{key}.sparsity", message))
    if prune.pattern == "2:4" and prune.schedule == "polynomial":
        message = "polynomial prunes little by little, pattern 2:4 all at once. Set schedule: one_shot."
        problems.append(Problem(f"{key}.schedule", message))
    return problems


def _check_aware(
    key: str, quantize: QuantizeSettings, variant: Variant, architecture: ArchitectureSettings | None
) -> list[Problem]:
    if variant.framework != "keras" or variant.format != "tflite":
        message = f"is done from keras to tflite alone, not from {variant.framework} to {variant.format}. Remove it."
        return [Problem(f"{key}.aware", message)]
    if quantize.method != "static":
        return [Problem(f"{key}.aware", f"is not used by method: {quantize.method}. Remove it, or set method: static.")]
    if architecture and architecture.name == "vit":
        message = "cannot round the attention of a vit in training. Remove it, or choose another architecture."
        return [Problem(f"{key}.aware", message)]
    if not quantize.per_channel:
        message = "false: training with rounding learns one scale per channel. Remove it, or remove aware."
        return [Problem(f"{key}.per_channel", message)]
    return []
