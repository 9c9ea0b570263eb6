"""Python's bytecode for an image: compiled here, the same bytes every time, never compared with its source again.

A device that starts without bytecode compiles everything it imports, each time: its file system is read-only. The ``.pyc``
files carry the hash of their source, unchecked (PEP 552): no time stamp that a layer's own would contradict.
"""

from __future__ import annotations

import importlib.util
import marshal
import sys
import warnings
from functools import lru_cache
from pathlib import PurePosixPath

from edgewright.errors import ImageError
from edgewright.pipeline.images.platform import PYTHON_VERSION

TAG = f"cpython-{PYTHON_VERSION.replace('.', '')}"
_UNCHECKED_HASH = (1).to_bytes(4, "little")
# Later versions of the format mark every object that happens to be shared within the compiling process, so the bytes depend
# on what that has imported before. Version 2 marks none; it is 17 % larger, 2 % after compression.
_MARSHAL_VERSION = 2
_MOST_KEPT = 8_000  # of one index: two platforms with the same sources are compiled once


def bytecode_path(source: str) -> str:
    """Where Python looks for the bytecode of a source: ``a/b.py`` gives ``a/__pycache__/b.cpython-311.pyc``."""
    path = PurePosixPath(source)
    return str(path.parent / "__pycache__" / f"{path.stem}.{TAG}.pyc")


@lru_cache(maxsize=_MOST_KEPT)
def bytecode(source: bytes, path: str) -> bytes | None:
    """Compile a source file.

    Args:
        source: Its bytes.
        path: Where it will stand in the image, absolute; tracebacks show it.

    Returns:
        Bytes of the ``.pyc`` file; None where the source is no Python of this version, as templates are.

    Raises:
        ImageError: This process runs another version of Python than the image will, or one that leaves out columns.
    """
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if running != PYTHON_VERSION:
        raise ImageError(
            f"an image's bytecode is for Python {PYTHON_VERSION}, this is {running}: build with {PYTHON_VERSION}."
        )
    if not _has_columns():
        raise ImageError(
            "this Python leaves the columns of expressions out of bytecode, so an image's would be other than elsewhere: "
            "unset PYTHONNODEBUGRANGES, start Python without -X no_debug_ranges, and build again."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's sources
            code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        return None
    return b"".join(
        (
            importlib.util.MAGIC_NUMBER,
            _UNCHECKED_HASH,
            importlib.util.source_hash(source),
            marshal.dumps(code, _MARSHAL_VERSION),
        )
    )


def _has_columns() -> bool:
    """Whether what is compiled says where in its line an expression stands: a switch of the process decides it."""
    return all(column is not None for *_, column in compile("1", "", "eval", dont_inherit=True).co_positions())
