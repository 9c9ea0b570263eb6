"""Whether a network fits its data and survives the pruning that a recipe asks for: by trial, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from edgewright.errors import Problem, StageError
from edgewright.pipeline.architecture import ArchitectureSettings, TaskKind
from edgewright.pipeline.models.geometry import InputShape
from edgewright.pipeline.models.pytorch import build_model
from edgewright.pipeline.pruning.pytorch import check_prunable


def check_network(
    architecture: ArchitectureSettings,
    input_shape: InputShape,
    outputs: int,
    sparsities: Mapping[str, float],
    task: TaskKind = "classification",
) -> list[Problem]:
    """Builds the network, lets it answer, and prunes it on trial.

    Args:
        architecture: The recipe's section.
        input_shape: Channels, height, width of one sample.
        outputs: Number of outputs that the question needs.
        sparsities: Share of channels to be removed, by the key in the recipe, e.g. ``variants[2].prune``.
        task: Kind of question, for messages.

    Returns:
        What is wrong; where the network cannot be built, that alone.
    """

    def make() -> nn.Module:
        settings = architecture.network_settings()
        return build_model(architecture.name, input_shape, outputs, task=task, **settings)

    # Trials must not move the random numbers that the training starts from.
    with torch.random.fork_rng(devices=[]):
        try:
            make()
        except StageError as error:
            key, _, message = str(error).partition(": ")
            return [Problem(key, message)]
        problems = []
        for key, sparsity in sparsities.items():
            try:
                check_prunable(make, torch.zeros(1, *input_shape), sparsity)
            except StageError as error:
                problems.append(Problem(key, str(error)))
    return problems
