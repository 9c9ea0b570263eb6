"""Calibration: what is seen of every tensor, which ranges that gives, and the refusal of what would give a dead model."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.errors import CalibrationError
from edgewright.pipeline.activations import Activation, observe
from edgewright.pipeline.calibration import Method, Ranges, clipped_share, estimate_ranges, refuse_absurd
from edgewright.pipeline.calibration_audit import tensor_ranges
from edgewright.pipeline.calibration_set import Batches, in_batches
from edgewright.pipeline.quantization.onnx import prepare_for_quantization

METHODS: tuple[Method, ...] = get_args(Method)
Samples = npt.NDArray[np.float32]


def batches_of(inputs: Samples) -> Batches:
    return in_batches(inputs, range(len(inputs)), lambda part: part)


def calibrate(model: onnx.ModelProto, inputs: Samples, method: Method, percentile: float = 99.99) -> Ranges:
    return estimate_ranges(observe(model, batches_of(inputs)), method, percentile)


NOISE = np.random.default_rng(0).standard_normal((40, 1, 8, 8)).astype(np.float32)
CONSTANTS = {
    "w": np.random.default_rng(1).standard_normal((4, 1, 3, 3)).astype(np.float32),
    "minus_inf": np.array(-np.inf, np.float32),
    "zero": np.array(0, np.float32),
    "huge": np.array(-1e9, np.float32),
    "deep": np.array([-1000] * 4, np.float32),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
}
CONV = helper.make_node("Conv", ["x", "w"], ["c"], name="conv")


def model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """A graph from ``x`` [batch, 1, 8, 8] to ``y`` of four channels."""
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 8, 8])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, None, None])
    wanted = {name for node in nodes for name in node.input}
    constants = [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in wanted]
    graph = helper.make_graph(list(nodes), "g", [image], [scores], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


SOUND = model(CONV, helper.make_node("Relu", ["c"], ["y"], name="relu"))


def one_tensor(values: Sequence[float] | npt.NDArray[Any]) -> Activation:
    """What is seen of an input with these values."""
    flat = np.resize(np.asarray(values, np.float32), (-(-len(values) // 64) * 64,)).reshape(-1, 1, 8, 8)
    return observe(SOUND, batches_of(flat))[0]


# --- what is seen -------------------------------------------------------------------------------------------------


def test_every_float_tensor_is_seen_in_the_order_of_the_graph(
    float_onnx: Callable[[int], bytes], some_digits: Any
) -> None:
    prepared = prepare_for_quantization(float_onnx(13))
    seen = observe(prepared, batches_of(some_digits.inputs[:40]))
    assert [each.tensor for each in seen] == ["image", *(name for node in prepared.graph.node for name in node.output)]
    assert (seen[0].node, seen[0].operator) == ("image", "input")
    assert (seen[0].low, seen[0].high) == (some_digits.inputs[:40].min(), some_digits.inputs[:40].max())


def test_the_histogram_counts_every_value_once_and_does_not_depend_on_the_order_of_samples() -> None:
    seen, backwards = observe(SOUND, batches_of(NOISE)), observe(SOUND, batches_of(NOISE[::-1]))
    for one, other in zip(seen, backwards, strict=True):
        assert (one.low, one.high) == (other.low, other.high)
        assert np.array_equal(one.counts, other.counts)
    assert [each.counts.sum() for each in seen] == [40 * 64, 40 * 4 * 36, 40 * 4 * 36]
    relu = seen[2]
    assert relu.repeated[0.0] > 0.3 * relu.counts.sum()


_PEAK = """
import sys
import numpy as np, onnx
from edgewright.benchmark_worker import read_peak_memory_mib
from edgewright.pipeline.activations import observe
from edgewright.pipeline.calibration import estimate_ranges
from edgewright.pipeline.calibration_set import in_batches
model, raw = onnx.load(sys.argv[1]), np.load(sys.argv[2])
count = int(sys.argv[3])
batches = in_batches(raw, np.arange(count) % len(raw), lambda part: part.astype(np.float32))
seen = observe(model, batches)
for method in ("minmax", "percentile", "entropy"):
    estimate_ranges(seen, method, 99.99)
