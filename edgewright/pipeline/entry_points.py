"""Finds what a recipe names as ``package.module:name``, and says which sources stand behind it."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgewright.errors import StageError
from edgewright.pipeline.broken_rule import show_value

_FORM = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def check_form(entry_point: str) -> None:
    """Whether this is ``package.module:name``.

    Raises:
        StageError: It is not.
    """
    if not _FORM.fullmatch(entry_point):
        raise StageError(f"{show_value(entry_point)} is not an entry point. Write it as package.module:name.")


def find_entry_point(entry_point: str) -> Any:
    """The object that an entry point names; its module is imported.

    Args:
        entry_point: ``package.module:name``; modules are found where Python finds them, and last in the current folder.

    Raises:
        StageError: It is no entry point, or there is no such module or name.
    """
    module_name, name = _parts(entry_point)
    with current_folder_last():
        try:
            module = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:
            raise StageError(
                f'cannot import module "{module_name}" ({first_line(error)}). Install it, run where it lies, or '
                "correct its name."
            ) from error
    try:
        return getattr(module, name)
    except AttributeError:
        raise StageError(f'module "{module_name}" has no "{name}". Correct the name.') from None


def entry_point_sha256(entry_point: str) -> str:
    """sha256 over the sources behind an entry point, read and not imported.

    A package counts with all of its Python files; a single file counts with those that it imports from beside it.

    Raises:
        StageError: It is no entry point, or its module cannot be found.
    """
    top = _parts(entry_point)[0].split(".")[0]
    with current_folder_last():
        try:
            spec = importlib.util.find_spec(top)
        except ValueError:  # what is being run, and modules made by hand, have no sources
            spec = None
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        raise StageError(f'module "{top}" cannot be found. Install it, run where it lies, or correct its name.')
    if spec.submodule_search_locations:
        folders = [Path(folder) for folder in spec.submodule_search_locations]
        sources = {f"{file.relative_to(folder)}": file for folder in folders for file in folder.rglob("*.py")}
    elif spec.has_location and spec.origin is not None:
        sources = _beside(Path(spec.origin))
    else:
        raise StageError(f'module "{top}" is built into Python and has no source file. Name one of your own.')
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + hashlib.sha256(sources[name].read_bytes()).digest())
    return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """What other people's code raised, as one line: its class and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def current_folder_last() -> Iterator[None]:
    """Lets modules in the current folder be found, after all others, so that none of them hides an installed one."""
    folder = str(Path.cwd())
    if folder in sys.path:
        yield
        return
    sys.path.append(folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)


def _parts(entry_point: str) -> tuple[str, str]:
    check_form(entry_point)
    module_name, name = entry_point.split(":")
    return module_name, name


def _beside(start: Path) -> dict[str, Path]:
    """A module's file and those in its folder that it imports, directly or not."""
    found: dict[str, Path] = {}
    waiting = [start]
    while waiting:
        file = waiting.pop()
        name = f"{file.relative_to(start.parent)}"
        if name in found:
            continue
        found[name] = file
        if file.suffix != ".py":
            continue
        for module in _imported(file):
            place = start.parent / module
            waiting += [place.with_suffix(".py")] if place.with_suffix(".py").is_file() else sorted(place.rglob("*.py"))
    return found


def _imported(file: Path) -> list[str]:
    """Top-level names of what a file imports."""
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:  # importing it will say so, with the line
        return []
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return [name.split(".")[0] for name in names]
