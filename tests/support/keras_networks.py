"""What the tests of the Keras architectures ask in a TensorFlow process: what each is, costs and answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import StageError
from edgewright.pipeline.model_cost import ModelCost
from edgewright.pipeline.progress import ProgressListener, ignore_progress

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Wanted:
    """One network to be built.

    Attributes:
        architecture: Its name.
        shape: Channels, height, width of one sample.
        outputs: Number of outputs.
        settings: Its settings.
        weights: Arrays for each layer of ``layers``, in Keras' shapes; empty leaves those it begins with.
        layers: Names of layers that take them.
    """

    architecture: str
    shape: Shape
    outputs: int
    settings: dict[str, Any]
    weights: Sequence[Sequence[NDArray[np.float32]]] = ()
    layers: Sequence[str] = ()

    @property
    def samples(self) -> NDArray[np.float32]:
        """Three samples, float32 ``[3, C, H, W]``."""
        return np.random.default_rng(3).normal(size=(3, *self.shape)).astype(np.float32)


@dataclass(frozen=True)
class Built:
    """What a network is.

    Attributes:
        cost: What it costs.
        input_name: Name of its input layer.
        last_layer: Name of its last layer.
        last_activation: Activation of that layer.
        answers: float32 ``[3, outputs]`` for the samples.
        spread: Standard deviation over samples and places of what reaches the last layer.
    """

    cost: ModelCost
    input_name: str
    last_layer: str
    last_activation: str
    answers: NDArray[np.float32]
    spread: float


@dataclass(frozen=True)
class Networks:
    """All that was asked.

    Attributes:
        built: One for each that was wanted.
        refused: Messages of what cannot be built, by a short name.
        macs: Multiply-accumulates of single layers, by a short name.
        zeros: Cost of a network before and after some of its weights are set to zero.
    """

    built: list[Built]
    refused: dict[str, str]
    macs: dict[str, int]
    zeros: tuple[ModelCost, ModelCost]


def build_networks(wanted: Sequence[Wanted], on_progress: ProgressListener = ignore_progress) -> Networks:
    """Builds all of them in one process."""
    from edgewright.pipeline.tensorflow_process import start_tensorflow

    start_tensorflow(threads=1, seed=3)
    return Networks([_built(each) for each in wanted], _refused(), _macs(), _zeros())


def _built(wanted: Wanted) -> Built:
    import tf_keras as keras

    from edgewright.pipeline.models.keras.build import build_model
    from edgewright.pipeline.models.keras.cost import measure_cost
    from edgewright.pipeline.training.keras_batches import channels_last

    task = "anomaly" if wanted.architecture == "autoencoder" else "classification"
    model = build_model(wanted.architecture, wanted.shape, wanted.outputs, task=task, **wanted.settings)
    images = channels_last(wanted.samples)  # called as it is: a graph of its own would take longer to make than to run
    spread = float(keras.Model(model.input, model.layers[-1].input)(images, training=False).numpy().std())
    for name, arrays in zip(wanted.layers, wanted.weights, strict=True):
        model.get_layer(name).set_weights(arrays)
    last = model.layers[-1]
    return Built(
        measure_cost(model),
        model.layers[0].name,
        last.name,
        last.activation.__name__,
        model(images, training=False).numpy(),
        spread,
    )


def _refused() -> dict[str, str]:
    from edgewright.pipeline.models.keras.build import build_model

    calls: Mapping[str, Callable[[], object]] = {
        "unknown": lambda: build_model("resnet9", (1, 8, 8), 4),
        "other outputs": lambda: build_model("autoencoder", (1, 2, 3), 4, task="anomaly", widths=[8, 2]),
        "wide code": lambda: build_model("autoencoder", (1, 2, 3), 6, task="anomaly", widths=[8, 6]),
    }
    found = {}
    for name, call in calls.items():
        try:
            call()
        except StageError as error:
            found[name] = str(error)
    return found


def _macs() -> dict[str, int]:
    import tf_keras as keras

    from edgewright.pipeline.models.keras.cost import count_macs

    layers = keras.layers
    several = {
        "dense on tokens": ((5, 3), lambda x: layers.Dense(7)(x)),
        "convolution of a series": ((9, 3), lambda x: layers.Conv1D(4, 3, padding="same")(x)),
        "convolution of a volume": ((4, 4, 4, 3), lambda x: layers.Conv3D(5, 3, padding="same")(x)),
        "transposed convolution": ((5, 5, 3), lambda x: layers.Conv2DTranspose(4, 3, strides=2, padding="same")(x)),
        "separable convolution": ((5, 5, 3), lambda x: layers.SeparableConv2D(4, 3, padding="same")(x)),
        "attention": ((5, 8), lambda x: layers.MultiHeadAttention(2, 4)(x, x)),
        "recurrent": ((7, 5), lambda x: layers.LSTM(4)(x)),
        "recurrent, unrolled": ((7, 5), lambda x: layers.LSTM(4, unroll=True)(x)),
        "no product": ((5, 5, 3), lambda x: layers.MaxPooling2D()(x)),
    }
    found = {}
    for name, (shape, layer) in several.items():
        image = keras.Input(shape)
        found[name] = count_macs(keras.Model(image, layer(image)))
    return found


def _zeros() -> tuple[ModelCost, ModelCost]:
    from edgewright.pipeline.models.keras.build import build_model
    from edgewright.pipeline.models.keras.cost import measure_cost

    model = build_model("mlp", (1, 8, 8), 4, widths=[64])
    before = measure_cost(model)
    layer = model.get_layer("hidden1_dense")
    kernel, bias = layer.get_weights()
    kernel[:48] = 0
    layer.set_weights([kernel, bias])
    return before, measure_cost(model)
