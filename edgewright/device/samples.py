"""Raw samples from files, a few at a time: a device's memory does not grow with the file.

What a file may be follows from what the model takes: images of bytes come in the usual formats of pictures, floating-point
samples as arrays of numbers or, where they are windows or rows, as CSV.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from edgewright.device.csv_samples import read_csv
from edgewright.errors import DataError
from edgewright.preprocessing import Preprocessing, refuse_broken_samples

Samples = NDArray[Any]
_Reader = Callable[[Path, Preprocessing], Iterator[Samples]]
_BATCH = 64
_HEADER_BYTES = 512  # a PGM or PPM header with a long comment fits
_IMAGE_MAX_BYTES = 64 << 20  # an image of 20 megapixels
_NETPBM = re.compile(rb"(P[56])(?:\s+|#[^\n]*\n)+(\d+)(?:\s+|#[^\n]*\n)+(\d+)(?:\s+|#[^\n]*\n)+(\d+)\s")
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
# Names of the array with the samples, in files that hold more: "x" is what training data calls it.
_ARRAY_NAMES = ("samples", "images", "x")
# What gzip, zip, numpy and Pillow raise about damaged files; MemoryError for a header that promises too much.
_DAMAGE = (OSError, EOFError, ValueError, RuntimeError, MemoryError, KeyError, zlib.error, struct.error, BadZipFile)
_KNOWN_BYTES = ".npy, .npz, IDX (also .gz), binary PGM and PPM, PNG and JPEG"
_KNOWN_FLOATS = ".npy and .npz"


def read_samples(path: Path, preprocessing: Preprocessing) -> Iterator[Samples]:
    """Yield the raw samples of a file in batches: ``[N, *raw_shape]`` of the model's dtype.

    An array with the dimensions of one sample is one sample. Bytes are never scaled or converted, and numbers only become
    float32: a model answers about what it was trained on. Whether the shape is the model's, its preprocessing says.

    Args:
        path: The file. For uint8: .npy, .npz, IDX (also compressed), PGM, PPM, PNG, JPEG. For float32: .npy and .npz of
            any real numbers; rows also as CSV, one sample per line; a window also as CSV, one moment per line, the
            oldest first.
        preprocessing: What the model takes.

    Raises:
        DataError: The file is missing, damaged, of an unknown kind, or holds no such samples; or a number is missing,
        infinite, or beyond what float32 holds.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
        yield from _reader(start, path, preprocessing)(path, preprocessing)
    except _DAMAGE as cause:
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        raise DataError(f"{path} cannot be read: {reason}.") from cause


def _reader(start: bytes, path: Path, preprocessing: Preprocessing) -> _Reader:
    """Choose by the contents, not by the name."""
    if start.startswith(b"\x93NUMPY"):
        return _read_npy
    if start.startswith(_ZIP):
        return _read_npz
    if preprocessing.kind != "image":
        if start and b"\x00" not in start and not start.startswith((b"\x1f\x8b", b"\x89PNG", b"\xff\xd8\xff")):
            return _read_table
        known = f"{_KNOWN_FLOATS}, and CSV"
    elif preprocessing.dtype == "float32":
        known = _KNOWN_FLOATS
    else:
        if start.startswith((b"\x1f\x8b", b"\x00\x00\x08")):
            return _read_idx
        if start[:2] in (b"P5", b"P6"):
            return _read_netpbm
        if start.startswith((b"\x89PNG", b"\xff\xd8\xff")):
            return _read_with_pillow
        known = _KNOWN_BYTES
    raise DataError(f"{path} is of no known kind for {preprocessing.kind}s of {preprocessing.dtype}. Known: {known}.")


def _read_npy(path: Path, preprocessing: Preprocessing) -> Iterator[Samples]:
    # Mapped, not read: only the batches that are asked for enter the memory.
    yield from _batches(np.load(path, mmap_mode="r", allow_pickle=False), path, preprocessing)


def _read_npz(path: Path, preprocessing: Preprocessing) -> Iterator[Samples]:
    # The stream is opened here: numpy leaves its own open when the archive is damaged.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        names = [name for name in _ARRAY_NAMES if name in archive.files] or archive.files
        if len(names) != 1:
            raise DataError(f"{path} holds the arrays {archive.files}: name the one with the samples 'samples'.")
        yield from _batches(archive[names[0]], path, preprocessing)


