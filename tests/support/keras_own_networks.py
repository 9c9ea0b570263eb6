"""What the tests of Keras networks of one's own ask in a TensorFlow process: whether they are built and pass the trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgewright.errors import StageError
from edgewright.pipeline.architecture import ArchitectureSettings
from edgewright.pipeline.progress import ProgressListener, ignore_progress
from edgewright.pipeline.variant_settings import PruneSettings

SHAPE, CLASSES = (3, 8, 10), 5
"""Channels, height, width of a sample, and the number of classes."""


@dataclass(frozen=True)
class Trial:
    """One check before a training.

    Attributes:
        architecture: The network.
        prunes: How the variants prune, by key.
        aware: Keys of variants that train with rounding in place.
    """

    architecture: ArchitectureSettings
    prunes: Mapping[str, PruneSettings] = field(default_factory=dict)
    aware: Sequence[str] = ()


@dataclass(frozen=True)
class Found:
    """What came of it.

    Attributes:
        built: By name: the shape that a network answers two samples with, or the message that refuses it.
        arguments: What the networks that remember it were called with, by name.
        problems: By name: keys and messages of a trial's problems.
        path_kept: Whether the search path for modules was left as it was.
    """

    built: dict[str, tuple[int, ...] | str]
    arguments: dict[str, dict[str, Any]]
    problems: dict[str, list[tuple[str, str]]]
    path_kept: bool


def try_networks(
    entry_points: Mapping[str, tuple[str, dict[str, Any]]],
    trials: Mapping[str, Trial],
    on_progress: ProgressListener = ignore_progress,
) -> Found:
    """Builds all entry points, with their arguments, and makes all trials, in one process."""
    from edgewright.pipeline.tensorflow_process import start_tensorflow

    start_tensorflow(threads=1, seed=3)
    import sys

    from edgewright.pipeline.models.keras.build import build_model
    from edgewright.pipeline.models.keras.checks import check_network

    before = list(sys.path)
    built: dict[str, tuple[int, ...] | str] = {}
    arguments: dict[str, dict[str, Any]] = {}
    for name, (entry_point, given) in entry_points.items():
        try:
            model = build_model("entry_point", SHAPE, CLASSES, entry_point=entry_point, arguments=given)
        except StageError as error:
            built[name] = str(error)
            continue
        built[name] = tuple(model.output_shape)
        arguments[name] = dict(getattr(model, "called_with", {}))
    problems = {
        name: [
            (problem.key, problem.message)
            for problem in check_network(
                trial.architecture, SHAPE, CLASSES, "classification", trial.prunes, trial.aware
            )
        ]
        for name, trial in trials.items()
    }
    return Found(built, arguments, problems, sys.path == before)
