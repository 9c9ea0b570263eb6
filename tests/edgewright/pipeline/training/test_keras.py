"""Training with Keras: the PyTorch line's plan, losses and schedule; seeded to the bit, stopped in time, silent."""

from __future__ import annotations

import dataclasses
import hashlib
import io

import numpy as np
import pytest
import torch
from torch import nn

from edgewright.pipeline.tensorflow_process import run_with_tensorflow
from edgewright.pipeline.training.objective import Loss
from keras_training import CLASSES, PLAN, Findings, explore, stripes, train_once

GRADIENTS = np.random.default_rng(3).normal(size=(12, 3)).astype(np.float32) * np.array([1, 1e-3, 0], np.float32)


@pytest.fixture(scope="module")
def findings() -> Findings:
    """All trainings of this file, one process."""
    return run_with_tensorflow(explore, GRADIENTS, work="training", deadline_s=240)


# --- repeatable ---------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_bit_by_bit(findings: Findings) -> None:
    """The second training wrote no logs and was heard by nobody else: neither moves a weight."""
    first, again = findings.trained["first"], findings.trained["again"]
    assert first.weights == again.weights
    without_time = [[dataclasses.replace(epoch, seconds=0) for epoch in each.history] for each in (first, again)]
    assert without_time[0] == without_time[1]


def test_another_process_gives_the_same_weights_bit_by_bit(findings: Findings) -> None:
    expected = hashlib.sha256(findings.trained["first"].weights).hexdigest()
    assert run_with_tensorflow(train_once, work="training", deadline_s=120) == expected


def test_what_is_random_in_a_network_follows_the_plans_seed(findings: Findings) -> None:
    assert findings.trained["with dropout"].weights == findings.trained["with dropout again"].weights


def test_another_seed_gives_other_weights(findings: Findings) -> None:
    assert findings.trained["first"].weights != findings.trained["another seed"].weights


def test_training_learns(findings: Findings) -> None:
    long = findings.trained["long"]
    assert long.history[long.best_epoch - 1].validation_accuracy_pct > 90  # by chance 25
    scores, values = (findings.trained[name].history for name in ("reconstruction", "regression"))
    for history in (scores, values):
        assert history[-1].validation_loss < 0.7 * history[0].validation_loss
        assert history[-1].validation_accuracy_pct is None


# --- stopped in time ----------------------------------------------------------------------------------------------


def test_it_stops_when_validation_gets_no_better_and_keeps_the_best_epoch(findings: Findings) -> None:
    stopped = findings.trained["stopped"]
    losses = [epoch.validation_loss for epoch in stopped.history]
    assert stopped.stopped_early
    assert len(losses) == stopped.best_epoch + 2 < 20
    assert losses[stopped.best_epoch - 1] == min(losses)
    wrong = torch.from_numpy((stripes(60, seed=2).labels + 1) % CLASSES)
    kept = float(nn.functional.cross_entropy(torch.from_numpy(stopped.answers), wrong))
    assert kept == pytest.approx(min(losses), rel=1e-5)


def test_epochs_before_the_end_of_a_schedule_are_never_kept(findings: Findings) -> None:
    assert findings.trained["kept late"].best_epoch >= 3


def test_figures_of_an_epoch_are_those_of_the_weights_it_left(findings: Findings) -> None:
    first = findings.trained["first"]
    labels = stripes(60, seed=2).labels
    figures = first.history[first.best_epoch - 1]
    assert figures.validation_accuracy_pct == pytest.approx(100 * (first.answers.argmax(1) == labels).mean())
    assert [epoch.epoch for epoch in first.history] == [1, 2]
    assert all(epoch.seconds > 0 for epoch in first.history)


# --- refused ------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_is_an_error(findings: Findings) -> None:
    assert findings.errors["diverged"] == (
        "training diverged: the loss of epoch 1 is not finite. Lower training.learning_rate, or look at the data."
    )


def test_one_sample_is_no_training(findings: Findings) -> None:
    assert findings.errors["one sample"] == "training has 1 samples, of which batch norm needs two. Add data."


