"""What PyTorch and Keras can each be asked for, and which files they become."""

# One row is one wrong variant and its exact message, however long.
# ruff: noqa: E501

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import RecipeError
from edgewright.pipeline.artifact_store import Artifact
from edgewright.pipeline.framework_rules import check_schedules
from edgewright.pipeline.recipe import Recipe, load_recipe
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.targets import load_targets
from edgewright.pipeline.task_settings import AnomalySettings

TARGETS_FILE = "deployments/targets.yaml"
TARGETS = load_targets(Path(__file__).parents[3] / TARGETS_FILE)
MAGNITUDE = {"method": "magnitude", "sparsity": 0.5, "schedule": "polynomial", "fine_tune_epochs": 2}
AT_ONCE = MAGNITUDE | {"schedule": "one_shot"}
_WriteRecipe = Callable[[Callable[[dict[str, Any]], Any]], Path]


def read(write_recipe: _WriteRecipe, variants: list[dict[str, Any]], **keys: Any) -> Recipe:
    """A sound recipe with these variants."""

    def change(recipe: dict[str, Any]) -> None:
        recipe |= {"variants": variants, "targets": ["linux-x86"], **keys}

    return load_recipe(write_recipe(change), TARGETS, TARGETS_FILE)


def problems_of(write_recipe: _WriteRecipe, variants: list[dict[str, Any]], **keys: Any) -> list[tuple[str, str]]:
    with pytest.raises(RecipeError) as caught:
        read(write_recipe, variants, **keys)
    return [(problem.key, problem.message) for problem in caught.value.problems]


def test_variants_take_the_recipes_framework_unless_they_name_their_own(write_recipe: _WriteRecipe) -> None:
    variants = [{"name": "tfl"}, {"name": "k-onnx", "format": "onnx"}, {"name": "fp32", "framework": "pytorch"}]
    recipe = read(write_recipe, variants, framework="keras")
    assert [(each.framework, each.format) for each in recipe.variants] == [
        ("keras", "tflite"),
        ("keras", "onnx"),
        ("pytorch", "onnx"),
    ]
    assert recipe.frameworks == ("keras", "pytorch")


def test_a_target_gets_what_its_engines_run_and_is_judged_against_the_first_uncompressed_of_it(
    write_recipe: _WriteRecipe,
) -> None:
    variants = [{"name": "fp32"}, {"name": "tfl", "framework": "keras"}, {"name": "i8", "quantize": {}}]
    recipe = read(write_recipe, variants, targets=["linux-x86", "camera-x86", "gateway-x86"])
    run = {name: [each.name for each in recipe.variants_for(TARGETS[name])] for name in recipe.targets}
    assert run == {"linux-x86": ["fp32", "tfl", "i8"], "camera-x86": ["tfl"], "gateway-x86": ["fp32", "i8"]}
    assert recipe.reference_for(TARGETS["linux-x86"]).name == "fp32"
    assert recipe.reference_for(TARGETS["camera-x86"]).name == "tfl"


def test_no_variant_trains_longer_than_the_reference_that_it_is_judged_against(write_recipe: _WriteRecipe) -> None:
    aware = {"aware": {"epochs": 2}}
    variants = [
        {"name": "tfl"},
        {"name": "q", "quantize": aware},
        {"name": "pq", "prune": MAGNITUDE | {"fine_tune_epochs": 3}, "quantize": aware},
    ]
    reference, aware_alone, pruned = read(write_recipe, variants, framework="keras").variants
    recipe = read(write_recipe, variants, framework="keras")
    assert recipe.fine_tune_epochs == 5
    assert [recipe.float_epochs(each) for each in (reference, aware_alone, pruned)] == [5, 3, 3]


@pytest.mark.parametrize(
    ("variant", "key", "message"),
    [
        ({"framework": "pytorch", "format": "tflite", "quantize": {}}, "format", "pytorch networks become ONNX files. Set framework: keras, or format: onnx."),
        ({"prune": MAGNITUDE | {"method": "channels"}}, "prune.method", "channels is done with framework: pytorch alone; keras prunes single weights. Set method: magnitude."),
        ({"prune": MAGNITUDE | {"distill": {}}}, "prune.distill", "is done with framework: pytorch alone. Remove it."),
        ({"prune": MAGNITUDE | {"steps": 7}}, "prune.steps", "is only used with framework: pytorch. Set frequency_steps instead."),
        ({"prune": MAGNITUDE | {"initial_sparsity": 0.5}}, "prune.initial_sparsity", "0.5 is not below sparsity 0.5. Lower it."),
        ({"prune": MAGNITUDE | {"begin_step": 9, "end_step": 9}}, "prune.begin_step", "9 is not before end_step 9. Lower it, or raise end_step."),
        ({"prune": AT_ONCE | {"pattern": "2:4", "sparsity": 0.6}}, "prune.sparsity", "0.6 is not what pattern 2:4 leaves, two of every four weights. Set 0.5."),
        ({"prune": MAGNITUDE | {"pattern": "2:4"}}, "prune.schedule", "polynomial prunes little by little, pattern 2:4 all at once. Set schedule: one_shot."),
        ({"framework": "pytorch", "prune": MAGNITUDE | {"pattern": "2:4"}}, "prune.pattern", "is only used with framework: keras. Remove it."),
        ({"framework": "pytorch", "prune": MAGNITUDE | {"frequency_steps": 3}}, "prune.frequency_steps", "is only used with framework: keras. Remove it."),
        ({"prune": MAGNITUDE | {"schedule": "one_shot", "begin_step": 3}}, "prune.begin_step", "is only used with schedule: polynomial. Remove it, or set that schedule."),
        ({"quantize": {"calibration": ["minmax", "entropy"]}}, "quantize.calibration", "[minmax, entropy]: TFLite's converter knows minmax alone. Name that, or leave it out."),
        ({"format": "onnx", "quantize": {"aware": {"epochs": 1}}}, "quantize.aware", "is done from keras to tflite alone, not from keras to onnx. Remove it."),
        ({"framework": "pytorch", "quantize": {"aware": {"epochs": 1}}}, "quantize.aware", "is done from keras to tflite alone, not from pytorch to onnx. Remove it."),
        ({"quantize": {"per_channel": False, "aware": {"epochs": 1}}}, "quantize.per_channel", "false: training with rounding learns one scale per channel. Remove it, or remove aware."),
        ({"quantize": {"method": "dynamic", "aware": {"epochs": 1}}}, "quantize.aware", "is not used by method: dynamic. Remove it, or set method: static."),
    ],
)  # fmt: skip
def test_what_a_framework_cannot_do_is_refused_by_key_rule_and_remedy(
    write_recipe: _WriteRecipe, variant: dict[str, Any], key: str, message: str
) -> None:
    variants = [{"name": "tfl"}, {"name": "x"} | variant]
    assert problems_of(write_recipe, variants, framework="keras") == [(f"variants[1].{key}", message)]


