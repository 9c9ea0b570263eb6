"""Your own data by a Python function: ``package.module:function``, called with the arguments that the recipe gives.

For what no file format here describes: a database, an installed package of data, a format of your own.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgewright.errors import DataError
from edgewright.pipeline.datasets.arrays import dataset_from_arrays
from edgewright.pipeline.datasets.dataset import Dataset, Kind, check_every_class_present, content_sha256

_FORM = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_SHOWN_KEYS = 5


def load(
    entry_point: str, arguments: Mapping[str, Any] | None = None, kind: Kind = "image", name: str | None = None
) -> Dataset:
    """Call a function and check what it returns.

    Args:
        entry_point: ``package.module:function``; modules are found where Python finds them, and last in the current
            folder.
        arguments: Keyword arguments of the function.
        kind: How to read ``x`` where the function returns arrays.
        name: What the data set is called where the function returns arrays; None takes the function's name.

    Returns:
        The function's Dataset as it is, or one of its ``(x, y)`` or ``(x, y, group)``, by the rules of
        :func:`~edgewright.pipeline.datasets.arrays.dataset_from_arrays`.

    Raises:
        DataError: No such module or function, arguments that it does not take, something that it raised, or something
            else that it returned; the message names module and function.
    """
    given = dict(arguments or {})
    with _current_folder_last():
        function = _find(entry_point)
        _check_arguments(entry_point, function, given)
        try:
            returned = function(**given)
        except (Exception, SystemExit) as error:
            raise DataError(
                f"{entry_point}: the function raised {type(error).__name__}: {error}. "
                "Call it by itself with the same arguments to see where."
            ) from error
    if isinstance(returned, Dataset):
        check_every_class_present(returned)
        return returned
    if isinstance(returned, tuple) and len(returned) in (2, 3):
        return dataset_from_arrays(name or entry_point.split(":")[1], entry_point, kind, *returned)
    raise DataError(
        f"{entry_point}: the function returned {_described(returned)}, needs to return a Dataset or a tuple (x, y) or "
        "(x, y, group) of numpy arrays. Change its return."
    )


def source_sha256(
    entry_point: str, arguments: Mapping[str, Any] | None = None, kind: Kind = "image", name: str | None = None
) -> dict[str, str]:
    """Digest what the function returns: it is run, because no file says what it would return.

    Returns:
        sha256 (hex) of the content, by entry point.

    Raises:
        DataError: As ``load``.
    """
    return {entry_point: content_sha256(load(entry_point, arguments, kind, name))}


def _find(entry_point: str) -> Callable[..., Any]:
    if not _FORM.fullmatch(entry_point):
        raise DataError(f'"{entry_point}" is not an entry point, needs the form package.module:function.')
    module_name, function_name = entry_point.split(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise DataError(
            f'{entry_point}: cannot import module "{module_name}" ({type(error).__name__}: {error}). Install it, run where '
            "it lies, or correct its name."
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        what = "has no" if function is None else f"has {_described(function)}, not a function, named"
        raise DataError(f'{entry_point}: module "{module_name}" {what} "{function_name}". Correct the name.')
    found: Callable[..., Any] = function
    return found


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


@contextmanager
def _current_folder_last() -> Iterator[None]:
    """Let modules in the current folder be found, after all others, so that none of them hides an installed one."""
    folder = str(Path.cwd())
    if folder in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


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
