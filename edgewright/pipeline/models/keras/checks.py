"""Whether a Keras network fits its data and survives what a recipe asks for: by trial, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import tf_keras as keras

from edgewright.errors import Problem, StageError
from edgewright.pipeline.architecture import ArchitectureSettings, TaskKind
from edgewright.pipeline.models.geometry import InputShape
from edgewright.pipeline.models.keras.build import build_model
from edgewright.pipeline.pruning.keras import check_prunable
from edgewright.pipeline.variant_settings import PruneSettings


def check_network(
    architecture: ArchitectureSettings,
    input_shape: InputShape,
    outputs: int,
    task: TaskKind,
    prunes: Mapping[str, PruneSettings],
    aware: Sequence[str],
) -> list[Problem]:
    """Builds the network, lets it answer, and wraps it on trial for pruning and for training with INT8's rounding.

    The trials draw from the process's random numbers: set their seed again before building the network that is trained.

    Args:
        architecture: The recipe's section.
        input_shape: Channels, height, width of one sample.
        outputs: Number of outputs that the question needs.
        task: Kind of question.
        prunes: How the variants prune, by the key in the recipe, e.g. ``variants[2].prune``.
        aware: Keys of variants that train with rounding in place, e.g. ``variants[3].quantize.aware``.

    Returns:
        What is wrong; where the network cannot be built, that alone.
    """

    def make() -> keras.Model:
        return build_model(architecture.name, input_shape, outputs, task=task, **architecture.network_settings())

    try:
        make()
    except StageError as error:
        key, _, message = str(error).partition(": ")
        return [Problem(key, message)]
    trials: dict[str, Callable[[], object]] = {
        **{key: partial(check_prunable, make, settings) for key, settings in prunes.items()},
        **{key: partial(_check_aware, make, _pruned(key, prunes)) for key in aware},
    }
    problems = []
    for key, trial in trials.items():
        try:
            trial()
        except StageError as error:
            problems.append(Problem(key, str(error)))
    return problems


def _pruned(key: str, prunes: Mapping[str, PruneSettings]) -> bool:
    """Whether the variant of a key is pruned too."""
    return f"{key.partition('.')[0]}.prune" in prunes


def _check_aware(make: Callable[[], keras.Model], keep_zeros: bool) -> None:
    from edgewright.pipeline.quantization.aware import make_aware

    make_aware(make(), keep_zeros)