print(read_peak_memory_mib())
"""


def test_memory_does_not_grow_with_the_number_of_samples(
    float_onnx: Callable[[int], bytes], some_digits: Any, tmp_path: Path
) -> None:
    """The intermediate tensors of 1,800 more samples are hundreds of MiB; a process that keeps none needs no more memory."""
    onnx.save(prepare_for_quantization(float_onnx(13)), tmp_path / "model.onnx")
    np.save(tmp_path / "raw.npy", some_digits.inputs[:100])
    peaks = []
    for count in (200, 2000):
        command = [sys.executable, "-c", _PEAK, str(tmp_path / "model.onnx"), str(tmp_path / "raw.npy"), str(count)]
        peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert peaks[1] < peaks[0] + 15, f"MiB at 200 and at 2,000 samples: {peaks}"


# --- which ranges -------------------------------------------------------------------------------------------------


def test_minmax_keeps_every_value() -> None:
    seen = observe(SOUND, batches_of(NOISE))
    ranges = estimate_ranges(seen, "minmax", 0)
    assert ranges.low_high["x"] == (NOISE.min(), NOISE.max())
    assert [clipped_share(each, *ranges.low_high[each.tensor]) for each in seen] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_a_percentile_keeps_its_share_and_cuts_no_more_than_half_of_the_rest_at_either_end(percentile: float) -> None:
    values = np.random.default_rng(2).standard_normal(64_000).astype(np.float32)
    seen = one_tensor(values)
    low, high = estimate_ranges((seen,), "percentile", percentile).low_high["x"]
    cut = (100 - percentile) / 200
    ranked, given_up = np.sort(values), round(cut * len(values))
    assert ranked[given_up - 1] - 2 * seen.bin_width < low < ranked[given_up + 1]
    assert ranked[-given_up - 2] < high < ranked[-given_up] + 2 * seen.bin_width
    assert clipped_share(seen, low, high) <= 2 * cut
    assert clipped_share(seen, low, high) == pytest.approx(float(((values < low) | (values > high)).mean()), abs=1e-4)


def library_ranges(prepared: onnx.ModelProto, inputs: Samples, folder: Path, **options: Any) -> dict[str, Any]:
    """Ranges by ONNX Runtime's own histogram calibrators, fed in one piece."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    class Once:
        def __init__(self) -> None:
            self.feeds = iter([{prepared.graph.input[0].name: inputs}])

        def get_next(self) -> dict[str, Samples] | None:
            return next(self.feeds, None)

    onnx.save(prepared, folder / "float.onnx")
    method = CalibrationMethod.Percentile if "percentile" in options else CalibrationMethod.Entropy
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator = create_calibrator(
            folder / "float.onnx",
            augmented_model_path=str(folder / "augmented.onnx"),
            calibrate_method=method,
            extra_options=options,
        )
        calibrator.collect_data(Once())
        computed = calibrator.compute_data()
    return {name: tuple(float(value) for value in data.range_value) for name, data in computed.items()}


def test_percentiles_agree_with_the_librarys(
    float_onnx: Callable[[int], bytes], some_digits: Any, tmp_path: Path
) -> None:
    prepared, inputs = prepare_for_quantization(float_onnx(13)), some_digits.inputs[:100]
    theirs = library_ranges(prepared, inputs, tmp_path, percentile=99.9, num_bins=4096, symmetric=False)
    seen = [each for each in observe(prepared, batches_of(inputs)) if each.counts.sum() > 20_000]
    assert len(seen) > 10, "with fewer values, a percentile lies between two that are far apart"
    for name, ours in estimate_ranges(tuple(seen), "percentile", 99.9).low_high.items():
        width = max(np.abs(theirs[name])) * 2 / 4096
        assert ours == pytest.approx(theirs[name], abs=3 * width), name


def test_the_librarys_entropy_at_its_own_defaults_is_hardly_anything_but_minmax_and_ours_is_not(
    float_onnx: Callable[[int], bytes], some_digits: Any, tmp_path: Path
) -> None:
    """128 bins for 128 levels leave one candidate at first; that is why it is not used."""
    prepared, inputs = prepare_for_quantization(float_onnx(13)), some_digits.inputs[:100]
    everything = calibrate(prepared, inputs, "minmax").low_high
    ours = calibrate(prepared, inputs, "entropy").low_high
    for name, (low, high) in library_ranges(prepared, inputs, tmp_path).items():
        assert (low, high) == pytest.approx(everything[name], abs=1e-5), name
    shares = [(ours[name][1] - ours[name][0]) / (high - low) for name, (low, high) in everything.items()]
    assert all(0.3 < share <= 1 for share in shares)
    assert sum(share < 0.95 for share in shares) > len(shares) / 3


def test_entropy_gives_up_rare_outer_values_for_finer_steps() -> None:
    values = np.random.default_rng(3).standard_normal(640_000)
    values[:10] = 12.0
    low, high = estimate_ranges((one_tensor(values),), "entropy", 0).low_high["x"]
    assert 3 < high < 8
    assert -6 < low < -3
    uniform = np.random.default_rng(3).uniform(-1, 1, 640_000)
    low, high = estimate_ranges((one_tensor(uniform),), "entropy", 0).low_high["x"]
    assert (low, high) == pytest.approx((-1, 1), abs=0.05), "where all values count alike, none is given up"


