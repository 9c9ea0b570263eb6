from __future__ import annotations

import gzip
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewright.device.samples import read_samples
from edgewright.errors import DataError
from edgewright.preprocessing import Preprocessing

GREY = Preprocessing((1, 3, 2), 1 / 255, (0.0,), (1.0,))
COLOUR = Preprocessing((3, 3, 2), 1 / 255, (0.0,) * 3, (1.0,) * 3)
THERMAL = Preprocessing((1, 3, 2), 1.0, (0.0,), (1.0,), "image", "float32")
WINDOW = Preprocessing((2, 1, 3), 1.0, (0.0,) * 2, (1.0,) * 2, "window", "float32")
ROW = Preprocessing((4, 1, 1), 1.0, (0.0,) * 4, (1.0,) * 4, "row", "float32")
RAW = np.arange(150 * 6, dtype=np.uint32).astype(np.uint8).reshape(150, 3, 2)


def idx(array: Any) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    data: bytes = header + array.tobytes()
    return data


def read(path: Path, preprocessing: Preprocessing = GREY) -> Any:
    batches = list(read_samples(path, preprocessing))
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
    np.save(tmp_path / "colour.npy", np.zeros((3, 2, 3), np.uint8))
    assert read(tmp_path / "colour.npy", COLOUR).shape == (1, 3, 2, 3)


def test_idx_also_compressed(tmp_path: Path) -> None:
    assert np.array_equal(read(write(tmp_path / "images-idx3-ubyte", idx(RAW))), RAW)
    assert np.array_equal(read(write(tmp_path / "images.gz", gzip.compress(idx(RAW)))), RAW)


def test_netpbm_and_pictures(tmp_path: Path) -> None:
    from PIL import Image

    grey, colour = RAW[0], np.arange(18, dtype=np.uint8).reshape(3, 2, 3)
    assert np.array_equal(read(write(tmp_path / "a.pgm", b"P5 2 3 255\n" + grey.tobytes())), grey[None])
    commented = b"P6\n# by hand\n2 3\n# more\n255\n" + colour.tobytes()
    assert np.array_equal(read(write(tmp_path / "a.ppm", commented), COLOUR), colour[None])
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png"), grey[None])
    Image.fromarray(colour).save(tmp_path / "c.png")
    assert np.array_equal(read(tmp_path / "c.png", COLOUR), colour[None])
    Image.fromarray(np.full((8, 8), 128, np.uint8)).save(tmp_path / "a.jpg")
    large = Preprocessing((1, 8, 8), 1 / 255, (0.0,), (1.0,))
    assert read(tmp_path / "a.jpg", large).shape == (1, 8, 8)


def test_a_picture_that_is_no_sample_costs_no_time(tmp_path: Path) -> None:
    """A few kilobytes may be an image of 64 megapixels: its size is compared before it is decoded."""
    from PIL import Image

    Image.new("L", (8192, 8192)).save(tmp_path / "a.png")
    start = time.process_time()
    with pytest.raises(DataError, match="8192 x 8192 pixels, too many for one sample"):
        read(tmp_path / "a.png")
    assert time.process_time() - start < 0.1


def test_the_contents_decide_and_not_the_name(tmp_path: Path) -> None:
    assert np.array_equal(read(write(tmp_path / "photo.png", idx(RAW))), RAW)


# ---- numbers


@pytest.mark.parametrize("preprocessing", [THERMAL, WINDOW, ROW], ids=["image", "window", "row"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int16, ">f4"])
def test_arrays_of_numbers_become_float32(tmp_path: Path, preprocessing: Preprocessing, dtype: Any) -> None:
    raw = np.arange(150 * np.prod(preprocessing.raw_shape)).reshape(150, *preprocessing.raw_shape).astype(dtype)
    np.save(tmp_path / "a.npy", raw)
    np.savez(tmp_path / "training.npz", x=raw, y=np.zeros(150), group=np.zeros(150))
    for name in ("a.npy", "training.npz"):
        found = read(tmp_path / name, preprocessing)
        assert found.dtype == np.float32
        assert np.array_equal(found, raw.astype(np.float32))
    np.save(tmp_path / "single.npy", raw[7])
    assert np.array_equal(read(tmp_path / "single.npy", preprocessing), raw[7:8].astype(np.float32))


def test_rows_come_from_csv_a_sample_per_line(tmp_path: Path) -> None:
    lines = "".join(f"{n},{n / 2},-1e-3, 4\n" for n in range(150))
    expected = np.array([[n, n / 2, -1e-3, 4] for n in range(150)], np.float32)
    assert np.array_equal(read(write(tmp_path / "plain.csv", lines.encode()), ROW), expected)
    headed = "\ufefftime,a2,a3,a4\r\n" + lines.replace("\n", "\r\n") + "\r\n"
    assert np.array_equal(read(write(tmp_path / "headed.csv", headed.encode()), ROW), expected)


