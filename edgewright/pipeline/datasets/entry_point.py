"""Your own data by a Python function: ``package.module:function``, called with the arguments that the recipe gives.

For what no file format here describes: a database, an installed package of data, a format of your own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from edgewright.errors import DataError, StageError
from edgewright.pipeline.datasets.arrays import dataset_from_arrays
from edgewright.pipeline.datasets.dataset import Dataset, check_every_class_present
from edgewright.pipeline.entry_points import current_folder_last, find_entry_point, first_line
from edgewright.preprocessing import SampleKind

_SHOWN_KEYS = 5


def load(
    entry_point: str,
    arguments: Mapping[str, Any] | None = None,
    kind: SampleKind = "image",
    name: str | None = None,
    values: bool = False,
) -> Dataset:
    """Call a function and check what it returns.

    Args:
        entry_point: ``package.module:function``; modules are found where Python finds them, and last in the current
            folder.
        arguments: Keyword arguments of the function.
        kind: How to read ``x`` where the function returns arrays.
        name: What the data set is called where the function returns arrays; None takes the function's name.
        values: Whether ``y`` holds values to be answered, not classes.

    Returns:
        The function's Dataset as it is, or one of its ``(x, y)`` or ``(x, y, group)``, by the rules of
        :func:`~edgewright.pipeline.datasets.arrays.dataset_from_arrays`.

    Raises:
        DataError: No such module or function, arguments that it does not take, something that it raised, or something
            else that it returned; the message names module and function.
    """
    given = dict(arguments or {})
    with current_folder_last():
        function = _find(entry_point)
        _check_arguments(entry_point, function, given)
        try:
            returned = function(**given)
        except (Exception, SystemExit) as error:
            raise DataError(
                f"{entry_point}: the function raised {first_line(error)}. "
                "Call it by itself with the same arguments to see where."
            ) from error
    if isinstance(returned, Dataset):
        return _checked(entry_point, returned, values)
    if isinstance(returned, tuple) and len(returned) in (2, 3):
        x, y, group = returned if len(returned) == 3 else (*returned, None)
        return dataset_from_arrays(name or entry_point.split(":")[1], entry_point, kind, x, y, group, values=values)
    raise DataError(
        f"{entry_point}: the function returned {_described(returned)}, needs to return a Dataset or a tuple (x, y) or "
        "(x, y, group) of numpy arrays. Change its return."
    )


def _find(entry_point: str) -> Callable[..., Any]:
    try:
        found = find_entry_point(entry_point)
    except StageError as error:
        raise DataError(f"{entry_point}: {error}") from error
    if not callable(found):
        raise DataError(f"{entry_point}: names {_described(found)}, not a function. Correct the name.")
    function: Callable[..., Any] = found
    return function


def _check_arguments(entry_point: str, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C do not tell; calling them will
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise DataError(
            f"{entry_point}: called with {sorted(arguments)}, but the function takes {signature} ({error}). "
            "Correct the arguments."
        ) from error


def _checked(entry_point: str, dataset: Dataset, values: bool) -> Dataset:
    if dataset.has_values != values:
        held, needed = ("values", "classes") if dataset.has_values else ("classes", "values")
        raise DataError(
            f"{entry_point}: the function returned a Dataset of {held}, the task asks for {needed}. Change task.kind, or "
            "what it returns."
        )
    check_every_class_present(dataset)
    return dataset


def _described(value: object) -> str:
    """Say what came back, e.g. ``a dict with the keys 'x', 'y'`` or ``a tuple of 4: ndarray, …``."""
    kind = type(value).__name__
    if value is None:
        return "None"
    if isinstance(value, dict):
        return f"a {kind} with the keys {', '.join(repr(key) for key in list(value)[:_SHOWN_KEYS])}"
    if isinstance(value, (tuple, list)):
        parts = ", ".join(type(part).__name__ for part in value[:_SHOWN_KEYS])
        return f"a {kind} of {len(value)}: {parts}"
    return f"one {kind}"
