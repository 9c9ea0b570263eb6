"""What is made small: the right loss for each kind of question, and what a teacher adds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgewright.errors import StageError
from edgewright.pipeline.models.pytorch import build_model
from edgewright.pipeline.training.objective import Loss, Teacher
from edgewright.pipeline.training.plan import Objective, Samples, TrainingPlan
from edgewright.pipeline.training.pytorch import (
    TrainingResult,
    predict,
    train,
    weights_sha256,
)

PLAN = TrainingPlan(20, 32, 1e-2, 1e-3, 0, 20, seed=0, threads=1)
NO_LABELS = torch.zeros(2, dtype=torch.int64)


class Says(nn.Module):
    """Answers every sample with the same."""

    def __init__(self, answer: list[float]) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.tensor(answer))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.answer.expand(len(x), -1)


# --- losses -------------------------------------------------------------------------------------------------------


def test_classes_are_learned_by_cross_entropy_in_nats() -> None:
    outputs = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    loss = Loss("classification").of(outputs, torch.zeros(2, 1, 1, 1), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_a_class_counts_as_much_as_its_weight_says() -> None:
    outputs, labels = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]]), torch.tensor([0, 1])
    loss = Loss("classification", torch.tensor([1.0, 3.0])).of(outputs, torch.zeros(2, 1, 1, 1), labels)
    assert loss.item() == pytest.approx((1 * math.log(2) + 3 * math.log(4)) / 4)


def test_a_reproduction_is_held_against_the_sample_and_no_label() -> None:
    sample = torch.arange(8, dtype=torch.float32).reshape(2, 2, 1, 2)
    loss = Loss("reconstruction")
    assert loss.of(sample.flatten(1), sample, NO_LABELS).item() == 0
    assert loss.of(sample.flatten(1) + 2, sample, NO_LABELS).item() == 4


def test_a_value_errs_by_the_square_near_the_truth_and_by_the_amount_far_from_it() -> None:
    loss = Loss("regression")

    def of(error: float) -> float:
        return loss.of(torch.tensor([[1.0 + error]]), torch.zeros(1, 1, 1, 1), torch.tensor([1.0])).item()

    assert of(0.5) == pytest.approx(0.5 * 0.5**2)
    assert of(-10) == pytest.approx(10 - 0.5)


# --- a teacher ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_teacher_of_classes_adds_the_divergence_of_softened_answers_times_the_squared_temperature(
    temperature: float,
) -> None:
    said, taught = torch.tensor([[1.0, 0.0, -1.0]]), [0.0, 2.0, 0.0]
    p = torch.softmax(torch.tensor([taught]) / temperature, 1)
    q = torch.softmax(said / temperature, 1)
    divergence = float((p * (p.log() - q.log())).sum())
    labels, inputs = torch.tensor([1]), torch.zeros(1, 1, 1, 1)
    loss = Loss("classification")
    found = loss.taught(said, inputs, labels, Teacher(Says(taught), temperature, 0.25)).item()
    expected = 0.75 * loss.of(said, inputs, labels).item() + 0.25 * temperature**2 * divergence
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("objective", ["regression", "reconstruction"])
def test_a_teacher_of_numbers_adds_the_mean_squared_difference(objective: Objective) -> None:
    loss, inputs, labels = Loss(objective), torch.ones(2, 1, 1, 1), torch.zeros(2)
    said = torch.tensor([[3.0], [1.0]])
    found = loss.taught(said, inputs, labels, Teacher(Says([1.0]), 4.0, 0.5)).item()
    assert found == pytest.approx(0.5 * loss.of(said, inputs, labels).item() + 0.5 * 2.0)


def test_a_pupil_learns_from_a_teacher_alone_and_the_teacher_learns_nothing(
    make_model: Callable[..., nn.Module], trained_model: nn.Module, some_digits: Any
) -> None:
    learn, held_out = some_digits[:800], some_digits[800:]
    before = weights_sha256(trained_model)
    nonsense = Samples(learn.inputs, np.zeros(800, dtype=np.int64))
    plan = dataclasses.replace(PLAN, epochs=6)
    pupil = train(
        make_model(),
        nonsense,
        Samples(held_out.inputs, held_out.labels),
        plan,
        teacher=Teacher(trained_model, 4.0, 1.0),
    )
    assert weights_sha256(trained_model) == before
    assert all(parameter.grad is None for parameter in trained_model.parameters())
    accuracy = (predict(pupil.model, held_out.inputs).argmax(1) == held_out.labels).mean()
    assert accuracy > 0.6, "every label said 0"


def test_a_teacher_draws_no_random_number(make_model: Callable[..., nn.Module], some_digits: Any) -> None:
    samples = Samples(some_digits.inputs[:64], some_digits.labels[:64])
    plan = dataclasses.replace(PLAN, epochs=1, shift_steps=2)
    plain = train(make_model(), samples, samples, plan)
    unheard = train(make_model(), samples, samples, plan, teacher=Teacher(make_model(seed=3), 4.0, 1e-12))
    for one, other in zip(plain.model.parameters(), unheard.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_a_model_is_not_its_own_teacher(make_model: Callable[..., nn.Module], some_digits: Any) -> None:
    samples, model = Samples(some_digits.inputs[:64], some_digits.labels[:64]), make_model()
    with pytest.raises(StageError, match=r"^a model cannot be its own teacher.* Load the teacher anew\.$"):
        train(model, samples, samples, PLAN, teacher=Teacher(model, 4.0, 0.5))


# --- whole trainings ----------------------------------------------------------------------------------------------


def rows(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Samples with two degrees of freedom in six attributes, float32 ``[N, 6, 1, 1]``."""
    generator = np.random.default_rng(seed)
    directions = np.random.default_rng(0).normal(size=(2, 6))
    return (generator.normal(size=(count, 2)) @ directions).astype(np.float32)[:, :, None, None]


