"""Zeros in TFLite files: counted where devices read them, called by the network's layers, and lost ones are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgewright.errors import StageError
from edgewright.pipeline.quantization.tflite_file import TfliteFile, TfliteOperator, TfliteTensor
from edgewright.pipeline.quantization.tflite_sparsity import Zeros, _zeros, check_zeros_kept, layer_sparsity
from tflite_aware import PRUNED, Made, aware_networks
from tflite_conversions import conversions


@pytest.fixture(scope="module")
def made() -> Made:
    return aware_networks()


def file_with(weights: list[int], zero_points: tuple[int, ...], name: str, output: str = "") -> TfliteFile:
    """A file of one dense layer."""
    constant = np.array([weights], np.int8)
    tensors = (
        TfliteTensor("x", "int8", (1, 4), (1.0,), (0,), None),
        TfliteTensor(name, "int8", constant.shape, (1.0,) * len(zero_points), zero_points, constant),
        TfliteTensor(output, "int8", (1, 1), (1.0,), (0,), None),
    )
    return TfliteFile(tensors, (TfliteOperator("FULLY_CONNECTED", (0, 1), (2,)),), (0,), (2,), (), ())


def test_what_is_told_is_the_share_in_the_shipped_file_and_not_before_training_with_rounding(made: Made) -> None:
    assert [made.pruned[layer].share for layer in PRUNED] == [0.5, 0.5]
    kept, lost = (
        layer_sparsity(made.trained[name].quantized.content, made.pruned) for name in ("keeps zeros", "plain")
    )
    assert list(kept) == list(lost) == ["stem", "depthwise", "second", "scores"]
    for layer in PRUNED:
        assert 0.5 <= kept[layer] < 0.6, "rounding adds zeros"
        assert lost[layer] < 0.4


def test_files_of_every_conversion_tell_of_the_same_layers() -> None:
    quantized = conversions().quantized
    for name in ("uint8", "int8 per tensor", "dynamic", "float16"):
        shares = layer_sparsity(quantized[name].content, ["stem", "second", "scores"])
        assert list(shares) == ["stem", "depthwise + depthwise_norm", "second", "scores"]
        assert all(0 <= share < 0.1 for share in shares.values())
    assert set(layer_sparsity(quantized["float16"].content, ()).values()) == {0.0}


def test_zeros_that_were_kept_pass(made: Made) -> None:
    check_zeros_kept(made.trained["keeps zeros"].quantized.content, made.pruned)


def test_zeros_that_were_lost_are_one_error_with_layer_and_figures(made: Made) -> None:
    message = (
        r"^training with rounding in place lost zeros of pruning: \d\.\d % of the weights in the file are zero, pruning had "
        r"left 48\.6 % \(most of all in layer 'second': \d\.\d %, 50\.0 % before\)\. Leave prune or quantize\.aware out\.$"
    )
    with pytest.raises(StageError, match=message):
        check_zeros_kept(made.trained["plain"].quantized.content, made.pruned)


def test_up_to_a_point_may_be_missing(made: Made) -> None:
    content = made.trained["keeps zeros"].quantized.content
    found = layer_sparsity(content, made.pruned)
    left = sum(
        (Zeros(round(found[layer] * each.weights), each.weights) for layer, each in made.pruned.items()), Zeros(0, 0)
    )
    for missing, is_refused in ((0.009, False), (0.011, True)):
        asked = {"all": Zeros(round((left.share + missing) * 1_000_000), 1_000_000)}
        if is_refused:
            with pytest.raises(StageError, match="lost zeros of pruning"):
                check_zeros_kept(content, asked)
        else:
            check_zeros_kept(content, asked)


def test_integers_that_stand_for_zero_are_counted() -> None:
    for zero_points, expected in (((0,), 2), ((3,), 1), ((0, 0), 2)):
        ((_, _, zeros),) = _zeros(file_with([0, 0, 3, -4], zero_points, "net/scores/MatMul"), ())
        assert zeros == Zeros(expected, 4)


@pytest.mark.parametrize(
    ("name", "output", "layer"),
    [
        ("net/scores/MatMul", "", "scores"),
        ("net/quant_scores/MatMul;net/quant_scores/LastValueQuant/FakeQuant", "", "scores"),
        # A norm behind a dense layer gives the weights its own name; the dense layer's is that of what it makes.
        ("net/relu/Relu;net/norm/mul_1", "net/scores/MatMul;net/relu/Relu;net/norm/mul_1", "scores"),
        ("net/norm/mul_1", "net/code/BiasAdd;net/scores/MatMul;net/scores/BiasAdd;net/norm/mul_1", "scores"),
        ("net/inner/scores/MatMul", "", "inner/scores"),
        ("net/scores_2/MatMul", "", "scores_2"),
    ],
)
def test_a_layer_is_called_as_in_the_network(name: str, output: str, layer: str) -> None:
    ((_, found, _),) = _zeros(file_with([1], (0,), name, output), ["code", "scores", "inner", "inner/scores"])
    assert found == layer


def test_a_separable_convolution_has_two_figures() -> None:
    file = file_with([0, 1], (0,), "net/sep/separable_conv2d/depthwise")
    depthwise = replace(file, operators=(replace(file.operators[0], name="DEPTHWISE_CONV_2D"),))
    ((_, found, _),) = _zeros(depthwise, ["sep"])
    assert found == "sep (depthwise)"


def test_a_product_of_two_activations_has_no_weights() -> None:
    file = file_with([1], (0,), "")
    product = replace(file, operators=(TfliteOperator("BATCH_MATMUL", (0, 0), (2,)),))
    assert _zeros(product, ()) == []
