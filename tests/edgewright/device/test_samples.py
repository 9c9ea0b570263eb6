from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewright.device.samples import read_samples
from edgewright.errors import DataError

RAW = np.arange(150 * 6, dtype=np.uint32).astype(np.uint8).reshape(150, 3, 2)


def idx(array: Any) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    data: bytes = header + array.tobytes()
    return data


def read(path: Path) -> Any:
    batches = list(read_samples(path))
    assert max(len(batch) for batch in batches) <= 64, "a file is never held whole"
    return np.concatenate(batches)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_npy_and_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RAW)
    np.savez(tmp_path / "one.npz", anything=RAW)
    np.savez(tmp_path / "two.npz", images=RAW, labels=np.zeros(150))
    for name in ("a.npy", "one.npz", "two.npz"):
        assert np.array_equal(read(tmp_path / name), RAW)
    np.save(tmp_path / "single.npy", RAW[0])
    assert read(tmp_path / "single.npy").shape == (1, 3, 2)


def test_idx_also_compressed(tmp_path: Path) -> None:
    assert np.array_equal(read(write(tmp_path / "images-idx3-ubyte", idx(RAW))), RAW)
    assert np.array_equal(read(write(tmp_path / "images.gz", gzip.compress(idx(RAW)))), RAW)


def test_netpbm_and_pictures(tmp_path: Path) -> None:
    from PIL import Image

    grey, colour = RAW[0], np.arange(18, dtype=np.uint8).reshape(3, 2, 3)
    assert np.array_equal(read(write(tmp_path / "a.pgm", b"P5 2 3 255\n" + grey.tobytes())), grey[None])
    commented = b"P6\n# by hand\n2 3\n# more\n255\n" + colour.tobytes()
    assert np.array_equal(read(write(tmp_path / "a.ppm", commented)), colour[None])
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png"), grey[None])
    Image.fromarray(colour).save(tmp_path / "c.png")
    assert np.array_equal(read(tmp_path / "c.png"), colour[None])
    Image.fromarray(np.full((8, 8), 128, np.uint8)).save(tmp_path / "a.jpg")
    assert read(tmp_path / "a.jpg").shape == (1, 8, 8)


def test_the_contents_decide_and_not_the_name(tmp_path: Path) -> None:
    assert np.array_equal(read(write(tmp_path / "photo.png", idx(RAW))), RAW)


def test_without_pillow_a_picture_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="needs Pillow, which is not installed"):
        read(write(tmp_path / "a.png", b"\x89PNG\r\n\x1a\n"))


def npy(array: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "of no known kind"),
        (b"%PDF-1.7 and more", "of no known kind"),
        (npy(RAW.astype(np.float32)), "holds float32"),
        (npy(np.zeros(5, np.uint8)), r"shape \[5\]"),
        (npy(np.zeros((0, 3, 2), np.uint8)), "shape"),
        (npy(np.array([{}], object)), "cannot be read"),
        (npy(RAW)[:-9], "cannot be read"),
        (idx(RAW)[:-9], "ends within sample 148 of 150"),
        (idx(RAW[:, 0, 0]), "holds labels"),
        (idx(np.zeros((3, 0, 2), np.uint8)), "damaged"),
        (gzip.compress(idx(RAW))[:-9], "cannot be read|ends within"),
        (gzip.compress(b"just text"), "not an IDX file"),
        (b"P5 2 3 65535\n" + bytes(12), "greatest value 65535"),
        (b"P5 2 3 255\n" + bytes(5), "5 bytes of pixels for 2 x 3"),
        (b"P5 x", "header"),
        (b"PK\x03\x04 torn", "cannot be read"),
        (b"\x89PNG\r\n\x1a\n torn", "cannot be read"),
    ],
)
def test_what_holds_no_samples_is_one_clear_error(tmp_path: Path, data: bytes, rule: str) -> None:
    path = write(tmp_path / "file", data)
    with pytest.raises(DataError, match=rule) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent cannot be read: No such file"):
        read(tmp_path / "absent")
    with pytest.raises(DataError, match="Is a directory"):
        read(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x1f\x8b\x08", b"\x00\x00\x08\x03", b"P5 "]),
    st.binary(max_size=80),
)
def test_any_bytes_are_samples_or_a_clean_error(tmp_path: Path, start: bytes, rest: bytes) -> None:
    try:
        for batch in read_samples(write(tmp_path / "file", start + rest)):
            assert batch.dtype == np.uint8
    except DataError:
        pass  # the only error that may come
