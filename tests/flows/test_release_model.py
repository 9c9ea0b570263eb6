"""The flow in this process: real stages and real servers, on a thousandth of the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from edgewright.errors import DiskFullError, EdgewrightError, RecipeError, StageError
from edgewright.pipeline.datasets import digits
from edgewright.pipeline.datasets.dataset import take_subset
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.tracking import Tracking, champion, promote, versions
from edgewright.pipeline.workspace import open_workspace

pytestmark = pytest.mark.usefixtures("prefect_api")

Build = Callable[..., Any]
TARGETS: dict[str, Any] = {
    "here": {"platform": "linux/amd64", "engines": ["onnxruntime"], "pays": ["size"]},
    "board": {
        "platform": "linux/arm64",
        "engines": ["onnxruntime"],
        "budgets": {"latency_p95_ms": 10_000},
        "pays": ["size"],
    },
}
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
    "variants": [{"name": "fp32"}, {"name": "i8", "quantize": {"calibration": ["minmax"]}}],
    "targets": ["here"],
    "objective": {"minimize": "size", "max_validation_drop_points": 90},
    "gate": {"margin_points": 50, "floor_pct": 1, "latency_processes": 5},
}
P50 = {"name": "p50", "prune": {"sparsity": 0.5, "fine_tune_epochs": 4}}


@pytest.fixture
def test_images(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the data set have so many test images of each digit from now on."""
    whole = digits.load()

    def limit(per_class: int) -> None:
        monkeypatch.setattr(digits, "load", lambda *_: take_subset(whole, None, per_class))

    return limit


@pytest.fixture
def build(
    prefect_api: None, registry: Tracking, test_images: Callable[[int], None], tmp_path: Path
) -> Callable[..., Any]:
    """Run the flow on the small recipe with changes."""
    from flows.release_model import release_model

    test_images(100)
    targets = tmp_path / "targets.yaml"
    YAML().dump(TARGETS, targets)

    def run(**changes: Any) -> Any:
        state = release_model(Recipe.model_validate({**RECIPE, **changes}), str(targets), return_state=True)
        return state.result(raise_on_failure=state.name not in {"Refused", "Incomplete"})

    return run


def test_where_nothing_can_be_measured_nothing_is_promoted(build: Build, registry: Tracking) -> None:
    summary = build(model="far", targets=["board"])
    assert summary.exit_code == 4
    (version,) = versions(registry, "far", "board")
    assert (version.verdict, version.aliases) == ("not_measurable", ("candidate",))
    assert champion(registry, "far", "board") is None


def test_the_champion_answers_again_when_the_test_split_has_changed(
    build: Build, registry: Tracking, test_images: Callable[[int], None]
) -> None:
    first = build()
    assert first.exit_code == 0
    assert "edgewright.signed" in versions(registry, "tiny", "here")[0].tags, "devices are told"
    test_images(60)
    summary = build(data={**RECIPE["data"], "limit_per_class": 61})
    assert summary.samples["test"] == 600
    (here,) = summary.targets
    for name in ("champion", "baseline"):
        check = here.verdict.check(f"accuracy against {name}")
        assert check.samples == 600, "on today's samples, as pairs"
    records = list((open_workspace().store.root / "stages" / "incumbent").glob("*.json"))
    assert len(records) == 1, "once for both: the baseline is the champion"
    # What they answered before does not pair: were it used, the gate would refuse to compare.
    assert here.champion == 2


@pytest.mark.slow
def test_a_champion_that_changes_after_the_verdict_is_judged_against(
    build: Build, registry: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import judge_variants

    build()
    build(data={**RECIPE["data"], "limit_per_class": 61})
    judged: list[str] = []
    decide = judge_variants.decide

    def decide_slowly(*arguments: Any, **incumbents: Any) -> Any:
        decision = decide(*arguments, **incumbents)
        judged.append(arguments[1].target_name)
        if len(judged) == 1:  # somebody promotes another version while this one is on its way
            promote(registry, "tiny", "here", other, reason="by hand", who="a person", allow_withdrawn=True)
        return decision

    known = {each.version: each for each in versions(registry, "tiny", "here")}
    other = next(number for number, each in known.items() if not each.is_champion)
    monkeypatch.setattr(judge_variants, "decide", decide_slowly)
    summary = build(seed=1)
    assert judged == ["here", "here"], "judged once more"
    now = champion(registry, "tiny", "here")
    assert now is not None
    assert (now.version, now.replaced) == (summary.targets[0].version, other)


def test_a_variant_that_cannot_be_built_is_reported_and_the_others_go_on(
    build: Build, registry: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgewright.pipeline.stages import quantize

    def fail(*_: Any) -> Any:
        raise StageError("no range can be found")

    monkeypatch.setattr(quantize, "run", fail)
    summary = build(model="gaps", variants=[*RECIPE["variants"], P50])
    assert summary.exit_code == 1
    assert [(each.variant, each.error) for each in summary.missing] == [("i8", "no range can be found")]
    (here,) = summary.targets
    assert [variant.variant for variant in here.variants] == ["fp32", "p50"]
    assert here.chosen == "p50"
    assert here.champion == here.version == 1


def test_without_the_reference_or_without_anything_else_there_is_no_build(
    build: Build, registry: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgewright.pipeline.stages import compress, quantize

    def fail(*_: Any) -> Any:
        raise StageError("it does not work")

    monkeypatch.setattr(quantize, "run", fail)
    with pytest.raises(
        EdgewrightError, match="no variant but the reference could be built for here: i8: it does not work"
    ):
        build(model="none")
    monkeypatch.setattr(compress, "run", fail)
    with pytest.raises(StageError, match="it does not work"):
        build(model="none")
    assert versions(registry, "none", "here") == ()


def test_a_full_disk_ends_the_build_instead_of_leaving_a_variant_out(
    build: Build, registry: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgewright.pipeline.stages import quantize

    def fail(*_: Any) -> Any:
        raise DiskFullError("the disk is full")

    monkeypatch.setattr(quantize, "run", fail)
    with pytest.raises(DiskFullError, match="the disk is full"):
        build(model="none", variants=[*RECIPE["variants"], P50])
    assert versions(registry, "none", "here") == ()


def test_pruning_that_does_not_fit_the_training_is_refused_before_anything_is_trained(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import build_release as flow

    monkeypatch.setattr(flow, "build_variants", None)
    late = {"method": "magnitude", "sparsity": 0.5, "schedule": "polynomial", "end_step": 9999, "fine_tune_epochs": 2}
    with pytest.raises(RecipeError) as caught:
        build(variants=[*RECIPE["variants"], {"name": "k50", "framework": "keras", "format": "onnx", "prune": late}])
    assert [problem.key for problem in caught.value.problems] == ["variants[2].prune.end_step"]


def test_a_recipe_that_breaks_rules_is_refused_before_anything_runs(build: Build) -> None:
    with pytest.raises(RecipeError) as caught:
        build(targets=["hree", "board", "board"])
    assert [problem.key for problem in caught.value.problems] == ["targets[0]", "targets[2]"]