@pytest.mark.parametrize("background", [0.0, -0.425, 0.31])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_background_does_not_make_entropy_give_up_the_foreground(background: float, share: float) -> None:
    values = np.random.default_rng(4).normal(0, 1, 64_000)
    values[: int(share * len(values))] = background
    values = np.random.default_rng(5).permutation(values)
    seen = one_tensor(values)
    low, high = estimate_ranges((seen,), "entropy", 0).low_high["x"]
    assert clipped_share(seen, low, high) < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_calibrating_twice_gives_the_same_ranges_and_says_nothing(
    method: Method, capfd: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(SOUND, NOISE, method) == calibrate(SOUND, NOISE, method)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", METHODS)
def test_the_audit_shows_each_range_beside_what_was_observed(method: Method) -> None:
    seen = observe(SOUND, batches_of(NOISE))
    shown = tensor_ranges(seen, estimate_ranges(seen, method, 95.0))
    assert [(each.node, each.operator) for each in shown] == [("x", "input"), ("conv", "Conv"), ("relu", "Relu")]
    for each in shown:
        assert each.observed_low <= each.low < each.high <= each.observed_high
        assert (each.clipped_share > 0) == (method == "percentile") or method == "entropy"
        assert each.clipped_share < 0.06


# --- what is refused ----------------------------------------------------------------------------------------------

DEAD_MODELS = {
    "padding with -inf": (
        model(
            CONV,
            helper.make_node("Pad", ["c", "pads", "minus_inf"], ["p"], name="padder"),
            helper.make_node("MaxPool", ["p"], ["y"], name="pool", kernel_shape=[2, 2]),
        ),
        r"node 'padder' \(Pad\) is \[-inf, .*\]: a range must be finite",
    ),
    "division by zero": (
        model(CONV, helper.make_node("Div", ["c", "zero"], ["y"], name="divider")),
        r"node 'divider' \(Div\) is \[-inf, inf\]: a range must be finite",
    ),
    "zero by zero": (
        model(
            CONV,
            helper.make_node("Relu", ["c"], ["r"], name="relu"),
            helper.make_node("Div", ["r", "r"], ["y"], name="divider"),
        ),
        r"node 'divider' \(Div\) is \[nan, nan\]: a range must be finite",
    ),
    "a dead activation": (
        model(
            helper.make_node("Conv", ["x", "w", "deep"], ["c"], name="conv"),
            helper.make_node("Relu", ["c"], ["y"], name="corpse"),
        ),
        r"node 'corpse' \(Relu\) is \[0, 0\]: it has no width, the tensor is dead on all calibration samples",
    ),
    "a node without a name": (
        model(CONV, helper.make_node("Div", ["c", "zero"], ["y"])),
        r"node 'y' \(Div\) is \[-inf, inf\]",
    ),
    "a mask": (
        model(CONV, helper.make_node("Mul", ["c", "huge"], ["y"], name="mask")),
        r"node 'mask' \(Mul\) is \[-.*e\+.*, .*e\+.*\], absurd beyond 1e\+06: .*masks of -1e9",
    ),
}


@pytest.mark.parametrize(("dead", "message"), DEAD_MODELS.values(), ids=DEAD_MODELS.keys())
def test_a_range_that_would_kill_the_model_is_refused_by_the_nodes_name(dead: onnx.ModelProto, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        observe(dead, batches_of(NOISE))


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_one_bad_pixel_of_one_sample_is_noticed(poison: float) -> None:
    """The library's own minimum and maximum overlook a single NaN."""
    inputs = NOISE.copy()
    inputs[17, 0, 3, 5] = poison
    with pytest.raises(CalibrationError, match=r"the range of input 'x' is \[.*(nan|inf)\]: a range must be finite"):
        observe(SOUND, batches_of(inputs))


def test_a_percentile_that_cuts_everything_away_is_not_called_dead() -> None:
    rare = np.zeros_like(NOISE)
    rare[0, 0, 4, 4] = 1
    assert calibrate(SOUND, rare, "minmax")
    with pytest.raises(
        CalibrationError, match=r"at 99 % is .* has no width, though the tensor has values outside it\. "
    ):
        calibrate(SOUND, rare, "percentile", 99.0)


@pytest.mark.parametrize("outlier", [1e4, 1e5])
def test_a_range_that_one_outlier_makes_useless_is_absurd_until_it_is_cut(outlier: float) -> None:
    inputs = NOISE.copy()
    inputs[17, 0, 3, 5] = outlier
    seen = observe(SOUND, batches_of(inputs))
    with pytest.raises(
        CalibrationError, match=r"range of input 'x' by minmax is .*: 100\.0 % of its values .* one INT8"
    ):
        refuse_absurd(seen, estimate_ranges(seen, "minmax", 0))


def test_an_outlier_that_a_percentile_cuts_does_no_harm() -> None:
    inputs = NOISE.copy()
    inputs[17, 0, 3, 5] = 1e3
    seen = observe(SOUND, batches_of(inputs))
    refuse_absurd(seen, estimate_ranges(seen, "percentile", 98.0))


@pytest.mark.parametrize("method", METHODS)
def test_a_sound_network_and_an_image_that_is_nearly_all_background_are_not_absurd(
    method: Method, float_onnx: Callable[[int], bytes], some_digits: Any
) -> None:
    seen = observe(prepare_for_quantization(float_onnx(13)), batches_of(some_digits.inputs[:40]))
    refuse_absurd(seen, estimate_ranges(seen, method, 99.99))
    sparse = np.where(np.random.default_rng(6).random(64_000) < 0.005, 1.0, -0.4)
    sparse += np.where(sparse > 0, np.random.default_rng(7).random(64_000), 0)
    nearly_blank = (one_tensor(sparse),)
    refuse_absurd(nearly_blank, estimate_ranges(nearly_blank, method, 99.99))
