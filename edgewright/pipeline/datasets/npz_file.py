"""Your own data in one ``.npz``: ``x``, ``y`` and, where samples belong together, ``group``. Nothing else, no pickle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgewright.errors import DataError
from edgewright.pipeline.datasets.arrays import dataset_from_arrays
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.shipped import file_sha256
from edgewright.preprocessing import SampleKind

_NEEDED = ("x", "y")
_KNOWN = (*_NEEDED, "group")


def load(
    path: Path,
    kind: SampleKind,
    name: str | None = None,
    labels_names: tuple[str, ...] | None = None,
    channel_names: tuple[str, ...] | None = None,
    values: bool = False,
) -> Dataset:
    """Load one file.

    Args:
        path: Made with ``numpy.savez(path, x=…, y=…, group=…)``.
        kind: Whether ``x`` holds images (uint8 or float32 ``[N, H, W]`` or ``[N, H, W, C]``), windows (float32
            ``[N, T, C]``) or rows (float32 ``[N, F]``).
        name: What the data set is called; None takes the file's name.
        labels_names: One name per integer in ``y``; None takes the numbers, or ``y``'s texts.
        channel_names: One name per channel; None where they have none.
        values: Whether ``y`` holds values to be answered, not classes.

    Raises:
        DataError: The file is absent, damaged, holds objects or unknown arrays, or its content breaks a rule of
            :func:`~edgewright.pipeline.datasets.arrays.dataset_from_arrays`.
    """
    _check_file(path)
    try:
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: a single array, needs an npz of x and y. Make it with numpy.savez.")
            _check_names(path, arrays.files)
            found = {key: arrays[key] for key in arrays.files}
    except DataError:
        raise
    except (
        Exception
    ) as error:  # a damaged archive makes its readers raise nearly anything, zlib's and the tokenizer's too
        raise DataError(
            f"{path}: not a readable npz without pickle ({type(error).__name__}: {error}). "
            "Make it with numpy.savez from arrays of numbers and texts."
        ) from error
    return dataset_from_arrays(
        name or path.stem,
        str(path),
        kind,
        found["x"],
        found["y"],
        found.get("group"),
        labels_names,
        channel_names,
        values,
    )


def source_sha256(path: Path) -> dict[str, str]:
    """Digest the file that ``load`` would read, without decoding it.

    Returns:
        sha256 (hex) by file name.

    Raises:
        DataError: The file is absent.
    """
    _check_file(path)
    return {path.name: file_sha256(path)}


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file, needs an npz of x and y. Correct the path.")


def _check_names(path: Path, names: list[str]) -> None:
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise DataError(
            f"{path}: holds {sorted(names)} but not {' and '.join(missing)}. Store samples as x, labels as y."
        )
    unknown = sorted(set(names) - set(_KNOWN))
    if unknown or len(set(names)) != len(names):
        raise DataError(
            f"{path}: holds {unknown or 'an array twice'}, which nothing reads: known are {', '.join(_KNOWN)}. "
            "Correct the name or leave the array out."
        )
