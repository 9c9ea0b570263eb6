"""The Python that a base's makers built themselves: CPython in ``/usr/local``, and distributions that pip installed.

dpkg knows neither. What it does know, Debian's own Python and its ``dist-packages``, is not told twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from edgewright.pipeline.images.layer import Entry
from edgewright.pipeline.images.platform import PYTHON_VERSION
from edgewright.pipeline.images.python_metadata import PythonMetadata, read_metadata
from edgewright.pipeline.images.wheel_lock import normalised

_HEADER = f"usr/local/include/python{PYTHON_VERSION}/patchlevel.h"
_VERSION = re.compile(r'(?m)^#define\s+PY_VERSION\s+"([^"]+)"')
_DISTRIBUTION = re.compile(
    rf"usr/(local/)?lib/python(3|{re.escape(PYTHON_VERSION)})/(site|dist)-packages/[^/]+\.dist-info/METADATA"
)
_DPKGS = "usr/lib/python3/dist-packages/"


def tells_of_python(path: str) -> bool:
    """Say whether a file of a base is read here."""
    return path == _HEADER or (not path.startswith(_DPKGS) and _DISTRIBUTION.fullmatch(path) is not None)


def python_version(python: str, members: Mapping[str, Entry], environment: Mapping[str, str]) -> str:
    """Give the version of a base's own CPython: what its header says, else its makers' variable, else what its name says.

    Args:
        python: Path of the interpreter, without a leading slash.
        members: The base's files.
        environment: The base's variables.

    Returns:
        ``3.11.9``; empty where the interpreter is a package of the distribution, whose record has it.
    """
    if not python.startswith("usr/local/"):
        return ""
    header = members.get(_HEADER)
    if header is not None and header.kind == "file":
        found = _VERSION.search(header.read().decode("utf-8", "replace"))
        if found is not None:
            return found[1]
    return environment.get("PYTHON_VERSION") or PYTHON_VERSION


def python_packages(members: Mapping[str, Entry]) -> tuple[PythonMetadata, ...]:
    """Read the distributions that pip installed in a base, each once, in order of their paths.

    Args:
        members: The base's files.
    """
    found: dict[tuple[str, str], PythonMetadata] = {}
    for path, entry in sorted(members.items()):
        if entry.kind == "file" and path != _HEADER and tells_of_python(path):
            metadata = read_metadata(entry.read())
            if metadata.name:
                licence = metadata.licence or f"see the licence files in /{path.rpartition('/')[0]}"
                found.setdefault((normalised(metadata.name), metadata.version), replace(metadata, licence=licence))
    return tuple(found.values())
