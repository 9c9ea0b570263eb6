"""The Keras architectures are the PyTorch ones: as many weights, the same answers from the same weights, the same costs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgewright.pipeline.models.pytorch import build_model
from edgewright.pipeline.models.vit import Vit
from edgewright.pipeline.tensorflow_process import run_with_tensorflow
from keras_networks import Networks, Shape, Wanted, build_networks

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"widths": [32, 24]},
    "resnet8": {"widths": [16, 16, 24]},
    "mobilenet_v1": {"width_factor": 0.125},
    "ds_cnn": {"channels": 32, "blocks": 3, "kernel": 3},
    "vit": {"patch": 7, "embedding": 32, "depth": 2, "heads": 4, "mlp_width": 48},
    "autoencoder": {"widths": [32, 16, 4]},
}
# An image, a picture that is halved along one axis alone, a window of sensors.
SHAPES: list[Shape] = [(1, 28, 28), (2, 4, 28), (6, 1, 60)]
# Sides that are odd wherever they are halved: there "same" pads both sides alike, as PyTorch does.
ODD: dict[str, Shape] = {
    "mlp": (3, 4, 5),
    "resnet8": (3, 17, 33),
    "mobilenet_v1": (3, 33, 33),
    "ds_cnn": (6, 1, 33),
    "vit": (3, 14, 21),
    "autoencoder": (3, 4, 5),
}
CASES = [*product(SMALL, SHAPES), *ODD.items()]
# The layers with weights, in the order in which PyTorch's networks hold them.
ENCODER_BLOCK = ("norm1", "query", "key", "value", "merge", "norm2", "widen", "narrow")
LAYERS: dict[str, list[str]] = {
    "mlp": ["hidden1_dense", "hidden1_norm", "hidden2_dense", "hidden2_norm", "scores"],
    "resnet8": [
        *(f"{part}_{kind}" for part in ("stem", "block1_1", "block1_2") for kind in ("conv", "norm")),
        *(f"block2_{part}_{kind}" for part in ("1", "2", "shortcut") for kind in ("conv", "norm")),
        *(f"block3_{part}_{kind}" for part in ("1", "2", "shortcut") for kind in ("conv", "norm")),
        "scores",
    ],
    "vit": [
        *("patches", "position"),
        *(f"block{number}_{part}" for number in (1, 2) for part in ENCODER_BLOCK),
        *("norm", "scores"),
    ],
    "autoencoder": [
        *("encoder1_dense", "encoder1_norm", "encoder2_dense", "encoder2_norm", "code"),
        *("decoder1_dense", "decoder1_norm", "decoder2_dense", "decoder2_norm", "scores"),
    ],
} | {
    name: [
        *("stem_conv", "stem_norm"),
        *(
            f"block{number}_{part}_{kind}"
            for number in range(1, blocks + 1)
            for part in ("depthwise", "pointwise")
            for kind in ("conv", "norm")
        ),
        "scores",
    ]
    for name, blocks in (("mobilenet_v1", 13), ("ds_cnn", 3))
}


@cache
def in_pytorch(name: str, shape: Shape) -> nn.Module:
    """The network with weights that are no network's first ones: norms too have something to say."""
    outputs = int(np.prod(shape)) if name == "autoencoder" else 10
    torch.manual_seed(4)
    model = build_model(name, shape, outputs, **SMALL[name]).eval()
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
                part.weight.uniform_(0.5, 1.5)
                part.bias.normal_(0, 0.3)
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
                part.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return model


def as_keras(part: nn.Module) -> list[NDArray[np.float32]]:
    """A layer's arrays in the order and the shapes of Keras."""
    arrays = [array.numpy() for name, array in part.state_dict().items() if name != "num_batches_tracked"]
    if isinstance(part, nn.Conv2d):
        depthwise = part.groups > 1
        return [arrays[0].transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)), *arrays[1:]]
    if isinstance(part, nn.Linear):
        return [arrays[0].T, *arrays[1:]]
    return [arrays[0][0]] if arrays[0].ndim == 3 else arrays  # the position's first axis is the batch's


def wanted(name: str, shape: Shape) -> Wanted:
    model = in_pytorch(name, shape)
    layers = [part for part in model.modules() if part.state_dict() and not list(part.children())]
    outputs = int(np.prod(shape)) if name == "autoencoder" else 10
    names = LAYERS[name]
    assert len(names) >= len(layers)
    return Wanted(name, shape, outputs, SMALL[name], [as_keras(part) for part in layers], names[: len(layers)])


