"""What a training makes small: one loss per kind of question, and what a teacher adds to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from edgewright.pipeline.training.plan import Objective


@dataclass(frozen=True)
class Teacher:
    """A trained model whose answers are learned as well as the labels (Hinton et al. 2015).

    Attributes:
        model: The teacher; another object than the model that is trained, for the same inputs and outputs.
        temperature: Divides both models' scores before they are compared; of use where there are classes.
        weight: Share of the teacher's answers in the loss, in 0..1; the labels have the rest.
    """

    model: nn.Module
    temperature: float
    weight: float


@dataclass(frozen=True)
class Loss:
    """The loss of one training.

    Attributes:
        objective: classification: cross entropy in nats; reconstruction: mean squared difference to the sample itself;
            regression: Huber loss of the standardised value, which errs by the square near the truth and by the amount far
            from it, so that single wild labels do not rule.
        class_weights: float32 ``[K]``, how much a sample of each class counts; None where all count alike.
    """

    objective: Objective
    class_weights: torch.Tensor | None = None

    def of(self, outputs: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean loss of a batch.

        Args:
            outputs: float32 ``[N, K]``, what the model answered.
            inputs: float32 ``[N, C, H, W]``, what it was given.
            labels: int64 ``[N]``, or float32 ``[N]`` for regression; not looked at for reconstruction.
        """
        if self.objective == "reconstruction":
            return nn.functional.mse_loss(outputs, inputs.flatten(1))
        if self.objective == "regression":
            return nn.functional.huber_loss(outputs.squeeze(1), labels)
        return nn.functional.cross_entropy(outputs, labels, weight=self.class_weights)

    def taught(
        self, outputs: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor, teacher: Teacher
    ) -> torch.Tensor:
        """The mean loss of a batch, of which the teacher's answers are a share.

        Classes: Kullback-Leibler divergence of the softened probabilities, times the square of the temperature, which keeps
        its gradients as large as those of the labels. Otherwise: mean squared difference to the teacher's outputs.
        """
        with torch.no_grad():
            answers = teacher.model(inputs)
        if self.objective == "classification":
            softened, expected = (
                torch.log_softmax(scores / teacher.temperature, dim=1) for scores in (outputs, answers)
            )
            divergence = nn.functional.kl_div(softened, expected, reduction="batchmean", log_target=True)
            follow = teacher.temperature**2 * divergence
        else:
            follow = nn.functional.mse_loss(outputs, answers)
        return (1 - teacher.weight) * self.of(outputs, inputs, labels) + teacher.weight * follow
