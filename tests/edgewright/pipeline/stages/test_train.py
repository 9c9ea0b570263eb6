"""Stage 2: the base model, the same bits for the same recipe, trained again only when it must be."""

from __future__ import annotations

from typing import Any

from edgewright.pipeline.progress import ignore_progress
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages import train
from edgewright.pipeline.training.plan import Noise
from edgewright.preprocessing import Preprocessing


def test_every_epoch_is_remembered_with_its_figures(build: Any) -> None:
    result = build.base.value
    assert [epoch.epoch for epoch in result.history] == [1, 2, 3]
    assert result.history[-1].train_loss < result.history[0].train_loss
    best = min(result.history, key=lambda epoch: epoch.validation_loss)
    assert result.best_epoch == best.epoch
    assert not result.stopped_early
    assert result.device in {"cpu", "cuda"}


def test_another_process_trains_the_same_weights_bit_by_bit(build: Any) -> None:
    here = train.train_base(build.store.root, build.recipe, build.snapshot, on_progress=ignore_progress)
    assert here.weights == build.base.value.weights


def test_progress_reaches_the_caller(build: Any) -> None:
    assert [progress.done for progress in build.heard["train"]] == sorted(p.done for p in build.heard["train"])
    assert build.heard["train"][-1].done == build.heard["train"][-1].total


def with_training(recipe: Recipe, **changes: Any) -> Recipe:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=changes)})


def test_it_is_not_trained_again_for_what_does_not_matter(build: Any) -> None:
    later = with_training(build.recipe, deadline_s=7200.0)
    described = later.model_copy(update={"description": "reads digits", "gate": None, "variants": []})
    again = train.run(build.store, described, build.snapshot)
    assert again.unchanged and again.value == build.base.value


def test_what_matters_is_another_training(build: Any) -> None:
    data = build.snapshot
    inputs = train.training_inputs(build.recipe, data)
    for other in (
        build.recipe.model_copy(update={"seed": 4}),
        with_training(build.recipe, learning_rate=0.02),
        with_training(build.recipe, threads=2),
        build.recipe.model_copy(
            update={"architecture": build.recipe.architecture.model_copy(update={"widths": [8, 16, 16]})}
        ),
    ):
        assert train.training_inputs(other, data) != inputs


def test_noise_is_a_share_of_an_images_full_scale_or_of_a_channels_deviation() -> None:
    image = train.full_noise(Preprocessing((1, 8, 8), 1 / 255, (0.25,), (0.5,)))
    assert image == Noise((2.0,), (-0.5,), (1.5,))
    window = train.full_noise(Preprocessing((2, 1, 8), 1.0, (3.0, 4.0), (5.0, 6.0), "window", "float32"))
    assert window == Noise((1.0, 1.0))


def test_the_plan_has_as_much_noise_as_the_recipe_asks_for(build: Any) -> None:
    training, _ = train.training_samples(build.store, build.recipe.task, build.snapshot)
    assert train.training_plan(build.recipe, training, 1, 1e-3, 0).noise is None
    noisy = train.training_plan(with_training(build.recipe, noise_share=0.1), training, 1, 1e-3, 0).noise
    assert noisy is not None and training.full_noise is not None
    assert noisy.deviation == (0.1 * training.full_noise.deviation[0],)
    assert noisy.highest == training.full_noise.highest