@pytest.fixture(scope="module")
def networks() -> Iterator[Networks]:
    """Every case in both frameworks, one process."""
    torch.set_num_threads(1)
    asked = [wanted(name, shape) for name, shape in CASES]
    yield run_with_tensorflow(build_networks, asked, work="networks", deadline_s=240)
    in_pytorch.cache_clear()


def linear_macs(model: nn.Module, shape: Shape) -> int:
    """Multiply-accumulates of convolutions, linear layers and attention alone."""
    found: list[int] = []

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        found.append(output.numel() * int(np.prod(layer.weight.shape[1:])))

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        model(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    attention = len(model.blocks) * 2 * model.tokens**2 * model.embedding if isinstance(model, Vit) else 0
    return sum(found) + attention


# --- the same networks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", range(len(CASES)), ids=str)
def test_there_are_as_many_weights_as_in_pytorch(networks: Networks, case: int) -> None:
    expected = sum(weight.numel() for weight in in_pytorch(*CASES[case]).parameters())
    assert networks.built[case].cost.parameters == expected


@pytest.mark.parametrize("case", range(len(CASES)), ids=str)
def test_there_is_as_much_to_multiply_as_in_pytorch(networks: Networks, case: int) -> None:
    name, shape = CASES[case]
    found, expected = networks.built[case].cost.macs, linear_macs(in_pytorch(name, shape), shape)
    if name in ("mobilenet_v1", "ds_cnn") and shape == (2, 4, 28):
        # Halved along one axis alone: a depthwise convolution answers at every place, and half of that is dropped.
        assert expected < found < 1.2 * expected
    else:
        assert found == expected


@pytest.mark.parametrize("name", ODD)
def test_the_same_weights_give_the_same_answers(networks: Networks, name: str) -> None:
    """Among others, what is flattened is flattened with channels first."""
    case = CASES.index((name, ODD[name]))
    with torch.inference_mode():
        expected = in_pytorch(name, ODD[name])(torch.from_numpy(wanted(name, ODD[name]).samples)).numpy()
    assert expected.std() > 0.05
    np.testing.assert_allclose(networks.built[case].answers, expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("case", range(len(CASES)), ids=str)
def test_the_input_is_image_and_the_output_is_scores_without_softmax(networks: Networks, case: int) -> None:
    built = networks.built[case]
    assert (built.input_name, built.last_layer, built.last_activation) == ("image", "scores", "linear")


@pytest.mark.parametrize("case", range(len(CASES)), ids=str)
def test_an_untrained_network_lets_pass_what_samples_differ_in(networks: Networks, case: int) -> None:
    """A start that shrinks what passes makes all samples look alike after some layers, and nothing is learned."""
    assert networks.built[case].spread > 3e-3


def test_what_cannot_be_built_is_refused_in_words(networks: Networks) -> None:
    assert networks.refused == {
        "unknown": (
            "architecture.name 'resnet9' is not known. Known: autoencoder, ds_cnn, entry_point, mlp, mobilenet_v1, resnet8, "
            "vit."
        ),
        "other outputs": (
            "architecture.name: an autoencoder answers a sample of 6 values with 6 outputs, not with 4. Choose it for task "
            "anomaly alone."
        ),
        "wide code": (
            "architecture.widths: a code of 6 (the last width) can copy a sample of 6 values, normal or not. Set it to less "
            "than 6."
        ),
    }


# --- costs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        ("dense on tokens", 5 * 3 * 7),
        ("convolution of a series", 9 * 4 * 3 * 3),
        ("convolution of a volume", 4**3 * 5 * 3**3 * 3),
        ("transposed convolution", 5 * 5 * 3 * 9 * 4),
        ("separable convolution", 5 * 5 * (3 * 9 + 3 * 4)),
        ("attention", 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8),
        ("recurrent", 7 * (5 + 4) * 4 * 4),
        ("recurrent, unrolled", 7 * (5 + 4) * 4 * 4),
        ("no product", 0),
    ],
)
def test_any_layer_is_counted_from_its_graph(networks: Networks, layer: str, macs: int) -> None:
    assert networks.macs[layer] == macs


def test_zeros_are_counted_and_shrink_the_compressed_weights_alone(networks: Networks) -> None:
    before, after = networks.zeros
    assert before.nonzero_parameters - after.nonzero_parameters == 48 * 64
    assert (after.parameters, after.macs, after.size_bytes) == (before.parameters, before.macs, before.size_bytes)
    assert after.compressed_size_bytes < 0.5 * before.compressed_size_bytes
    assert before.size_bytes > 4 * before.parameters
