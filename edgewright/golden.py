"""Golden samples: a few raw samples with the answers that the model gave where it was built.

Loading a model proves little: of damaged model files a fifth still load and answer wrongly. A device therefore replays
these samples before a bundle serves. Byte equality would be too strict (another CPU's INT8 kernels round otherwise),
decisions alone too lax (a model trained from another seed decides alike on easy samples): so both the decisions and the
*outputs'* closeness are checked. ``docs/decisions/0004-golden-samples.md`` has the measurements behind the constants, and
``docs/decisions/0011-samples-and-answers.md`` those for anomaly scores.
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
from edgewright.postprocessing import AnomalyScore, Classification, Decisions, Postprocessing

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
# A golden sample's anomaly score lies at least this many tolerances (in standard deviations of the outputs) from the
# threshold, both as square roots. The root of a score is the length of the difference between input and output (RMS): a
# deviation of the outputs moves it by its own length at most, whatever its direction. So 1 would do for a deviation at the
# tolerance that strikes all samples alike; 1.5 also does for a sample that takes 2.25 times its share of it.
_SCORE_MARGIN_IN_TOLERANCES = 1.5
_MIN_SAMPLES = 4  # fewer answers could be right by chance
_ARRAYS = {"samples": (np.uint8, np.float32), "outputs": (np.float32,), "label_index": (np.int64,)}


@dataclass(frozen=True, eq=False)
class Golden:
    """Samples and the answers expected for them.

    Attributes:
        samples: uint8 or float32 ``[G, ...]``, raw: images ``[G, H, W]`` or ``[G, H, W, C]``, windows ``[G, T, C]``, rows
            ``[G, F]``.
        outputs: float32 ``[G, K]``, what the model gave.
        label_index: int64 ``[G]``, what was decided.
    """

    samples: NDArray[Any]
    outputs: NDArray[np.float32]
    label_index: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name, dtypes in _ARRAYS.items():
            if (found := getattr(self, name).dtype) not in [np.dtype(dtype) for dtype in dtypes]:
                wanted = " or ".join(str(np.dtype(dtype)) for dtype in dtypes)
                raise BundleError(f"golden {name} must be {wanted}, found {found}.")
        if self.samples.ndim not in (2, 3, 4) or self.outputs.ndim != 2 or self.label_index.ndim != 1:
            raise BundleError(
                "golden samples must be [G, H, W(, C)], [G, T, C] or [G, F], outputs [G, K] and label_index [G]."
            )
        count = len(self.samples)
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
    raw: NDArray[Any],
    decisions: Decisions,
    labels: NDArray[np.int64] | NDArray[np.float64],
    postprocessing: Postprocessing,
    count: int = GOLDEN_COUNT,
) -> Golden:
    """Choose golden samples among those that a model answered.

    Where something is decided, only right answers with a margin are eligible, so that another CPU's rounding cannot flip
    them. Classes take turns, so that each is covered as long as it has an eligible sample. Within a class the samples with
    the most typical margin come first: the easiest ones hardly move when weights are damaged.

    Where a value is answered, there is nothing to flip: the samples are spread evenly over the answered values, in their
    order, and only the outputs' closeness will count.

    Args:
        raw: ``[N, ...]``, raw samples as the model's preprocessing takes them.
        decisions: The model's answers, from the engine that the bundle names.
        labels: The truth: int64 ``[N]`` class indices (anomalies: 0 and 1), or float64 ``[N]`` values.
        postprocessing: What made decisions of the outputs.
        count: How many to choose; fewer come back when fewer are eligible.

    Raises:
        DataError: The arrays do not fit together, or too few samples are eligible.
    """
    if not len(raw) == len(decisions) == len(labels):
        raise DataError(
            f"golden samples need as many answers and labels as samples, found {len(raw)} samples, "
            f"{len(decisions)} answers, {len(labels)} labels."
        )
    if isinstance(postprocessing, Classification):
        chosen, rule = _choose_classes(decisions, labels, count)
    elif isinstance(postprocessing, AnomalyScore):
        chosen, rule = _choose_scores(decisions, labels, postprocessing.threshold, count)
    else:
        chosen, rule = _choose_values(decisions.score, count)
    if len(chosen) < min(count, _MIN_SAMPLES):
        raise DataError(
            f"only {len(chosen)} of {len(raw)} samples are {rule}, golden samples need at least "
            f"{min(count, _MIN_SAMPLES)}: this model is too weak to be recognised. Train it longer, or with more samples."
        )
    return Golden(
        np.ascontiguousarray(raw[chosen]),
        np.ascontiguousarray(decisions.outputs[chosen], dtype=np.float32),
        decisions.label_index[chosen],
    )


_Chosen = tuple[NDArray[np.int64], str]  # positions, and the rule that they keep


def _choose_classes(decisions: Decisions, labels: NDArray[Any], count: int) -> _Chosen:
    ranked = np.sort(decisions.outputs, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    enough = _MARGIN_IN_TOLERANCES * GOLDEN_TOLERANCE * float(decisions.outputs.std())
    eligible = (decisions.label_index == labels) & (margin >= enough)
    return _take_turns(eligible, labels, margin, count), f"answered rightly with a margin of {enough:.3g}"


def _choose_scores(decisions: Decisions, labels: NDArray[Any], threshold: float, count: int) -> _Chosen:
    margin = np.abs(np.sqrt(decisions.score.astype(np.float64)) - np.sqrt(threshold))
    right = decisions.label_index == labels
    # Both classes where that is possible. Beside anomalies with wild outputs, normal samples may have no margin left.
    parts = (right, right & (labels == 0), right & (labels == 1))
    found = [_choose_clear_scores(part, decisions.outputs, labels, margin, count) for part in parts]
    return max(found, key=lambda item: len(item[0]))


def _choose_clear_scores(
    eligible: NDArray[np.bool_],
    outputs: NDArray[np.float32],
    labels: NDArray[Any],
    margin: NDArray[np.float64],
    count: int,
) -> _Chosen:
    # The tolerance is relative to the spread of the outputs that are chosen: the margin asked for grows until those that
    # are chosen keep it. Each turn excludes at least one sample.
    enough = 0.0
    while True:
        chosen = _take_turns(eligible & (margin >= enough), labels, margin, count)
        spread = float(outputs[chosen].std()) if len(chosen) else 0.0
        needed = _SCORE_MARGIN_IN_TOLERANCES * GOLDEN_TOLERANCE * spread
        if not len(chosen) or margin[chosen].min() >= needed:
            return chosen, f"judged rightly with a root score at least {enough:.3g} from the threshold's"
        enough = needed


def _choose_values(values: NDArray[np.float32], count: int) -> _Chosen:
    # One sample per answer, and the middle of each of `count` equal parts: the two extremes could be outliers, beside
    # which the other answers would hardly count.
    _, distinct = np.unique(values, return_index=True)
    parts = min(count, len(distinct))
    middles = ((np.arange(parts) + 0.5) * len(distinct) / max(parts, 1)).astype(np.int64)
    return distinct[middles].astype(np.int64), "answered with different values"


def _take_turns(
    eligible: NDArray[np.bool_], labels: NDArray[Any], margin: NDArray[np.floating[Any]], count: int
) -> NDArray[np.int64]:
    queues = [_most_typical_first(np.flatnonzero(eligible & (labels == label)), margin) for label in np.unique(labels)]
    turns = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
    return np.array(turns[:count], dtype=np.int64)


def _most_typical_first(positions: NDArray[np.int64], margin: NDArray[np.floating[Any]]) -> list[int]:
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
