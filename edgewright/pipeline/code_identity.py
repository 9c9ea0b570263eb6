"""What code makes a result: the sources of a module and of all it imports here, and the versions of its tools.

Sources are read, never imported: asking whether a training must run again must not load the framework that trains.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from edgewright.errors import StageError

# The folder that holds the package.
_ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = "edgewright"
# Python 3.11 counts the depth of the trees that it builds for all threads together: two that parse at once fail now and then
# with "AST constructor recursion depth mismatch".
_parsing = threading.Lock()


def tool_versions(tools: Sequence[str]) -> dict[str, str]:
    """Installed versions of distributions, by name.

    Raises:
        StageError: One is not installed.
    """
    return {tool: _version(tool) for tool in sorted(tools)}


@cache
def _version(tool: str) -> str:
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        raise StageError(
            f"{tool}, which a stage works with, is not installed: pip install 'edgewright[pipeline]'"
        ) from None


@cache
def code_digest(module: str) -> str:
    """sha256 over the sources of a module of this package and of every one that it imports, directly or not.

    Raises:
        StageError: There is no such module.
    """
    sources: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in sources:
            continue
        file = _source_file(name)
        if file is None:
            raise StageError(f"module {name}, whose code makes a stage's result, cannot be found.")
        sources[name] = file.read_bytes()
        waiting += _imported(sources[name])
        waiting += [name.rpartition(".")[0]] if "." in name else []  # importing a module runs its package first
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + hashlib.sha256(sources[name]).digest())
    return digest.hexdigest()


@cache
def package_digest() -> str:
    """sha256 over all sources of this package: whether two machines run the same code."""
    digest = hashlib.sha256()
    for path in sorted((_ROOT / _PACKAGE).rglob("*.py")):
        place = path.relative_to(_ROOT).as_posix()
        digest.update(place.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _imported(source: bytes) -> list[str]:
    found = []
    with _parsing:
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # What is imported from a package may be a module of it or a name in it.
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in found if _source_file(name) is not None]


def _source_file(module: str) -> Path | None:
    if module.split(".")[0] != _PACKAGE:
        return None
    place = _ROOT.joinpath(*module.split("."))
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)
