"""Your own network: a ``torch.nn.Module`` named ``package.module:Class`` in the recipe, with its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from edgewright.errors import StageError
from edgewright.pipeline.entry_points import current_folder_last, find_entry_point, first_line
from edgewright.pipeline.models.geometry import InputShape
from edgewright.pipeline.models.own_network import ENTRY_POINT_KEY, check_arguments, with_known


def build(
    input_shape: InputShape, outputs: int, entry_point: str, arguments: Mapping[str, Any] | None = None
) -> nn.Module:
    """Calls the class with the recipe's arguments.

    Args:
        input_shape: Channels, height, width of one sample; given to the class if it has a parameter of this name.
        outputs: Number of outputs; likewise, and as ``classes``.
        entry_point: ``package.module:Class``; modules are found where Python finds them, and last in the current folder.
        arguments: Keyword arguments of the class.

    Raises:
        StageError: No such module or class, not an ``nn.Module``, arguments that it does not take, or something that it
            raised; the message starts with the recipe's key.
    """
    found = find_class(entry_point)
    known = {"input_shape": input_shape, "classes": outputs, "outputs": outputs}
    given = with_known(found, arguments or {}, known)
    check_arguments(entry_point, found, given)
    with current_folder_last():
        try:
            return found(**given)
        except Exception as error:
            raise StageError(
                f"{ENTRY_POINT_KEY}: {entry_point} raised {first_line(error)}. Build it by itself with the same arguments "
                "to see where."
            ) from error


def find_class(entry_point: str) -> type[nn.Module]:
    """The class that an entry point names.

    Raises:
        StageError: No such module or class, or it is no ``nn.Module``.
    """
    try:
        found = find_entry_point(entry_point)
    except StageError as error:
        raise StageError(f"{ENTRY_POINT_KEY}: {error}") from error
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        what = f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
        raise StageError(
            f"{ENTRY_POINT_KEY}: {entry_point} is {what}, not a class of torch.nn.Module. Name such a class."
        )
    return found
