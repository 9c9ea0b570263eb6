"""The benchmark on real small models in real processes: a recipe's variants beside what ONNX Runtime makes by itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from onnx import helper

from edgewright.benchmark import Effort
from edgewright.errors import UsageError
from edgewright.pipeline import benching
from edgewright.pipeline.artifact_store import ArtifactStore, Stage
from edgewright.pipeline.bench_result import BuildCost, ModelsBench, NotMeasured, Ratio, Row, build_cost, to_json
from edgewright.pipeline.benching import (
    BATCHES,
    THREADS,
    BuiltStore,
    _by_default,
    bench_models,
    compute_seconds,
    setting_in_words,
    versions,
)
from edgewright.pipeline.engine_defaults import DYNAMIC, STATIC
from edgewright.pipeline.progress import Progress
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages import compress, quantize, snapshot, train
from edgewright.pipeline.targets import Target

QUICK = Effort(warmup_runs=2, min_runs=5, max_runs=20, budget_s=0.02, deadline_s=60.0)
TARGET = Target.model_validate({"platform": "linux/amd64", "engines": ["onnxruntime"], "pays": ["size"]})


@dataclass(frozen=True)
class Result:
    number: int


def ratio(x: float) -> Ratio:
    return Ratio(x, x - 0.1, x + 0.1, 0.98, (x,) * 7)


def row(
    variant: str = "i8", threads: int = 1, batch: int = 1, x: float = 2.5, over_default: Ratio | None = None
) -> Row:
    rounds = (0.1,) * 7
    return Row(
        "digits", variant, threads, batch, 0.1, 0.2, 0.09, 1e4 * batch, ratio(x), x, over_default, 327.0, 57.0, 98.5, rounds
    )  # fmt: skip


def small_recipe(**changes: Any) -> Recipe:
    """An autoencoder on shuttle data, trained for an epoch."""
    fields: dict[str, Any] = {
        "model": "small",
        "data": {"dataset": "shuttle", "calibration_samples": 64},
        "task": {"kind": "anomaly", "normal": "normal"},
        "architecture": {"name": "autoencoder", "widths": [16, 8]},
        "training": {"epochs": 1, "batch_size": 1024, "threads": 1},
        "variants": [
            {"name": "i8", "quantize": {"calibration": ["minmax"]}},
            {"name": "fp32"},
        ],
        "targets": ["here"],
        "gate": {"floor_pct": 50.0},
    }
    return Recipe.model_validate({**fields, **changes})


def build(store: ArtifactStore, recipe: Recipe) -> None:
    """Leave in the store what the bench will ask for."""
    data = snapshot.run(store, recipe.data, recipe.task).value.folds[0]
    base = train.run(store, recipe, data).value
    model = compress.run(store, recipe, data, base, None, "fp32").value.model
    settings = recipe.variants[0].quantize
    assert settings is not None
    samples, types = recipe.data.calibration_samples, (TARGET.activation_type, TARGET.weight_type)
    quantize.run(store, data, model, settings, samples, types, recipe.task, "i8")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the small recipe was built."""
    home = tmp_path_factory.mktemp("home")
    build(ArtifactStore(home / "store"), small_recipe())
    return home


@pytest.mark.slow
def test_every_model_is_measured_with_every_number_of_threads_and_size_of_batch(home: Path) -> None:
    seen: list[Progress] = []
    bench = bench_models(
        BuiltStore(home / "store"), small_recipe(), "here", TARGET, seen.append, processes=2, effort=QUICK
    )
    assert (bench.recipe, bench.target, bench.reference, bench.quality) == ("small", "here", "fp32", "AUROC")
    assert [(each.threads, each.batch, each.variant) for each in bench.rows] == [
        (threads, batch, variant)
        for threads in THREADS
        for batch in BATCHES
        for variant in ("fp32", "i8", STATIC, DYNAMIC)
    ]
    for each in bench.rows:
        assert isinstance(each, Row), "all of them can be measured"
        assert each.samples_per_s == pytest.approx(1000 * each.batch / each.latency_p50_ms)
        assert len(each.rounds_p50_ms) == len(each.over_float.rounds_x) == 2
        assert each.over_float.low_x <= each.over_float.x <= each.over_float.high_x
        assert each.over_default is not None
        assert each.cpu_p50_ms > 0
        assert each.cpu_over_float_x > 0
        assert each.quality_pct > 50
        # A model held against itself is neither faster nor slower.
        assert each.variant != "fp32" or set(each.over_float.rounds_x) == {1.0}
        assert each.variant != STATIC or set(each.over_default.rounds_x) == {1.0}
    measured = [progress for progress in seen if progress.total > 1]
    assert [progress.done for progress in measured] == list(range(1, 33))
    assert measured[-1].note == "2 threads, batch 8"


