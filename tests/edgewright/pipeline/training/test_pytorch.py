"""Training: seeded to the bit, stopped in time, never silently broken; weights travel as plain arrays."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgewright.errors import StageError
from edgewright.pipeline.progress import Progress
from edgewright.pipeline.pruning.pytorch import prune_channels
from edgewright.pipeline.training.plan import Samples, TrainingPlan
from edgewright.pipeline.training.pytorch import (
    TrainingResult,
    _optimizer,
    load_weights,
    predict,
    train,
    weights_sha256,
    weights_to_bytes,
)

MakeModel = Callable[..., nn.Module]
PLAN = TrainingPlan(
    epochs=2, batch_size=32, learning_rate=3e-3, weight_decay=1e-3, shift_steps=2, patience_epochs=3, seed=5, threads=1
)


@pytest.fixture
def samples(some_digits: Any) -> tuple[Samples, Samples]:
    """100 to learn from, 60 to stop by."""
    learn, held_out = some_digits[:100], some_digits[100:160]
    return Samples(learn.inputs, learn.labels), Samples(held_out.inputs, held_out.labels)


def run(model: nn.Module, samples: tuple[Samples, Samples], **changes: Any) -> TrainingResult:
    return train(model, *samples, dataclasses.replace(PLAN, **changes))


# --- repeatable ---------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_bit_by_bit(
    make_model: MakeModel, samples: tuple[Samples, Samples]
) -> None:
    first, second = run(make_model(), samples), run(make_model(), samples)
    assert weights_sha256(first.model) == weights_sha256(second.model)
    without_time = [[dataclasses.replace(epoch, seconds=0) for epoch in result.history] for result in (first, second)]
    assert without_time[0] == without_time[1]


def test_another_seed_gives_other_weights(make_model: MakeModel, samples: tuple[Samples, Samples]) -> None:
    assert weights_sha256(run(make_model(), samples).model) != weights_sha256(run(make_model(), samples, seed=6).model)
    assert weights_sha256(make_model(seed=1)) != weights_sha256(make_model(seed=2))


def test_training_learns(trained_model: nn.Module, some_digits: Any) -> None:
    held_out = some_digits[800:]
    accuracy = (predict(trained_model, held_out.inputs).argmax(1) == held_out.labels).mean()
    assert accuracy > 0.7  # by chance 0.1


# --- stopped in time ----------------------------------------------------------------------------------------------


def test_it_stops_when_validation_gets_no_better_and_keeps_the_best_epoch(
    make_model: MakeModel, samples: tuple[Samples, Samples]
) -> None:
    learn, held_out = samples
    # Wrong answers to stop by: the better the model learns, the worse it does on them.
    wrong = Samples(held_out.inputs, (held_out.labels + 1) % 10)
    result = run(make_model(), (learn, wrong), epochs=20, patience_epochs=2, learning_rate=1e-2, shift_steps=0)
    losses = [epoch.validation_loss for epoch in result.history]
    assert result.stopped_early
    assert len(losses) == result.best_epoch + 2 < 20
    assert losses[result.best_epoch - 1] == min(losses)
    scores = torch.from_numpy(predict(result.model, wrong.inputs))
    kept = float(nn.functional.cross_entropy(scores, torch.from_numpy(wrong.labels)))
    assert kept == pytest.approx(min(losses), rel=1e-6)


def test_epochs_before_the_end_of_a_schedule_are_never_kept(
    make_model: MakeModel, samples: tuple[Samples, Samples]
) -> None:
    learn, held_out = samples
    wrong = Samples(held_out.inputs, (held_out.labels + 1) % 10)
    plan = dataclasses.replace(PLAN, epochs=4, patience_epochs=1, learning_rate=1e-2)
    result = train(make_model(), learn, wrong, plan, keep_from_epoch=3)
    assert result.best_epoch >= 3


def test_a_loss_that_is_not_finite_is_an_error(make_model: MakeModel, samples: tuple[Samples, Samples]) -> None:
    with pytest.raises(StageError, match=r"training diverged: the loss of epoch 1 is not finite\. Lower training"):
        run(make_model(), samples, learning_rate=1e30)


def test_one_sample_left_over_is_no_batch(make_model: MakeModel, some_digits: Any) -> None:
    """Batch norm cannot learn from one sample; 65 = 2 x 32 + 1."""
    learn, held_out = some_digits[:65], some_digits[100:120]
    result = run(make_model(), (Samples(learn.inputs, learn.labels), Samples(held_out.inputs, held_out.labels)))
    assert len(result.history) == 2


def test_progress_never_runs_backwards_and_ends_at_the_end(
    make_model: MakeModel, samples: tuple[Samples, Samples]
) -> None:
    heard: list[Progress] = []
    train(make_model(), *samples, PLAN, work="p50", on_progress=heard.append)
    done = [progress.done for progress in heard]
    assert done == sorted(done)
    assert heard[-1].work == "p50"
    assert heard[-1].done == heard[-1].total
    assert heard[-1].note.startswith("epoch 2/2  val ")


# --- hooks that change the model ----------------------------------------------------------------------------------


def test_a_fresh_optimizer_in_the_middle_moves_no_weight_and_keeps_the_schedule(make_model: MakeModel) -> None:
    """After a pruning step the optimizer starts anew, while the gradients of the last step still lie there."""
    model = make_model()
    model(torch.randn(4, 1, 28, 28)).sum().backward()
    before = weights_sha256(model)
    _, schedule = _optimizer(model, PLAN, 20, done=7)
    assert weights_sha256(model) == before
    optimizer, whole = _optimizer(make_model(), PLAN, 20)
    for _ in range(7):
        optimizer.step()
        whole.step()
    assert schedule.get_last_lr() == whole.get_last_lr()


def test_a_hook_sees_every_step(make_model: MakeModel, samples: tuple[Samples, Samples]) -> None:
    seen: list[float] = []

    def hook(_: nn.Module, done: float) -> bool:
        seen.append(done)
        return False

    train(make_model(), *samples, PLAN, on_step=hook)
    assert seen == [step / 8 for step in range(1, 9)]  # 100 samples, 32 a step, 2 epochs


# --- weights ------------------------------------------------------------------------------------------------------


def test_weights_survive_the_way_through_bytes(trained_model: nn.Module, make_model: MakeModel) -> None:
    content = weights_to_bytes(trained_model)
    again = load_weights(make_model(seed=9), content)
    assert weights_to_bytes(again) == content
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        assert sorted(arrays.files) == sorted(trained_model.state_dict())


def test_pruned_weights_narrow_a_fresh_model_exactly(trained_model: nn.Module, make_model: MakeModel) -> None:
    images = torch.randn(3, 1, 28, 28)
    pruned = prune_channels(trained_model, torch.zeros(1, 1, 28, 28), 0.5)
    loaded = load_weights(make_model(), weights_to_bytes(pruned))
    assert weights_sha256(loaded) == weights_sha256(pruned)
    assert torch.equal(loaded(images), pruned(images))
    layers = [module for module in loaded.modules() if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]
    for layer in layers:  # the attributes agree with the tensors, as exporters and cost counters expect
        out = layer.weight.shape[0]
        assert out == getattr(
            layer, "out_channels", getattr(layer, "out_features", getattr(layer, "num_features", None))
        )


def test_weights_of_another_architecture_are_refused(make_model: MakeModel) -> None:
    content = weights_to_bytes(nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(StageError, match="stored weights do not fit the architecture"):
        load_weights(make_model(), content)
