"""Golden samples: a few raw samples with the answers that the model gave where it was built.

Loading a model proves little: of damaged model files a fifth still load and answer wrongly. A device therefore replays
these samples before a bundle serves. Byte equality would be too strict (another CPU's INT8 kernels round otherwise),
decisions alone too lax (a model trained from another seed decides alike on easy samples): so both the decisions and the
*outputs'* closeness are checked. ``docs/decisions/0004-golden-samples.md`` has the measurements behind the constants.
"""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BundleError, DataError

GOLDEN_COUNT = 16
# Greatest relative RMS deviation that a replay may show. Measured on digits with an MLP, a CNN and a ResNet-8, U8S8:
#   the same weights, graph optimisations off or on               0.000 to 0.002
#   the same weights in float: more than any kernel's rounding    0.008 to 0.041
#   the same weights, mild 16-bit saturation (MLP, no VNNI)       0.056 to 0.063
#   the same architecture from another seed                       0.25  to 0.41   (mostly all 16 decisions agree)
#   one layer's output channels permuted                          0.30  to 4.0
# 0.12 lies as far (in ratio) above 0.06 as below 0.25. Strong saturation (0.13 to 0.48, up to 6 points of accuracy lost)
# is refused on purpose: such a processor needs a model that was quantized for it.
GOLDEN_TOLERANCE = 0.12
# A golden sample's two greatest outputs lie at least this many tolerances (in standard deviations of the outputs)
# apart. A deviation at the tolerance moves a gap of two outputs by sqrt(2) tolerances (RMS); 6 are 4.2 times that, which
# flips 1 in 90,000.
_MARGIN_IN_TOLERANCES = 6.0
_MIN_SAMPLES = 4  # fewer answers could be right by chance
_ARRAYS = {"samples": np.uint8, "outputs": np.float32, "label_index": np.int64}


@dataclass(frozen=True, eq=False)
class Golden:
    """Samples and the answers expected for them.

    Attributes:
        samples: uint8 ``[G, H, W]`` or ``[G, H, W, C]``, raw.
        outputs: float32 ``[G, K]``, what the model gave.
        label_index: int64 ``[G]``, what was decided.
    """

    samples: NDArray[np.uint8]
    outputs: NDArray[np.float32]
    label_index: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name, dtype in _ARRAYS.items():
            if getattr(self, name).dtype != dtype:
                raise BundleError(f"golden {name} must be {np.dtype(dtype)}, found {getattr(self, name).dtype}.")
        count = len(self.samples)
        if self.samples.ndim not in (3, 4) or self.outputs.ndim != 2 or self.label_index.ndim != 1:
            raise BundleError("golden samples must be [G, H, W(, C)], outputs [G, K] and label_index [G].")
        if count < 1 or len(self.outputs) != count or len(self.label_index) != count:
            raise BundleError(
                f"golden arrays must hold the same number of samples, at least 1: found {count} samples, "
                f"{len(self.outputs)} outputs, {len(self.label_index)} labels."
            )
        if not np.isfinite(self.outputs).all() or float(self.outputs.std()) == 0.0:
            raise BundleError("golden outputs must be finite and not all alike: this model has no answers.")

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True)
class GoldenReplay:
    """What a replay gave.

    Attributes:
        samples: How many were replayed.
        agreeing: How many were decided as expected.
        deviation: Relative RMS deviation of the outputs, see `relative_deviation`.
        tolerance: Greatest deviation allowed.
        worst_sample: Number of the sample that deviates most: a wrong decision first.
    """

    samples: int
    agreeing: int
    deviation: float
    tolerance: float
    worst_sample: int

    @property
    def reproduced(self) -> bool:
        """Whether every decision is as expected and the outputs are close."""
        return self.agreeing == self.samples and self.deviation <= self.tolerance

    def describe(self) -> str:
        """Say it in one line."""
        return (
            f"{self.agreeing}/{self.samples} golden decisions, outputs deviate by {self.deviation:.3f} "
            f"(at most {self.tolerance:g} allowed), worst sample {self.worst_sample}"
        )