def test_a_csv_file_is_one_window_a_moment_per_line(tmp_path: Path) -> None:
    path = write(tmp_path / "window.csv", b"ax,ay\n1,2\n3,4\n5,6\n")
    assert np.array_equal(read(path, WINDOW), [[[1, 2], [3, 4], [5, 6]]])


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
        (gzip.compress(idx(RAW), mtime=0)[:-9], "cannot be read|ends within"),
        (gzip.compress(b"just text", mtime=0), "not an IDX file"),
        (b"P5 2 3 65535\n" + bytes(12), "greatest value 65535"),
        (b"P5 2 3 255\n" + bytes(5), "5 bytes of pixels for 2 x 3"),
        (b"P5 x", "header"),
        (b"PK\x03\x04 torn", "cannot be read"),
        (b"\x89PNG\r\n\x1a\n torn", "cannot be read"),
    ],
)
def test_what_holds_no_bytes_is_one_clear_error(tmp_path: Path, data: bytes, rule: str) -> None:
    path = write(tmp_path / "file", data)
    with pytest.raises(DataError, match=rule) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("preprocessing", "data", "rule"),
    [
        (ROW, b"", "of no known kind for rows of float32"),
        (ROW, b"\x89PNG\r\n\x1a\n", "of no known kind"),
        (
            WINDOW,
            gzip.compress(idx(RAW), mtime=0),
            r"of no known kind for windows of float32\. Known: \.npy and \.npz, and CSV",
        ),
        (THERMAL, idx(RAW), r"of no known kind for images of float32. Known: .npy and .npz"),
        (THERMAL, b"1,2,3", "of no known kind"),
        (GREY, b"1,2\n", "of no known kind for images of uint8"),
        (ROW, npy(np.zeros((2, 4), complex)), "holds complex128, samples must be real numbers"),
        (ROW, npy(np.array([["1", "2", "3", "4"]])), "samples must be real numbers"),
        (ROW, npy(np.zeros((2, 4, 1))), r"shape \[2, 4, 1\], samples must be \[N, 4\]"),
        (WINDOW, npy(np.zeros((0, 3, 2))), "at least one"),
        (ROW, npy(np.array([[0, 0, 0, 0], [0, np.nan, 0, 0]])), "sample 1 holds NaN"),
        (WINDOW, npy(np.full((1, 3, 2), 1e39)), "sample 0 holds .* too large for float32"),
        (ROW, b"1,2,3\n", "line 1 must have 4 columns, found 3"),
        (ROW, b"a;b;c;d\n1;2;3;4\n", "line 2 must have 4 columns, found 1. Separate"),
        (ROW, b"1,2,3,4\n1,2,x,4\n", "line 2, column 3: 'x' is no number"),
        (ROW, b"1,2,3,4\n1,,3,4\n", "line 2, column 2: '' is no number"),
        (ROW, b"1,2,3,4_0\n", "column 4: '4_0' is no number"),
        (ROW, b"1,2,3,4\n" * 70 + b"1,2,inf,4\n", "sample 70 holds"),
        (ROW, b"1,2,3,1e39\n", "sample 0 holds .* too large for float32"),
        (ROW, b"only,a,header,here\n", "holds no line of numbers"),
        (ROW, b"1" * ((1 << 20) + 1), "line 1 is longer than 1048576 bytes"),
        (WINDOW, b"1,2\n3,4\n", "one window of 3 lines of numbers, found only 2"),
        (WINDOW, b"1,2\n" * 4, "one window of 3 lines of numbers, found more"),
        (WINDOW, b"\xff\xfe1,2\n", "is no number|holds no line"),
    ],
)
def test_what_holds_no_numbers_is_one_clear_error(
    tmp_path: Path, preprocessing: Preprocessing, data: bytes, rule: str
) -> None:
    path = write(tmp_path / "file", data)
    with pytest.raises(DataError, match=rule) as caught:
        read(path, preprocessing)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent cannot be read: No such file"):
        read(tmp_path / "absent")
    with pytest.raises(DataError, match="Is a directory"):
        read(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from([GREY, THERMAL, WINDOW, ROW]),
    st.sampled_from(
        [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x1f\x8b\x08", b"\x00\x00\x08\x03", b"P5 ", b"1,2,3,4\n"]
    ),
    st.binary(max_size=80) | st.text("0123456789.,e-+\n", max_size=40).map(str.encode),
)
def test_any_bytes_are_samples_or_a_clean_error(
    tmp_path: Path, preprocessing: Preprocessing, start: bytes, rest: bytes
) -> None:
    try:
        for batch in read_samples(write(tmp_path / "file", start + rest), preprocessing):
            assert batch.dtype == preprocessing.dtype
            assert np.isfinite(batch).all()
    except DataError:
        pass  # the only error that may come
