"""When pruning happens, in steps: schedules that tfmot would quietly leave unfinished are refused before the training."""

# One row is one slip and its exact message, however long.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

import pytest

from edgewright.errors import StageError
from edgewright.pipeline.pruning.keras_schedule import AT_ONCE, PruningSteps, pruning_steps
from edgewright.pipeline.variant_settings import PruneSettings


def gradual(**changes: Any) -> PruneSettings:
    return PruneSettings(
        method="magnitude",
        sparsity=0.8,
        schedule="polynomial",
        **{"fine_tune_epochs": 4, "frequency_steps": 10} | changes,
    )


@pytest.mark.parametrize(
    ("begin", "frequency", "steps", "end"),
    [(0, 10, 400, 200), (0, 10, 399, 190), (5, 10, 400, 195), (0, 200, 400, 200), (0, 7, 47, 21), (3, 1, 9, 4)],
)
def test_without_an_end_it_ends_with_the_last_pruning_of_the_first_half(
    begin: int, frequency: int, steps: int, end: int
) -> None:
    found = pruning_steps(gradual(begin_step=begin, frequency_steps=frequency), steps)
    assert found == PruningSteps(begin, end, frequency)
    assert (end - begin) % frequency == 0 and end <= steps / 2 < end + frequency


def test_an_end_that_a_pruning_falls_on_is_taken() -> None:
    assert pruning_steps(gradual(begin_step=20, end_step=400), 400) == PruningSteps(20, 400, 10)


def test_one_shot_is_done_before_the_first_step_moves_a_weight() -> None:
    settings = PruneSettings(method="magnitude", sparsity=0.8, fine_tune_epochs=1)
    assert pruning_steps(settings, 1) == AT_ONCE == PruningSteps(begin=1, end=1, frequency=1)


@pytest.mark.parametrize(
    ("changes", "steps", "message"),
    [
        ({"end_step": 410}, 400, "prune.end_step: 410 lies after the end of fine-tuning, which takes 400 steps. Lower it, or raise prune.fine_tune_epochs."),
        ({"begin_step": 50, "end_step": 50}, 400, "prune.begin_step: 50 is not before end_step 50. Lower it, or raise end_step."),
        ({"begin_step": 3, "end_step": 100}, 400, "prune.end_step: no pruning falls on step 100, as they come every 10 steps from step 3 on, so that sparsity 0.8 would never be reached. Set 93 or 103."),
        ({"end_step": 45}, 47, "prune.end_step: no pruning falls on step 45, as they come every 10 steps from step 0 on, so that sparsity 0.8 would never be reached. Set 40."),
        ({"end_step": 8}, 9, "prune.end_step: no pruning falls on step 8, as they come every 10 steps from step 0 on, so that sparsity 0.8 would never be reached. Set a lower prune.frequency_steps."),
        ({"begin_step": 20}, 40, "prune.begin_step: 20 is not in the first half of the 40 steps of fine-tuning, in which pruning ends. Lower it, set prune.end_step, or raise prune.fine_tune_epochs."),
        ({}, 16, "prune.frequency_steps: 10 leaves no pruning between step 0 and step 8, the middle of fine-tuning. Set at most 8, or raise prune.fine_tune_epochs."),
    ],
)  # fmt: skip
def test_a_schedule_that_never_gets_there_is_refused(changes: dict[str, Any], steps: int, message: str) -> None:
    with pytest.raises(StageError) as caught:
        pruning_steps(gradual(**changes), steps)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("when", "epoch"),
    [
        (AT_ONCE, 1),
        (PruningSteps(0, 20, 10), 3),  # a whole epoch after the end
        (PruningSteps(0, 15, 5), 3),  # it ends within the second
        (PruningSteps(0, 31, 1), 4),  # no whole epoch is left: the last one
        (PruningSteps(0, 40, 10), 4),
    ],
)
def test_weights_are_kept_from_the_first_whole_epoch_after_the_end(when: PruningSteps, epoch: int) -> None:
    assert when.keep_from_epoch(steps_per_epoch=10, epochs=4) == epoch