def run(name: str, objective: Objective, labels: Callable[[Any], Any], **settings: Any) -> TrainingResult:
    torch.manual_seed(0)
    anomaly = objective == "reconstruction"
    model = build_model(name, (6, 1, 1), 6 if anomaly else 1, task="anomaly" if anomaly else "regression", **settings)
    learn, held_out = rows(400, 1), rows(100, 2)
    plan = dataclasses.replace(PLAN, objective=objective)
    return train(model, Samples(learn, labels(learn)), Samples(held_out, labels(held_out)), plan)


def test_an_autoencoder_learns_what_is_normal_and_fails_on_the_rest() -> None:
    result = run("autoencoder", "reconstruction", lambda x: np.zeros(len(x), dtype=np.int64), widths=[32, 16, 2])
    normal, other = rows(100, 3), np.random.default_rng(4).normal(size=(100, 6, 1, 1)).astype(np.float32)

    def scores(x: Any) -> Any:
        return ((predict(result.model, x) - x[:, :, 0, 0]) ** 2).mean(1)

    assert np.median(scores(other)) > 5 * np.median(scores(normal))
    assert {epoch.validation_accuracy_pct for epoch in result.history} == {None}
    best = result.history[result.best_epoch - 1]
    assert best.validation_loss == min(epoch.validation_loss for epoch in result.history)
    assert best.validation_loss == pytest.approx(float(scores(rows(100, 2)).mean()), rel=1e-4)


def test_a_value_is_learned() -> None:
    def value(x: Any) -> Any:
        return (np.abs(x[:, 0, 0, 0]) - 0.8).astype(np.float32)

    result = run("mlp", "regression", value, widths=[32, 16])
    unseen = rows(200, 5)
    error = np.abs(predict(result.model, unseen)[:, 0] - value(unseen)).mean()
    assert error < 0.2 * np.abs(value(unseen) - np.median(value(unseen))).mean()
    assert result.history[-1].validation_accuracy_pct is None


def test_weights_make_a_rare_class_count() -> None:
    generator = np.random.default_rng(0)
    labels = (np.arange(600) % 20 == 0).astype(np.int64)
    x = (generator.normal(size=(600, 4, 1, 1)) + 0.7 * labels[:, None, None, None]).astype(np.float32)
    recalls = []
    for weights in (None, (0.5, 10.0)):
        torch.manual_seed(0)
        model = build_model("mlp", (4, 1, 1), 2, widths=[8])
        plan = dataclasses.replace(PLAN, epochs=5, class_weights=weights)
        result = train(model, Samples(x, labels), Samples(x, labels), plan)
        recalls.append((predict(result.model, x).argmax(1) == 1)[labels == 1].mean())
    assert recalls[0] < 0.3 and recalls[1] > 0.6


def test_the_same_seed_gives_the_same_weights_for_every_objective() -> None:
    def once() -> str:
        result = run("autoencoder", "reconstruction", lambda x: np.zeros(len(x), dtype=np.int64), widths=[16, 2])
        return weights_sha256(result.model)

    assert once() == once()