def relative_deviation(outputs: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Give the RMS of the output difference divided by the standard deviation of the expected outputs.

    Relative, so that one tolerance serves every model; over all samples and outputs together, so that rounding noise,
    which is independent, averages out while wrong weights, which move everything, do not.
    """
    difference = outputs.astype(np.float64) - expected
    return float(np.sqrt(np.mean(difference**2)) / np.std(expected.astype(np.float64)))


def compare_golden(
    golden: Golden, outputs: NDArray[np.float32], label_index: NDArray[np.int64], tolerance: float
) -> GoldenReplay:
    """Compare what a model gives now with what is expected."""
    wrong = label_index != golden.label_index
    per_sample = np.sqrt(np.mean((outputs.astype(np.float64) - golden.outputs) ** 2, axis=1))
    worst = int(np.lexsort((per_sample, wrong))[-1])
    deviation = relative_deviation(outputs, golden.outputs)
    return GoldenReplay(len(golden), int((~wrong).sum()), deviation, tolerance, worst)


def choose_golden(
    raw: NDArray[np.uint8],
    outputs: NDArray[np.float32],
    labels: NDArray[np.int64],
    count: int = GOLDEN_COUNT,
) -> Golden:
    """Choose golden samples among those that a model answered.

    Only right answers with a margin are eligible, so that another CPU's rounding cannot flip them. Classes take turns,
    so that each is covered as long as it has an eligible sample. Within a class the samples with the most typical
    margin come first: the easiest ones hardly move when weights are damaged.

    Args:
        raw: uint8 ``[N, H, W]`` or ``[N, H, W, C]``.
        outputs: float32 ``[N, K]``, the model's, from the engine that the bundle names.
        labels: int64 ``[N]``, the true label of each sample.
        count: How many to choose; fewer come back when fewer are eligible.

    Raises:
        DataError: The arrays do not fit together, or too few samples are eligible.
    """
    if not len(raw) == len(outputs) == len(labels) or outputs.ndim != 2:
        raise DataError(
            f"golden samples need as many outputs and labels as samples, found {len(raw)} samples, "
            f"{len(outputs)} outputs, {len(labels)} labels."
        )
    ranked = np.sort(outputs, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    enough = _MARGIN_IN_TOLERANCES * GOLDEN_TOLERANCE * float(outputs.std())
    eligible = (outputs.argmax(axis=1) == labels) & (margin >= enough)
    queues = [_most_typical_first(np.flatnonzero(eligible & (labels == label)), margin) for label in np.unique(labels)]
    turns = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
    chosen = np.array(turns[:count], dtype=np.int64)
    if len(chosen) < min(count, _MIN_SAMPLES):
        raise DataError(
            f"only {int(eligible.sum())} of {len(raw)} samples are answered rightly with a margin of {enough:.3g}, "
            f"golden samples need at least {min(count, _MIN_SAMPLES)}: this model is too weak to be recognised."
        )
    return Golden(
        np.ascontiguousarray(raw[chosen]),
        np.ascontiguousarray(outputs[chosen], dtype=np.float32),
        outputs[chosen].argmax(axis=1).astype(np.int64),
    )


def _most_typical_first(positions: NDArray[np.int64], margin: NDArray[np.float32]) -> list[int]:
    if not len(positions):
        return []
    distance = np.abs(margin[positions] - np.median(margin[positions]))
    return [int(position) for position in positions[np.argsort(distance, kind="stable")]]


def golden_to_bytes(golden: Golden) -> bytes:
    """Give the npz form. Same samples, same bytes: stored, not deflated (zlib's versions differ), and without dates."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(_ARRAYS):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, wherever it is written
            array = io.BytesIO()
            np.lib.format.write_array(array, getattr(golden, name), version=(1, 0), allow_pickle=False)
            archive.writestr(entry, array.getvalue())
    return buffer.getvalue()


def golden_from_bytes(data: bytes) -> Golden:
    """Read the npz form.

    Raises:
        BundleError: The bytes are not such a file. Compressed entries are refused: a small file could unpack to
        gigabytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sorted(archive.namelist()) != sorted(f"{name}.npy" for name in _ARRAYS):
                raise BundleError(f"golden samples hold {archive.namelist()}, needed {sorted(_ARRAYS)}.")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise BundleError("golden samples are compressed; they must be stored plainly.")
            arrays: dict[str, Any] = {name: _read_array(archive.read(f"{name}.npy")) for name in _ARRAYS}
    except (zipfile.BadZipFile, struct.error, ValueError, OSError, EOFError, RuntimeError) as cause:
        raise BundleError(f"golden samples cannot be read: {cause}.") from cause
    return Golden(**arrays)


def _read_array(data: bytes) -> NDArray[np.generic]:
    """Read an npy file whose header promises exactly the bytes that follow: nothing is allocated on its word."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array is not in npy format 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    size = dtype.itemsize
    for length in shape:
        size *= length
    if fortran or dtype.hasobject or size != len(data) - stream.tell():
        raise ValueError(f"an array of {dtype} {list(shape)} does not fit its file")
    array: NDArray[np.generic] = np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape)
    return array