def _batches(array: Samples, path: Path, preprocessing: Preprocessing) -> Iterator[Samples]:
    if preprocessing.dtype == "uint8" and array.dtype != np.uint8:
        raise DataError(f"{path} holds {array.dtype}, samples must be uint8 from 0 to 255.")
    if preprocessing.dtype == "float32" and array.dtype.kind not in "fiu":
        raise DataError(f"{path} holds {array.dtype}, samples must be real numbers, best float32.")
    one = len(preprocessing.raw_shape)
    samples = array[np.newaxis] if array.ndim == one else array
    grey = preprocessing.kind == "image" and one == 2 and samples.ndim == 4
    if not (samples.ndim == 1 + one or grey) or not len(samples):
        wanted = ", ".join(["N", *map(str, preprocessing.raw_shape)])
        raise DataError(f"{path} has the shape {list(array.shape)}, samples must be [{wanted}], at least one.")
    for first in range(0, len(samples), _BATCH):
        yield _converted(samples[first : first + _BATCH], path, preprocessing, first)


def _converted(samples: Samples, path: Path, preprocessing: Preprocessing, first: int) -> Samples:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes an infinity, and is refused here
        converted = np.ascontiguousarray(samples, dtype=preprocessing.dtype)
    if preprocessing.dtype == "float32":
        try:
            refuse_broken_samples(converted, first)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    return converted


def _read_table(path: Path, preprocessing: Preprocessing) -> Iterator[Samples]:
    """A row of attributes per line; or one window, a moment per line."""
    if preprocessing.kind == "row":
        first = 0
        for rows in read_csv(path, preprocessing.raw_shape[0], _BATCH):
            yield _converted(rows, path, preprocessing, first)
            first += len(rows)
        return
    moments, channels = preprocessing.raw_shape
    blocks = read_csv(path, channels, moments)
    window = next(blocks)
    if len(window) != moments or next(blocks, None) is not None:
        found = f"only {len(window)}" if len(window) < moments else "more"
        raise DataError(f"{path} must hold one window of {moments} lines of numbers, found {found}.")
    yield _converted(window[np.newaxis], path, preprocessing, 0)


def _read_idx(path: Path, _: Preprocessing) -> Iterator[Samples]:
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if zipped else raw
        magic = stream.read(4)
        if len(magic) < 4 or magic[:3] != b"\x00\x00\x08":
            raise DataError(
                f"{path} is not an IDX file of bytes (it starts with {magic.hex()}). Known: {_KNOWN_BYTES}."
            )
        if magic[3] not in (3, 4):
            raise DataError(f"{path} has {magic[3]} dimensions: it holds labels or something else, not images.")
        shape = tuple(int.from_bytes(stream.read(4), "big") for _ in range(magic[3]))
        if 0 in shape or shape[1] * shape[2] > _IMAGE_MAX_BYTES:
            raise DataError(f"{path} says that it holds the shape {list(shape)}: it is damaged.")
        size = int(np.prod(shape[1:]))
        for first in range(0, shape[0], _BATCH):
            count = min(_BATCH, shape[0] - first)
            data = stream.read(count * size)
            if len(data) != count * size:
                raise DataError(
                    f"{path} ends within sample {first + len(data) // size} of {shape[0]}: it is truncated."
                )
            yield np.frombuffer(data, np.uint8).reshape(count, *shape[1:])
        if stream.read(1):  # reaching the end also lets gzip compare its checksum
            raise DataError(f"{path} goes on after the {shape[0]} samples that it promises: it is damaged.")


def _read_netpbm(path: Path, _: Preprocessing) -> Iterator[Samples]:
    with path.open("rb") as stream:
        data = stream.read(_IMAGE_MAX_BYTES + 1)
    header = _NETPBM.match(data[:_HEADER_BYTES])
    if header is None:
        raise DataError(f"{path} has no readable PGM or PPM header: it is damaged.")
    width, height, maximum = (int(number) for number in header.groups()[1:])
    if maximum != 255:
        raise DataError(f"{path} has the greatest value {maximum}, samples need 255.")
    shape = (1, height, width) if header.group(1) == b"P5" else (1, height, width, 3)
    if len(data) - header.end() != np.prod(shape):
        raise DataError(
            f"{path} has {len(data) - header.end()} bytes of pixels for {width} x {height}: "
            f"it is truncated, or holds several images."
        )
    yield np.frombuffer(data, np.uint8, offset=header.end()).reshape(shape)


def _read_with_pillow(path: Path, preprocessing: Preprocessing) -> Iterator[Samples]:
    try:
        from PIL import Image
    except ImportError as cause:
        raise DataError(
            f"{path} needs Pillow, which is not installed: pip install pillow, or convert it to PGM."
        ) from cause
    with Image.open(path) as image:
        # Nothing is decoded yet: what cannot be one sample of this model costs no time.
        if image.width * image.height > math.prod(preprocessing.raw_shape[:2]):
            raise DataError(
                f"{path} has {image.width} x {image.height} pixels, too many for one sample of "
                f"{list(preprocessing.raw_shape)}."
            )
        if image.mode not in ("L", "RGB"):
            raise DataError(f"{path} has the mode {image.mode}: convert it to 8-bit grey or RGB.")
        yield np.asarray(image, np.uint8)[np.newaxis]
