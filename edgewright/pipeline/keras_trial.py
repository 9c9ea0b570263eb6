"""Whether a Keras network fits its data and survives what its variants ask for: by trial, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping

from edgewright.errors import EdgewrightError, Problem
from edgewright.pipeline.architecture import ArchitectureSettings, TaskKind
from edgewright.pipeline.models.geometry import InputShape
from edgewright.pipeline.progress import ProgressListener
from edgewright.pipeline.tensorflow_process import run_with_tensorflow, start_tensorflow
from edgewright.pipeline.variant_settings import PruneSettings, Variant

_DEADLINE_S = 300.0


def try_network(
    architecture: ArchitectureSettings,
    input_shape: InputShape,
    outputs: int,
    task: TaskKind,
    variants: Mapping[int, Variant],
) -> list[Problem]:
    """Builds a network and compresses it on trial, in a process of its own.

    Args:
        architecture: The recipe's section.
        input_shape: Channels, height, width of one sample.
        outputs: Number of outputs that the question needs.
        task: Kind of question.
        variants: The recipe's variants by their place; those of Keras are tried.
    """
    try:
        return run_with_tensorflow(
            _try_here,
            architecture,
            input_shape,
            outputs,
            task,
            prunes_of(variants),
            aware_of(variants),
            work="trial of the network",
            deadline_s=_DEADLINE_S,
        )
    except EdgewrightError as error:
        return [Problem("architecture", str(error))]


def prunes_of(variants: Mapping[int, Variant]) -> dict[str, PruneSettings]:
    """How Keras variants are pruned, by the recipe's key."""
    return {
        f"variants[{i}].prune": each.prune for i, each in variants.items() if each.framework == "keras" and each.prune
    }


def aware_of(variants: Mapping[int, Variant]) -> list[str]:
    """The recipe's keys of Keras variants that train with rounding in place."""
    return [f"variants[{i}].quantize.aware" for i, each in variants.items() if each.quantize and each.quantize.aware]


def _try_here(
    architecture: ArchitectureSettings,
    input_shape: InputShape,
    outputs: int,
    task: TaskKind,
    prunes: Mapping[str, PruneSettings],
    aware: list[str],
    *,
    on_progress: ProgressListener,
) -> list[Problem]:
    start_tensorflow(threads=1, seed=0)
    from edgewright.pipeline.models.keras.checks import check_network

    return check_network(architecture, input_shape, outputs, task, prunes, aware)
