"""The tolerance is wide enough for another CPU's INT8 and too narrow for wrong weights: both are shown here."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.engines.engine import EngineSettings
from edgewright.errors import BundleError, DataError
from edgewright.golden import (
    GOLDEN_TOLERANCE,
    Golden,
    choose_golden,
    compare_golden,
    golden_from_bytes,
    golden_to_bytes,
    relative_deviation,
)
from edgewright.postprocessing import AnomalyScore, Classification, Decisions, Regression

ARCHITECTURES = ("mlp", "cnn")
UNOPTIMISED = EngineSettings(graph_optimization="none")


def replay(golden: Golden, outputs: Any) -> Any:
    return compare_golden(golden, outputs, outputs.argmax(axis=1), GOLDEN_TOLERANCE)


# ---- wide enough for the same weights, executed otherwise


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_int8_file_without_graph_optimisations_reproduces(zoo: Any, architecture: str) -> None:
    model = zoo.int8(architecture)
    golden = zoo.golden(model)
    found = replay(golden, zoo.run(model, golden.samples, UNOPTIMISED))
    assert found.reproduced, found.describe()
    assert found.deviation < GOLDEN_TOLERANCE / 2


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_weights_without_any_rounding_to_int8_reproduce(zoo: Any, architecture: str) -> None:
    """Rounding differs between CPUs by far less than between INT8 and float."""
    golden = zoo.golden(zoo.int8(architecture))
    found = replay(golden, zoo.run(zoo.float32(architecture), golden.samples))
    assert found.reproduced, found.describe()
    assert found.deviation < GOLDEN_TOLERANCE / 2


def test_mildly_saturating_kernels_reproduce(zoo: Any) -> None:
    """Without VNNI, x86 adds two products of a uint8 and an int8 in 16 bits, which saturate."""
    model = zoo.int8("mlp")
    golden = zoo.golden(model)
    found = replay(golden, emulate(model, zoo.preprocessing.apply(golden.samples), saturate=True))
    assert found.reproduced, found.describe()
    assert found.deviation > 0.02, "nothing saturated: this shows nothing"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saturating_kernels_reproduce_a_model_of_reduced_range_exactly(zoo: Any, architecture: str) -> None:
    model = zoo.int8(architecture, 0, True)
    golden = zoo.golden(model)
    found = replay(golden, emulate(model, zoo.preprocessing.apply(golden.samples), saturate=True))
    assert found.reproduced, found.describe()
    assert found.deviation < 0.02


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_emulation_without_saturation_is_what_the_engine_computes(zoo: Any, architecture: str) -> None:
    model = zoo.int8(architecture)
    golden = zoo.golden(model)
    assert replay(golden, emulate(model, zoo.preprocessing.apply(golden.samples), saturate=False)).deviation < 0.02


# ---- too narrow for other weights


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_architecture_trained_from_another_seed_is_refused(zoo: Any, architecture: str) -> None:
    golden = zoo.golden(zoo.int8(architecture))
    found = replay(golden, zoo.run(zoo.int8(architecture, 1), golden.samples))
    assert not found.reproduced, found.describe()
    assert found.deviation > GOLDEN_TOLERANCE * 1.5


def test_strongly_saturating_kernels_are_refused_although_they_decide_alike(zoo: Any) -> None:
    """They compute another model: the remedy is a variant of reduced range, not a wider tolerance."""
    model = zoo.int8("cnn")
    golden = zoo.golden(model)
    found = replay(golden, emulate(model, zoo.preprocessing.apply(golden.samples), saturate=True))
    assert found.agreeing == 16
    assert not found.reproduced, found.describe()


def test_another_seed_would_pass_if_only_decisions_were_compared(zoo: Any) -> None:
    golden = zoo.golden(zoo.int8("cnn"))
    found = replay(golden, zoo.run(zoo.int8("cnn", 1), golden.samples))
    assert found.agreeing >= 14, "this is why the outputs are compared as well"


@pytest.mark.parametrize("how", ["permuted", "zeroed", "shuffled"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_damaged_layer_is_refused(zoo: Any, architecture: str, how: str) -> None:
    model = zoo.int8(architecture)
    golden = zoo.golden(model)
    assert zoo.weights(model) == {"mlp": 2, "cnn": 3}[architecture]
    for weight in range(zoo.weights(model)):
        found = replay(golden, zoo.run(zoo.damaged(model, weight, how), golden.samples))
        assert not found.reproduced, f"layer {weight}: {found.describe()}"
        assert found.deviation > GOLDEN_TOLERANCE * 1.5


# ---- which samples


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_golden_samples_cover_the_classes_and_have_a_margin(zoo: Any, architecture: str) -> None:
    outputs = zoo.outputs(zoo.int8(architecture))
    golden = zoo.golden(zoo.int8(architecture))
    assert len(golden) == 16
    assert set(golden.label_index) == set(range(10))
    ranked = np.sort(golden.outputs, axis=1)
    assert (ranked[:, -1] - ranked[:, -2]).min() >= 6 * GOLDEN_TOLERANCE * outputs.std()


def test_golden_samples_are_answered_rightly(zoo: Any) -> None:
    golden = zoo.golden(zoo.int8("mlp"))
    position = {zoo.raw[i].tobytes(): i for i in range(len(zoo.raw))}
    assert [zoo.truth[position[sample.tobytes()]] for sample in golden.samples] == list(golden.label_index)


PETS = Classification(("cat", "dog", "fish"))


def decided(outputs: Any) -> Decisions:
    return PETS.decide(outputs, np.zeros((len(outputs), 1, 2, 2), np.float32))


def test_fewer_eligible_samples_give_fewer_golden_ones() -> None:
    outputs = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]] * 9
    golden = choose_golden(np.zeros((5, 2, 2), np.uint8), decided(outputs), outputs.argmax(axis=1), PETS)
    assert len(golden) == 5


def test_a_model_without_margins_is_refused() -> None:
    outputs = np.tile(np.array([[1.0, 0.99, -3.0]], np.float32), (50, 1))
    with pytest.raises(DataError, match=r"only 0 of 50 samples .* too weak .*Train it longer"):
        choose_golden(np.zeros((50, 2, 2), np.uint8), decided(outputs), np.zeros(50, np.int64), PETS)


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(DataError, match="3 samples, 2 answers, 3 labels"):
        choose_golden(np.zeros((3, 2, 2), np.uint8), decided(np.zeros((2, 3), np.float32)), np.zeros(3, np.int64), PETS)


# ---- which samples, where anomalies are scored


def scored(scores: Any, threshold: float, sizes: Any = 1.0) -> tuple[Any, Decisions]:
    """Rows of some sizes whose reproduction is off by the root of the given scores, and what is decided about them."""
    rows = np.random.default_rng(0).normal(size=(len(scores), 4)) * np.broadcast_to(sizes, len(scores))[:, np.newaxis]
    rows = rows.astype(np.float32)
    outputs = rows + np.sqrt(np.asarray(scores, np.float32))[:, np.newaxis]
    return rows, AnomalyScore(threshold).decide(outputs, rows.reshape(-1, 4, 1, 1))


def test_normal_samples_and_anomalies_take_turns(sensors: Any) -> None:
    golden = sensors.golden("anomaly")
    assert list(golden.label_index) == [0, 1] * 8
    assert (golden.samples.shape, golden.samples.dtype) == ((16, 6), np.float32)


def test_golden_scores_are_right_and_typical_of_their_class(sensors: Any) -> None:
    decisions = sensors.decisions(sensors.autoencoder(), sensors.rows_preprocessing, sensors.anomaly, sensors.rows)
    position = {row.tobytes(): number for number, row in enumerate(sensors.rows)}
    chosen = [position[row.tobytes()] for row in sensors.golden("anomaly").samples]
    assert np.array_equal(sensors.abnormal[chosen], decisions.label_index[chosen])
    for label in (0, 1):
        right = (sensors.abnormal == label) & (decisions.label_index == label)
        low, high = np.quantile(decisions.score[right], [0.1, 0.9])
        found = decisions.score[[number for number in chosen if sensors.abnormal[number] == label]]
        assert np.all((found >= low) & (found <= high))


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_no_deviation_at_the_tolerance_flips_an_anomaly(sensors: Any, seed: int, towards: float) -> None:
    """Not noise alone: deviations that push every sample straight to the threshold as well."""
    golden = sensors.golden("anomaly")
    inputs = sensors.rows_preprocessing.apply(golden.samples)
    away = golden.outputs - inputs.reshape(16, -1)
    straight = away / np.linalg.norm(away, axis=1, keepdims=True) * np.where(golden.label_index, -1, 1)[:, np.newaxis]
    noise = np.random.default_rng(seed).normal(size=golden.outputs.shape)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    error = towards * straight + (1 - towards) * noise
    error *= GOLDEN_TOLERANCE * 0.999 * golden.outputs.std() / np.sqrt(np.mean(error**2))
    now = sensors.anomaly.decide((golden.outputs + error).astype(np.float32), inputs)
    found = compare_golden(golden, now.outputs, now.label_index, GOLDEN_TOLERANCE)
    assert found.reproduced, found.describe()
    assert found.deviation > GOLDEN_TOLERANCE * 0.99, "nothing was pushed: this shows nothing"


def test_normal_samples_too_close_to_the_threshold_are_left_out() -> None:
    raw, decisions = scored([0.01] * 20 + [9.0] * 20, 0.04)
    labels = np.repeat([0, 1], 20)
    assert list(choose_golden(raw, decisions, labels, AnomalyScore(0.04)).label_index) == [1] * 16


def test_anomalies_with_wild_outputs_are_left_out() -> None:
    """They widen the spread that the tolerance is relative to, beside which no sample has a margin."""
    raw, decisions = scored([0.01] * 20 + [2500.0] * 20, 0.25, sizes=np.repeat([1.0, 1000.0], 20))
    labels = np.repeat([0, 1], 20)
    assert list(choose_golden(raw, decisions, labels, AnomalyScore(0.25)).label_index) == [0] * 16


def test_a_pool_without_anomalies_gives_normal_samples_alone() -> None:
    raw, decisions = scored([0.01] * 30, 1.0)
    assert list(choose_golden(raw, decisions, np.zeros(30, np.int64), AnomalyScore(1.0)).label_index) == [0] * 16


def test_scores_that_lie_around_the_threshold_are_refused() -> None:
    raw, decisions = scored(np.linspace(0.9, 1.1, 40), 1.0)
    with pytest.raises(DataError, match=r"only 0 of 40 samples are judged rightly with a root score at least .* weak"):
        choose_golden(raw, decisions, decisions.label_index, AnomalyScore(1.0))


def test_wrongly_judged_samples_are_never_golden() -> None:
    raw, decisions = scored([0.01] * 10 + [9.0] * 10, 1.0)
    with pytest.raises(DataError, match="only 0 of 20"):
        choose_golden(raw, decisions, 1 - decisions.label_index, AnomalyScore(1.0))


# ---- which samples, where values are answered


def test_golden_values_are_spread_over_the_answers_without_the_extremes(sensors: Any) -> None:
    answered = np.sort(
        sensors.decisions(sensors.regressor(), sensors.windows_preprocessing, sensors.regression, sensors.windows).score
    )
    golden = sensors.golden("regression")
    assert (golden.samples.shape, set(golden.label_index)) == ((16, 20, 3), {0})
    found = np.sort(golden.outputs[:, 0] * 8.0 + 40.0)
    ranks = np.searchsorted(answered, found - 1e-3)
    assert np.all(np.abs(ranks - (np.arange(16) + 0.5) * 300 / 16) <= 1)


def test_only_the_closeness_of_values_counts(sensors: Any) -> None:
    golden = sensors.golden("regression")
    noise = np.random.default_rng(0).normal(size=golden.outputs.shape) * golden.outputs.std()
    for size, close in ((0.05, True), (0.3, False)):
        outputs = (golden.outputs + size * noise).astype(np.float32)
        assert compare_golden(golden, outputs, golden.label_index, GOLDEN_TOLERANCE).reproduced is close


def test_a_model_that_always_answers_the_same_value_is_refused() -> None:
    heat = Regression(20.0, 5.0, "temperature", "°C")
    decisions = heat.decide(np.full((50, 1), 0.3, np.float32), np.zeros((50, 2, 1, 1), np.float32))
    with pytest.raises(DataError, match="only 1 of 50 samples are answered with different values"):
        choose_golden(np.zeros((50, 2), np.float32), decisions, np.zeros(50), heat)


# ---- the statistic


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1000), st.floats(-100, 100), st.floats(0.001, 1))
def test_deviation_has_no_unit(seed: int, scale: float, shift: float, noise: float) -> None:
    rng = np.random.default_rng(seed)
    expected, error = rng.normal(size=(16, 10)), rng.normal(size=(16, 10)) * noise
    plain = relative_deviation((expected + error).astype(np.float32), expected.astype(np.float32))
    scaled = relative_deviation(
        ((expected + error) * scale + shift * scale).astype(np.float32),
        (expected * scale + shift * scale).astype(np.float32),
    )
    assert scaled == pytest.approx(plain, rel=0.02)


def test_the_worst_sample_is_a_wrong_decision_before_a_large_deviation() -> None:
    outputs = np.array([[5, 0], [0, 5], [5, 0]], np.float32)
    golden = Golden(np.zeros((3, 2, 2), np.uint8), outputs, outputs.argmax(axis=1))
    now = np.array([[9, 0], [2.6, 2.5], [5, 0]], np.float32)
    found = replay(golden, now)
    assert (found.agreeing, found.worst_sample, found.reproduced) == (2, 1, False)
    assert "2/3 golden decisions" in found.describe()
    assert "worst sample 1" in found.describe()


# ---- as a file


def test_the_same_samples_give_the_same_bytes_and_come_back(zoo: Any) -> None:
    golden = zoo.golden(zoo.int8("mlp"))
    data = golden_to_bytes(golden)
    assert golden_to_bytes(zoo.golden(zoo.int8("mlp"))) == data
    back = golden_from_bytes(data)
    assert np.array_equal(back.samples, golden.samples)
    assert np.array_equal(back.outputs, golden.outputs)
    assert np.array_equal(back.label_index, golden.label_index)


@given(st.integers(0, 5000), st.integers(1, 255), st.booleans())
def test_damaged_files_are_refused_cleanly_or_read_as_golden_samples(at: int, flip: int, cut: bool) -> None:
    outputs = np.eye(4, dtype=np.float32)
    data = bytearray(golden_to_bytes(Golden(np.zeros((4, 5, 5), np.uint8), outputs, np.arange(4))))
    at %= len(data)
    data[at] ^= flip
    # The only error that may come; a flipped value inside an array is for the digest to find.
    with contextlib.suppress(BundleError):
        golden_from_bytes(bytes(data[:at] if cut else data))


def test_pickles_compressed_and_foreign_arrays_are_refused() -> None:
    import io
    import zipfile

    buffer = io.BytesIO()
    np.savez(buffer, samples=np.array([{}], object), outputs=np.zeros(1), label_index=np.zeros(1))
    with pytest.raises(BundleError, match="cannot be read"):
        golden_from_bytes(buffer.getvalue())
    buffer = io.BytesIO()
    np.savez_compressed(buffer, samples=np.zeros(1), outputs=np.zeros(1), label_index=np.zeros(1))
    with pytest.raises(BundleError, match="compressed"):
        golden_from_bytes(buffer.getvalue())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("evil.py", "")
    with pytest.raises(BundleError, match=r"evil\.py"):
        golden_from_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    ("outputs", "rule"),
    [
        (np.full((2, 3), np.nan, np.float32), "finite"),
        (np.zeros((2, 3), np.float32), "not all alike"),
        (np.eye(3, dtype=np.float32), "same number"),
        (np.eye(2), "outputs must be float32, found float64"),
    ],
)
def test_broken_golden_samples_cannot_exist(outputs: Any, rule: str) -> None:
    with pytest.raises(BundleError, match=rule):
        Golden(np.zeros((2, 4, 4), np.uint8), outputs, np.zeros(2, np.int64))


@pytest.mark.parametrize("samples", [np.zeros((2, 4)), np.zeros((2, 4, 4), np.int8), np.zeros((2, 4), ">f4")])
def test_golden_samples_are_bytes_or_float32(samples: Any) -> None:
    with pytest.raises(BundleError, match="golden samples must be uint8 or float32"):
        Golden(samples, np.eye(2, dtype=np.float32), np.zeros(2, np.int64))


@pytest.mark.parametrize("kind", ["anomaly", "regression"])
def test_floating_point_samples_come_back_to_the_bit(sensors: Any, kind: str) -> None:
    golden = sensors.golden(kind)
    back = golden_from_bytes(golden_to_bytes(golden))
    assert np.array_equal(back.samples, golden.samples)
    assert golden_to_bytes(back) == golden_to_bytes(golden)


def emulate(model: bytes, samples: Any, saturate: bool) -> Any:
    """Compute a QDQ chain in integers, adding pairs of products in 16 bits as kernels without VNNI do."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(model).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    at = samples.astype(np.float64)
    for node in graph.node:
        if node.op_type == "Relu":
            at = np.maximum(at, 0)
        elif node.op_type == "Flatten":
            at = at.reshape(len(at), -1)
        elif node.op_type in ("Conv", "Gemm"):
            scale, zero = (values[name] for name in producers[node.input[0]].input[1:])
            weight, weight_scale = (values[name] for name in producers[node.input[1]].input[:2])
            bias, bias_scale = (values[name] for name in producers[node.input[2]].input[:2])
            rounded = np.clip(np.rint(at / scale) + int(zero), 0, 255).astype(np.int64)
            rows, shape = _patches(rounded, int(zero)) if node.op_type == "Conv" else (rounded, (len(at),))
            columns = weight.astype(np.int64).transpose(*range(2, weight.ndim), 1, 0).reshape(rows.shape[1], -1)
            total = _add_products(rows, columns, saturate) - int(zero) * columns.sum(axis=0)
            out = total * (scale * weight_scale.astype(np.float64)) + bias * bias_scale.astype(np.float64)
            at = np.moveaxis(out.reshape(*shape, -1), -1, 1)
    return at.astype(np.float32)


def _patches(image: Any, padding: int) -> tuple[Any, tuple[int, ...]]:
    """Rows of 3 x 3 patches, channels innermost, for stride 2 and padding 1."""
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=padding)
    height, width = image.shape[2:]
    parts = [padded[:, :, y : y + height : 2, x : x + width : 2] for y in range(3) for x in range(3)]
    stacked = np.stack(parts, axis=-1).transpose(0, 2, 3, 4, 1)
    return stacked.reshape(-1, 9 * image.shape[1]), stacked.shape[:3]


def _add_products(rows: Any, columns: Any, saturate: bool) -> Any:
    if not saturate:
        return rows @ columns
    if rows.shape[1] % 2:
        rows, columns = np.pad(rows, ((0, 0), (0, 1))), np.pad(columns, ((0, 1), (0, 0)))
    total = np.zeros((len(rows), columns.shape[1]), np.int64)
    for k in range(0, rows.shape[1], 2):
        pair = np.outer(rows[:, k], columns[k]) + np.outer(rows[:, k + 1], columns[k + 1])
        total += np.clip(pair, -(2**15), 2**15 - 1)
    return total