def test_attention_is_not_rounded_in_training(write_recipe: _WriteRecipe) -> None:
    variants = [{"name": "tfl"}, {"name": "q", "quantize": {"aware": {"epochs": 1}}}]
    found = problems_of(write_recipe, variants, framework="keras", architecture={"name": "vit"})
    assert found == [
        (
            "variants[1].quantize.aware",
            "cannot round the attention of a vit in training. Remove it, or choose another architecture.",
        )
    ]


def test_two_uncompressed_variants_of_one_kind_are_refused_and_of_two_kinds_are_not(write_recipe: _WriteRecipe) -> None:
    read(write_recipe, [{"name": "tfl"}, {"name": "k", "format": "onnx"}], framework="keras")
    twice = [{"name": "tfl"}, {"name": "again"}]
    problem = ("variants", "tfl, again are all uncompressed. Keep one as the reference.")
    assert problems_of(write_recipe, twice, framework="keras") == [problem]


def test_an_unknown_framework_is_told_once_and_not_at_every_variant(write_recipe: _WriteRecipe) -> None:
    ((key, message),) = problems_of(write_recipe, [{"name": "a"}, {"name": "b", "quantize": {}}], framework="jax")
    assert key == "framework" and message.startswith('"jax" is not one of "pytorch" or "keras"')


def test_a_network_of_ones_own_belongs_to_one_framework(write_recipe: _WriteRecipe) -> None:
    own = {"name": "entry_point", "entry_point": "json:JSONDecoder"}
    found = problems_of(write_recipe, [{"name": "fp32"}, {"name": "tfl", "framework": "keras"}], architecture=own)
    assert found[0][0] == "architecture.name" and "belongs to one framework" in found[0][1]


def test_without_tensorflow_the_recipe_is_refused_before_anything_runs(
    write_recipe: _WriteRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(
        "edgewright.pipeline.tensorflow_process.find_spec", lambda name: None if "tensorflow" in name else known(name)
    )
    assert problems_of(write_recipe, [{"name": "tfl"}], framework="keras") == [
        (
            "framework",
            "keras needs tensorflow, tensorflow-model-optimization, not installed here. Run: make keras (pip install "
            "'edgewright[keras]').",
        )
    ]


def snapshots(*training_samples: int) -> list[SnapshotResult]:
    """One per fold, with so many training samples."""
    nothing = Artifact("nothing", "0" * 64, 0)
    return [
        SnapshotResult("0" * 64, nothing, nothing, ("0", "1"), {"train": count}, (1, 28, 28), (0.0,), (1.0,))
        for count in training_samples
    ]


def test_pruning_that_does_not_fit_the_training_is_told_as_soon_as_the_samples_are_counted(
    write_recipe: _WriteRecipe,
) -> None:
    """1,000 samples in batches of 100, twice: 20 steps."""
    variants = [
        {"name": "tfl"},
        {"name": "late", "prune": MAGNITUDE | {"end_step": 30}},
        {"name": "fits", "prune": AT_ONCE},
    ]
    recipe = read(write_recipe, variants, framework="keras", training={"epochs": 1, "batch_size": 100})
    (problem,) = check_schedules(recipe, snapshots(1000))
    assert problem.key == "variants[1].prune.end_step"
    assert problem.message == (
        "30 lies after the end of fine-tuning, which takes 20 steps. Lower it, or raise prune.fine_tune_epochs."
    )
    assert check_schedules(recipe, snapshots(1500)) == []


def test_pruning_must_fit_the_training_of_every_fold(write_recipe: _WriteRecipe) -> None:
    variants = [{"name": "tfl"}, {"name": "p", "prune": MAGNITUDE | {"end_step": 30}}]
    recipe = read(write_recipe, variants, framework="keras", training={"epochs": 1, "batch_size": 100})
    assert len(check_schedules(recipe, snapshots(1500, 1400))) == 1
    assert check_schedules(recipe, snapshots(1500, 1600)) == []


def test_what_anomalies_are_learned_from_is_not_counted_yet(write_recipe: _WriteRecipe) -> None:
    variants = [{"name": "tfl"}, {"name": "p", "prune": MAGNITUDE | {"end_step": 30}}]
    recipe = read(write_recipe, variants, framework="keras", training={"epochs": 1, "batch_size": 100})
    task = AnomalySettings(kind="anomaly", normal="0")
    assert check_schedules(recipe.model_copy(update={"task": task}), snapshots(1000)) == []
