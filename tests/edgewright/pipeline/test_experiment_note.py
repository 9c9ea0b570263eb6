"""What the experiment's page says of a build: the recipe in short, how to read the runs, tags to search by."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.pipeline.experiment_note import body, describe_experiment
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.summarizing import summarize
from edgewright.pipeline.tracking.client import open_client

FAST = {"fp32": 2.0, "p50": 1.0}


@pytest.fixture
def built(hand_made: Any) -> tuple[Any, Any]:
    """A published build's recipe and summary."""
    made = hand_made.build(latencies_ms=FAST)
    decision = hand_made.decide(made)
    published = hand_made.publish(made, decision)
    return made.recipe, summarize(hand_made.store, hand_made.tracking.uri, [(made, decision, published)], ())


def test_the_page_tells_the_recipe_and_how_to_read_it(hand_made: Any, built: tuple[Any, Any]) -> None:
    recipe, summary = built
    assert describe_experiment(hand_made.tracking, recipe, summary) is None, "a file has no address"
    experiment = open_client(hand_made.tracking).get_experiment_by_name("digits")
    text = experiment.tags["mlflow.note.content"]
    assert "- t: champion is [version 1]" in text
    assert "- newest build: `b1` (t: p50 pass)" in text
    assert "| `accuracy_pct`&emsp; | accuracy on the test split, the figure that the model is judged by |" in text
    assert "## What build `b1` was asked for" in text
    assert "| `p50`&emsp; | pytorch, 50 % of channels pruned, onnx |" in text
    assert "| gate&emsp; | drop at most 1 points; accuracy at least 90 %; each with 95 % confidence |" in text
    assert "| targets&emsp; | t (linux/amd64) |" in text
    tags = {key: value for key, value in experiment.tags.items() if key.startswith("edgewright.")}
    assert tags == {
        "edgewright.task": "classification",
        "edgewright.quality": "accuracy",
        "edgewright.data": "digits",
        "edgewright.data_sha256": "d" * 64,
        "edgewright.network": "resnet8",
        "edgewright.variants": "fp32 p50",
        "edgewright.targets": "t",
        "edgewright.newest_build": "b1",
    }


def test_every_limit_of_the_gate_is_named(built: tuple[Any, Any]) -> None:
    recipe, summary = built
    gate = {
        "floor_pct": 90.0,
        "slices": [{"by": "class", "margin_points": 3.0}],
        "agreement_pct": 97.5,
        "calibration_error_points": 1.5,
        "robustness": {"corruptions": ["noise"], "margin_points": 5.0},
    }
    recipe = Recipe.model_validate({**recipe.model_dump(), "gate": gate})
    text = body(recipe, summary)
    for limit in (
        "drop by class at most 3 points",
        "agreement at least 97.5 %",
        "calibration error up at most 1.5 points",
        "under noise too",
    ):
        assert limit in text


def test_a_description_stays_words(built: tuple[Any, Any]) -> None:
    recipe, summary = built
    recipe = recipe.model_copy(update={"description": "![x](http://evil) <script>"})
    assert r"\!\[x\](http://evil) \<script\>" in body(recipe, summary)