def test_nothing_is_trained_for_a_benchmark(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=f"{tmp_path} holds no result of stage .* Build it there first: edgewright build"
    ):
        bench_models(BuiltStore(tmp_path / "store"), small_recipe(), "here", TARGET)
    assert not list((tmp_path / "store" / "stages").rglob("*.json"))


@pytest.mark.slow
def test_a_variant_that_was_not_built_says_so_in_its_rows(home: Path) -> None:
    other = {"name": "i8", "quantize": {"calibration": ["percentile"]}}
    recipe = small_recipe(variants=[other, {"name": "fp32"}])
    bench = bench_models(BuiltStore(home / "store"), recipe, "here", TARGET, processes=2, effort=QUICK)
    missing = [each for each in bench.rows if isinstance(each, NotMeasured)]
    assert [(each.variant, each.threads, each.batch) for each in missing] == [
        ("i8", threads, batch) for threads in THREADS for batch in BATCHES
    ]
    assert "no result of stage quantize" in missing[0].not_measurable
    assert {each.variant for each in bench.rows if isinstance(each, Row)} == {"fp32", STATIC, DYNAMIC}


@pytest.mark.slow
def test_a_default_that_fails_is_an_answer_and_no_end(home: Path) -> None:
    store, recipe = BuiltStore(home / "store"), small_recipe()
    data = snapshot.run(store, recipe.data, recipe.task).value.folds[0]
    node = helper.make_node("Einsum", ["image"], ["scores"], equation="abcd,abcd->a")
    shape = helper.make_tensor_value_info("image", 1, ["batch", 9, 1, 1])
    graph = helper.make_graph([node], "g", [shape], [helper.make_tensor_value_info("scores", 1, ["batch"])])
    unsound = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    why = _by_default(store, recipe, data, store.put_bytes(unsound.SerializeToString()), STATIC)
    assert isinstance(why, str)
    assert why.startswith("quantize_static with its defaults failed: ")


def test_versions_are_those_of_what_makes_the_figures_of_these_recipes() -> None:
    assert set(versions([small_recipe()])) == {"python", "edgewright", "numpy", "onnx", "onnxruntime", "torch"}


FP32, TFL = {"name": "fp32"}, {"name": "tfl", "framework": "keras"}
P50 = {"name": "p50", "prune": {"sparsity": 0.5, "fine_tune_epochs": 1}}


