"""Reads a delivered ``.npz``: ``x``, ``y`` and whatever else the model's own data has of each sample."""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError
from edgewright.pipeline.datasets.arrays import texts_of_samples
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.intake.drop import Drop, RejectedError, check_like, class_positions

# Together, unpacked: an archive of a few kB can claim any size.
MOST_UNPACKED_BYTES = 1024**3
_SAMPLES, _ANSWERS, _GROUP = "x", "y", "group"
_REMEDY = "Make it with numpy.savez from arrays of numbers and texts."

Arrays = dict[str, npt.NDArray[Any]]


def read_npz(name: str, content: bytes, base: Dataset) -> Drop:
    """Reads a delivered file.

    Args:
        name: Its name.
        content: Its bytes.
        base: The model's own data, whose form it must have.

    Raises:
        RejectedError: It cannot be taken.
    """
    if not name.lower().endswith(".npz"):
        raise RejectedError("is no .npz file, which is what this model takes. Convert it.")
    arrays = _unpack(content, base)
    samples = _count(arrays)
    check_like(base, arrays[_SAMPLES])
    try:
        return _drop(name, arrays, base, samples)
    except RejectedError:
        raise
    except DataError as error:
        raise RejectedError(str(error), samples) from error


def _drop(name: str, arrays: Arrays, base: Dataset, samples: int) -> Drop:
    lacking = _lacking(arrays)
    missing = int(lacking.sum())
    if missing == samples:
        raise RejectedError(f"all {samples} samples lack values. Fill them in.", samples, missing)
    kept = {key: array[~lacking] for key, array in arrays.items()}
    texts = {key: texts_of_samples(name, array, key) for key, array in kept.items() if key not in (_SAMPLES, _ANSWERS)}
    dataset = Dataset(
        name=base.name,
        images=kept[_SAMPLES],
        labels=_labels(kept[_ANSWERS], base),
        labels_names=base.labels_names,
        fixed_split=None,
        groups=texts.pop(_GROUP, None),
        source=name,
        kind=base.kind,
        channel_names=base.channel_names,
        columns=texts,
    )
    return Drop(dataset, samples, missing)


def _unpack(content: bytes, base: Dataset) -> Arrays:
    """The archive's arrays, if they are exactly those that the model's data has, of sizes that they really have."""
    needed = [_SAMPLES, _ANSWERS, *([] if base.groups is None else [_GROUP]), *sorted(base.columns)]
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            _check_members([member.filename for member in members], needed)
            unpacked = sum(member.file_size for member in members)
            if unpacked > MOST_UNPACKED_BYTES:
                raise RejectedError(
                    f"{unpacked} bytes unpacked, may be {MOST_UNPACKED_BYTES} at most. Deliver it in several files."
                )
            return {member.filename.removesuffix(".npy"): _read_array(archive.read(member)) for member in members}
    except RejectedError:
        raise
    except Exception as error:  # broken archives make zipfile, zlib and numpy raise nearly anything
        raise RejectedError(
            f"not a readable npz without pickle ({type(error).__name__}: {error}). {_REMEDY}"
        ) from error


def _check_members(files: list[str], needed: list[str]) -> None:
    wanted = [f"{name}.npy" for name in needed]
    missing = [name.removesuffix(".npy") for name in wanted if name not in files]
    if missing:
        raise RejectedError(f"lacks {', '.join(missing)}; the model's own data has {', '.join(needed)}. Add it.")
    unknown = [name for name in files if name not in wanted]
    if unknown or len(set(files)) != len(files):
        what = f"holds {unknown[0].removesuffix('.npy')!r}, which nothing reads" if unknown else "holds an array twice"
        raise RejectedError(f"{what}; the model's own data has {', '.join(needed)}. Leave it out.")


def _read_array(content: bytes) -> npt.NDArray[Any]:
    """An array whose header promises as many bytes as follow it: memory is taken by the header's word."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of its arrays is unknown")
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    promised, follow = dtype.itemsize * math.prod(shape), len(content) - file.tell()
    if promised != follow or any(side < 0 for side in shape):
        raise ValueError(f"its header promises {promised} bytes {list(shape)}, {follow} follow")
    file.seek(0)
    array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _count(arrays: Arrays) -> int:
    """How many samples there are: as many of each array."""
    for key, array in arrays.items():
        if array.ndim == 0 or (key != _SAMPLES and array.ndim != 1):
            raise RejectedError(f"{key} has the shape {list(array.shape)}, needs one entry per sample. {_REMEDY}")
    samples = len(arrays[_SAMPLES])
    for key, array in arrays.items():
        if len(array) != samples:
            raise RejectedError(f"{samples} samples but {len(array)} {key}, needs one per sample. {_REMEDY}", samples)
    if samples == 0:
        raise RejectedError("holds no sample. Deliver it when there are some.")
    return samples


def _lacking(arrays: Arrays) -> npt.NDArray[np.bool_]:
    """Which samples lack a value: one that is not finite, or an empty name."""
    lacking = np.zeros(len(arrays[_SAMPLES]), dtype=np.bool_)
    for array in arrays.values():
        if array.dtype.kind == "f":
            lacking |= ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        elif array.dtype.kind == "U":
            lacking |= array == ""
    return lacking


def _labels(y: npt.NDArray[Any], base: Dataset) -> npt.NDArray[Any]:
    if base.has_values:
        if y.dtype.kind not in "iuf":
            raise RejectedError(f"y is {y.dtype}, needs numbers: this model answers values. {_REMEDY}", len(y))
        return y.astype(np.float64)
    if y.dtype.kind == "U":
        return np.array(class_positions(base, y.tolist()), dtype=np.int64)
    if y.dtype.kind not in "iu":
        raise RejectedError(f"y is {y.dtype}, needs the classes' names, or their positions. {_REMEDY}", len(y))
    wrong = np.flatnonzero((y < 0) | (y >= len(base.labels_names)))
    if len(wrong):
        raise RejectedError(
            f"y is {y[wrong[0]]} in sample {wrong[0]} ({len(wrong)} in all), the classes are counted from 0 to "
            f"{len(base.labels_names) - 1}. Correct the labels.",
            len(y),
        )
    return y.astype(np.int64)
