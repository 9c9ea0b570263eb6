"""Your own Keras network: a function or class ``package.module:name`` in the recipe, with its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tf_keras as keras

from edgewright.errors import StageError
from edgewright.pipeline.entry_points import current_folder_last, find_entry_point, first_line
from edgewright.pipeline.models.geometry import InputShape
from edgewright.pipeline.models.own_network import ENTRY_POINT_KEY, check_arguments, with_known


def build(
    input_shape: InputShape, outputs: int, entry_point: str, arguments: Mapping[str, Any] | None = None
) -> keras.Model:
    """Calls the function or class with the recipe's arguments.

    Args:
        input_shape: Channels, height, width of one sample; given as ``(height, width, channels)``, Keras' order, if there is
            a parameter of this name.
        outputs: Number of outputs; likewise, and as ``classes``.
        entry_point: ``package.module:name``; modules are found where Python finds them, and last in the current folder.
        arguments: Keyword arguments.

    Raises:
        StageError: No such module or name, nothing that can be called, arguments that it does not take, something that it
            raised, or an answer that is no ``tf_keras.Model``; the message starts with the recipe's key.
    """
    found = _find(entry_point)
    channels, height, width = input_shape
    known = {"input_shape": (height, width, channels), "classes": outputs, "outputs": outputs}
    given = with_known(found, arguments or {}, known)
    check_arguments(entry_point, found, given)
    with current_folder_last():
        try:
            model = found(**given)
        except Exception as error:
            raise StageError(
                f"{ENTRY_POINT_KEY}: {entry_point} raised {first_line(error)}. Build it by itself with the same arguments "
                "to see where."
            ) from error
    if not isinstance(model, keras.Model):
        raise StageError(f"{ENTRY_POINT_KEY}: {entry_point} gives {_what(model)}")
    return model


def _find(entry_point: str) -> Callable[..., Any]:
    try:
        found = find_entry_point(entry_point)
    except StageError as error:
        raise StageError(f"{ENTRY_POINT_KEY}: {error}") from error
    if not callable(found):
        raise StageError(
            f"{ENTRY_POINT_KEY}: {entry_point} is a {type(found).__name__}, not a function or class that gives a "
            "tf_keras.Model. Name such a one."
        )
    made: Callable[..., Any] = found
    return made


def _what(model: Any) -> str:
    """What was given instead of a model, and what to do."""
    if any(parent.__module__.partition(".")[0] == "keras" for parent in type(model).__mro__):
        return (
            "a model of Keras 3, which cannot be pruned or trained for quantization. Build it from tf_keras "
            "(import tf_keras as keras)."
        )
    return f"a {type(model).__name__}, not a tf_keras.Model. Let it give one."