@pytest.mark.parametrize(
    ("variants", "engines", "missing", "given"),
    [
        ([FP32, TFL], ["onnxruntime", "litert"], None, "fp32"),
        ([TFL, FP32], ["onnxruntime", "litert"], None, "fp32"),
        ([TFL, P50, FP32], ["onnxruntime", "litert"], None, "fp32"),
        ([TFL, P50], ["onnxruntime", "litert"], None, None),
        ([TFL, FP32], ["litert"], None, None),
        ([TFL, FP32], ["onnxruntime", "litert"], "fp32", None),
    ],
)
def test_onnx_runtime_is_given_the_float_onnx_file_that_the_target_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variants: list[dict[str, Any]],
    engines: list[str],
    missing: str | None,
    given: str | None,
) -> None:
    store = BuiltStore(tmp_path)
    target = Target.model_validate({"platform": "linux/amd64", "engines": engines, "pays": ["size"]})
    asked: list[bytes] = []

    def built(_store: Any, _recipe: Any, _data: Any, _target: Any, variant: Any) -> Any:
        if variant.name == missing:
            raise UsageError("not built")
        return store.put_bytes(variant.name.encode())

    def by_default(_store: Any, _recipe: Any, _data: Any, model: Any, _method: str) -> str:
        asked.append(store.read(model))
        return "not tried"

    monkeypatch.setattr(benching, "_built", built)
    monkeypatch.setattr(benching, "_by_default", by_default)
    monkeypatch.setattr(benching, "methods_for", lambda model: (STATIC,))
    monkeypatch.setattr(benching, "ValidationJudge", lambda *arguments: lambda content: 99.0)
    monkeypatch.setattr(benching.snapshot_stage, "load", lambda store, data: SimpleNamespace(validation=None))
    data: Any = None
    models = benching._models(store, small_recipe(variants=variants), data, target, lambda progress: None)
    assert asked == ([given.encode()] if given else [])
    assert (STATIC in models) == (given is not None)


def test_stages_that_were_computed_add_up_and_remembered_ones_count_once(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    stage = Stage("count", "edgewright.pipeline.progress", ())
    outcomes = [store.run_stage(stage, {"number": number}, Result, lambda: Result(0)) for number in (1, 2, 2)]
    assert [outcome.unchanged for outcome in outcomes] == [False, False, True]
    assert compute_seconds(store) == pytest.approx(outcomes[0].compute_s + outcomes[1].compute_s)


def test_a_builds_costs_are_ratios_of_its_times() -> None:
    cost = build_cost("digits", first_s=200.0, stages_s=250.0, again_s=10.0)
    assert (cost.wall_over_compute, cost.again_over_first) == (0.8, 0.05)


def test_the_file_begins_with_medians_of_ratios_and_holds_every_row() -> None:
    rows = (
        row(x=2.5, over_default=ratio(4.0)),
        row(threads=2, x=1.5, over_default=ratio(2.0)),
        NotMeasured("digits", DYNAMIC, 1, 1, "no such operator"),
    )
    costs = (BuildCost("digits", 200.0, 250.0, 10.0, 0.8, 0.05), BuildCost("motion", 100.0, 100.0, 15.0, 1.0, 0.15))
    text = to_json([ModelsBench("digits", "here", "fp32", "accuracy", rows)], costs, {"machine": {"cpu": "any"}})
    content = json.loads(text)
    assert list(content)[:2] == ["format_version", "medians"]
    assert content["medians"] == {
        "speedup": {"i8": {"over_float_x": 2.0, "over_default_x": 3.0}},
        "wall_over_compute": pytest.approx(0.9),
        "again_over_first": pytest.approx(0.1),
    }
    assert content["machine"] == {"cpu": "any"}
    (models,) = content["models"]
    assert [each["threads"] for each in models["rows"]] == [1, 2, 1]
    assert models["rows"][0]["over_float"]["rounds_x"] == [2.5] * 7
    assert models["rows"][2]["not_measurable"] == "no such operator"


def test_how_much_of_its_time_a_model_had_the_processor() -> None:
    assert row(threads=1).processor_share == pytest.approx(0.9)
    assert row(threads=2).processor_share is None, "two threads also wait for each other"


def test_without_builds_the_file_says_nothing_of_them() -> None:
    models = [ModelsBench("digits", "here", "fp32", "accuracy", (row(),))]
    content = json.loads(to_json(models, (), {}))
    assert content["medians"] == {"speedup": {"i8": {"over_float_x": 2.5}}}
    assert content["builds"] == []


@pytest.mark.parametrize(("threads", "batch", "words"), [(1, 8, "1 thread, batch 8"), (2, 1, "2 threads, batch 1")])
def test_a_setting_in_words(threads: int, batch: int, words: str) -> None:
    assert setting_in_words(threads, batch) == words