# --- batches ------------------------------------------------------------------------------------------------------


def test_one_sample_left_over_is_no_batch(findings: Findings) -> None:
    """Batch norm cannot learn from one sample; 65 = 2 x 32 + 1."""
    assert findings.trained["one left over"].steps == 2 * 2
    assert findings.trained["first"].steps == 4 * 2  # 100 samples: the last batch has 4


def test_every_epoch_has_an_order_of_its_own_and_a_batch_is_the_same_however_often_it_is_asked_for(
    findings: Findings,
) -> None:
    first, second = findings.batches
    assert first != second
    for order in (first, second):  # nine samples in batches of four
        assert len(order) == len(set(order)) == 8
        assert set(order) <= set(range(9))


def test_noise_is_of_each_samples_own_strength_and_drawn_anew_each_epoch(findings: Findings) -> None:
    first, again, next_epoch = findings.noisy
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, next_epoch)
    strengths = first.std(axis=(1, 2, 3))
    assert 0.42 < strengths.max() < 0.58
    assert strengths.min() < 0.02
    assert (first.min(), first.max(), first.dtype) == (-1, 1, np.float32)


def test_what_is_reproduced_is_the_shifted_sample_with_channels_first(findings: Findings) -> None:
    assert findings.targets is not None
    inputs, targets = findings.targets
    assert inputs.shape == (9, 8, 8, 2)
    np.testing.assert_array_equal(targets.reshape(9, 2, 8, 8), inputs.transpose(0, 3, 1, 2))


def test_images_move_along_both_axes_and_are_filled_with_their_background(findings: Findings) -> None:
    np.testing.assert_array_equal(findings.shifted["image"][0, :, :, 0], [[1, 5, 6, 7], [1, 9, 10, 11], [1, 1, 1, 1]])
    np.testing.assert_array_equal(
        findings.shifted["image"][0, :, :, 1], [[1, 10, 12, 14], [1, 18, 20, 22], [1, 1, 1, 1]]
    )
    np.testing.assert_array_equal(findings.shifted["image still"][0, :, :, 0], np.arange(1, 13).reshape(3, 4))


def test_windows_move_along_time_and_rows_stay(findings: Findings) -> None:
    assert findings.shifted["window in time"].ravel().tolist() == [2, 3, 4, 4, 4]
    assert findings.shifted["window back"].ravel().tolist() == [0, 0, 0, 1, 2]
    assert findings.shifted["window upright"].ravel().tolist() == [2, 3, 4, 4, 4]
    assert findings.shifted["window upright"].shape == (1, 5, 1, 1)
    assert findings.shifted["row"].ravel().tolist() == [0, 1, 2, 3, 4]


# --- as in PyTorch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 400])
def test_the_learning_rate_is_that_of_pytorchs_one_cycle(findings: Findings, steps: int) -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps + 1)
    expected = []
    for _ in range(steps):
        expected.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(findings.rates[steps], expected, rtol=1e-4, atol=1e-9)


def test_the_optimizer_steps_as_pytorchs_adamw(findings: Findings) -> None:
    """With gradients of size 1, of a thousandth, and none at all, which the decay alone moves."""
    weights = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimizer = torch.optim.AdamW([weights], lr=PLAN.learning_rate, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PLAN.learning_rate, total_steps=len(GRADIENTS) + 1, cycle_momentum=False
    )
    for gradient in GRADIENTS:
        weights.grad = torch.from_numpy(gradient)
        optimizer.step()
        schedule.step()
    moved = weights.detach().numpy() - np.array([1, -2, 3], np.float32)
    assert np.abs(moved).min() > 1e-3
    assert findings.stepped is not None
    np.testing.assert_allclose(findings.stepped, weights.detach().numpy(), atol=2e-5)


