"""One npz of your own: x, y, perhaps group, nothing else and no pickle."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.errors import DataError
from edgewright.pipeline.datasets import npz_file

IMAGES = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4)
ARRAYS = {"x": IMAGES, "y": np.array([0, 1] * 3)}


def saved(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "parts.npz", **(arrays or ARRAYS))
    return folder / "parts.npz"


def test_images_labels_and_groups_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path, **ARRAYS, group=np.array(list("aabbcc")))
    dataset = npz_file.load(path, "image", labels_names=("whole", "cracked"))
    assert (dataset.name, dataset.source) == ("parts", str(path))
    assert np.array_equal(dataset.images, IMAGES)
    assert dataset.groups == ("a", "a", "b", "b", "c", "c")
    assert dataset.labels_names == ("whole", "cracked")


@pytest.mark.parametrize(("kind", "shape"), [("window", (6, 4, 2)), ("row", (6, 8)), ("image", (6, 2, 2, 2))])
def test_the_kind_is_said_not_guessed(tmp_path: Path, kind: Any, shape: tuple[int, ...]) -> None:
    x = np.arange(48, dtype=np.float32).reshape(shape)
    dataset = npz_file.load(saved(tmp_path, x=x, y=ARRAYS["y"]), kind, name="own")
    assert (dataset.name, dataset.kind, dataset.images.shape) == ("own", kind, shape)


def test_the_file_is_digested_as_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert npz_file.source_sha256(path) == {"parts.npz": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES}, r"holds \['x'\] but not y"),
        ({"images": IMAGES, "labels": ARRAYS["y"]}, "but not x and y"),
        ({**ARRAYS, "groups": ARRAYS["y"]}, r"holds \['groups'\], which nothing reads: known are x, y, group"),
        ({**ARRAYS, "boxes": ARRAYS["y"]}, r"holds \['boxes'\], which nothing reads"),
        ({"x": np.array([None] * 6), "y": ARRAYS["y"]}, "not a readable npz without pickle"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"parts\.npz: .*{message}"):
        npz_file.load(saved(tmp_path, **arrays), "image")


class Boom:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"text", pickle.dumps(Boom())])
def test_what_is_no_npz_is_refused_and_never_run(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "parts.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"parts\.npz: not a readable npz without pickle"):
        npz_file.load(path, "image")


def test_a_damaged_or_absent_or_single_array_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF  # within x: the checksum of the zip no longer holds
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a readable npz"):
        npz_file.load(path, "image")
    np.save(tmp_path / "x.npy", IMAGES)
    with pytest.raises(DataError, match=r"x\.npy: a single array, needs an npz of x and y"):
        npz_file.load(tmp_path / "x.npy", "image")
    with pytest.raises(DataError, match=r"absent\.npz: no such file"):
        npz_file.load(tmp_path / "absent.npz", "image")
    with pytest.raises(DataError, match=r"absent\.npz: no such file"):
        npz_file.source_sha256(tmp_path / "absent.npz")
