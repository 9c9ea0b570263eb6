"""What a network of your own is called with, whatever framework it is written for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from edgewright.errors import StageError
from edgewright.pipeline.architecture import TaskKind

ENTRY_POINT_KEY, ARGUMENTS_KEY = "architecture.entry_point", "architecture.arguments"

# What the outputs are, and what to do where there are others, by kind of question.
NEEDED_OUTPUTS: Mapping[TaskKind, str] = MappingProxyType(
    {
        "classification": "one score for each of the {outputs} classes. Correct its last layer",
        "anomaly": "the sample itself, flattened. Let it reproduce its input",
        "regression": "one value. Correct its last layer",
    }
)


def with_known(found: Callable[..., Any], arguments: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's arguments, and what the data says where the network asks for it by name and the recipe does not say.

    Args:
        found: The class or function that builds the network.
        arguments: The recipe's.
        known: What the data says, by name of a parameter.
    """
    wanted = inspect.signature(found).parameters
    return {name: value for name, value in known.items() if name in wanted} | dict(arguments)


def check_arguments(entry_point: str, found: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Whether a class or function takes these arguments.

    Raises:
        StageError: It does not.
    """
    signature = inspect.signature(found)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise StageError(
            f"{ARGUMENTS_KEY}: {entry_point} takes {signature} and was given {', '.join(sorted(arguments)) or 'nothing'} "
            f"({error}). Correct the arguments."
        ) from error