@pytest.mark.parametrize("name", ["classification", "weighted", "regression", "reconstruction"])
def test_losses_are_those_of_pytorch(findings: Findings, name: str) -> None:
    random = np.random.default_rng(8)
    scores, labels = random.normal(size=(6, CLASSES)).astype(np.float32), random.integers(0, CLASSES, 6)
    single, values = random.normal(size=(6, 1)).astype(np.float32), 3 * random.normal(size=6).astype(np.float32)
    outputs = torch.from_numpy(single if name == "regression" else scores)
    expected = torch.from_numpy(values if name == "regression" else labels)
    inputs = torch.from_numpy(scores[::-1].copy()).reshape(6, CLASSES, 1, 1)
    loss = {
        "classification": Loss("classification"),
        "weighted": Loss("classification", torch.tensor([4.0, 1.0, 0.5, 2.0])),
        "regression": Loss("regression"),
        "reconstruction": Loss("reconstruction"),
    }[name]
    assert findings.losses[name] == pytest.approx(float(loss.of(outputs, inputs, expected)), rel=1e-5)


def test_weights_of_classes_count_in_the_training_and_in_its_figures(findings: Findings) -> None:
    weighted = findings.trained["weighted"]
    assert weighted.weights != findings.trained["first"].weights
    labels = torch.from_numpy(stripes(60, seed=2).labels)
    expected = nn.functional.cross_entropy(
        torch.from_numpy(weighted.answers), labels, weight=torch.tensor([4.0, 1.0, 1.0, 1.0])
    )
    figures = weighted.history[weighted.best_epoch - 1]
    assert figures.validation_loss == pytest.approx(float(expected), rel=1e-5)


# --- told ---------------------------------------------------------------------------------------------------------


def test_progress_never_runs_backwards_and_ends_at_the_end(findings: Findings) -> None:
    heard = findings.trained["first"].progress
    done = [progress.done for progress in heard]
    assert done == [1, 4, 5, 8]
    assert {(progress.work, progress.total) for progress in heard} == {("p50", 8)}
    notes = [progress.note for progress in heard]
    assert notes[0] == "epoch 1/2"
    assert notes[1].startswith("epoch 1/2  val ") and notes[1].endswith(" %")
    assert notes[2] == notes[1].replace("1/2", "2/2")
    assert notes[3].startswith("epoch 2/2  val ")


def test_within_an_epoch_every_tenth_step_is_told(findings: Findings) -> None:
    assert [progress.done for progress in findings.trained["many steps"].progress] == [1, 11, 21, 25]


def test_nothing_is_printed_and_nothing_warned_of(findings: Findings) -> None:
    assert findings.spoken == ""


def test_logs_hold_the_curves_of_training_and_validation_in_little_space(findings: Findings) -> None:
    history = findings.trained["first"].history
    assert {name.partition("/")[0] for name in findings.logs} == {"train", "validation"}
    assert sum(findings.logs.values()) < 20_000
    expected = {
        "train/epoch_loss": [epoch.train_loss for epoch in history],
        "validation/epoch_loss": [epoch.validation_loss for epoch in history],
        "validation/epoch_accuracy_pct": [epoch.validation_accuracy_pct for epoch in history],
    }
    for name, values in expected.items():
        assert findings.curves[name] == pytest.approx(values, rel=1e-5), name


# --- weights ------------------------------------------------------------------------------------------------------


def test_weights_survive_the_way_through_bytes_without_pickle(findings: Findings) -> None:
    content = findings.trained["first"].weights
    assert findings.rebuilt == content
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        assert arrays.files[:3] == ["0000 kernel", "0001 gamma", "0002 beta"]


def test_weights_of_another_architecture_are_refused(findings: Findings) -> None:
    assert findings.errors["other weights"] == (
        "stored weights do not fit the architecture: ds_cnn has 17 weights, stored are 17; "
        '"0015 kernel" is of shape [16, 4] in the one and of shape [16, 3] in the other. Train it anew.'
    )
    assert findings.errors["fewer weights"].startswith(
        "stored weights do not fit the architecture: ds_cnn has 17 weights, stored are 2; "
    )
