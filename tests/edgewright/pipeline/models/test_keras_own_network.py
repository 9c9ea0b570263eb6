"""A Keras network of your own: built with the recipe's arguments, tried before the training, refused by the recipe's key."""

# One row is one slip and its exact message, however long.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

import pytest

from edgewright.pipeline.architecture import (
    AutoencoderSettings,
    DsCnnSettings,
    EntryPointSettings,
    MlpSettings,
    MobileNetV1Settings,
    ResNet8Settings,
    VitSettings,
)
from edgewright.pipeline.tensorflow_process import run_with_tensorflow
from edgewright.pipeline.variant_settings import PruneSettings
from keras_own_networks import Found, Trial, try_networks

NETS = "keras_nets_of_a_test"
SOURCE = """
import tensorflow as tf
import tf_keras as keras
from tf_keras import layers

def small(hidden, classes=4, input_shape=None):
    image = keras.Input(input_shape)
    x = layers.Dense(hidden, activation="relu")(layers.Flatten()(image))
    model = keras.Model(image, layers.Dense(classes)(x), name="small")
    model.called_with = {"hidden": hidden, "classes": classes, "input_shape": input_shape}
    return model

def functional(input_shape, classes, middle=None, head=None, name="own"):
    image = keras.Input(input_shape)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = middle(x) if middle else x
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, head(x) if head else layers.Dense(classes)(x), name=name)

def plain(input_shape, classes):
    return functional(input_shape, classes)

def sequential(classes):
    return keras.Sequential([layers.Conv2D(8, 3), layers.ReLU(), layers.Flatten(), layers.Dense(classes)])

def nested(input_shape, classes):
    inner = keras.Sequential([layers.Input((8, 10, 8)), layers.Conv2D(8, 3, padding="same"), layers.ReLU()], name="inner")
    return functional(input_shape, classes, lambda x: inner(x) + x)

def attentive(input_shape, classes):
    def middle(x):
        tokens = layers.Reshape((80, 8))(x)
        return layers.Reshape((8, 10, 8))(layers.MultiHeadAttention(2, 4, name="attention")(tokens, tokens))
    return functional(input_shape, classes, middle)

def separable(input_shape, classes):
    return functional(input_shape, classes, layers.SeparableConv2D(8, 3, padding="same"))

def shared(input_shape, classes):
    twice = layers.Conv2D(8, 3, padding="same")
    return functional(input_shape, classes, lambda x: twice(layers.ReLU()(twice(x))))

def operators(input_shape, classes):
    return functional(input_shape, classes, lambda x: tf.nn.relu(x * 2.0 - 1.0) + x)

def series(input_shape, classes):
    def middle(x):
        y = layers.Conv1D(8, 3, padding="same", name="series")(layers.Reshape((80, 8))(x))
        return layers.Reshape((8, 10, 8))(y)
    return functional(input_shape, classes, middle)

def einsum(input_shape, classes):
    return functional(input_shape, classes, layers.EinsumDense("abcd,de->abce", (8, 10, 8), name="products"))

class MyDense(layers.Dense):
    pass

def custom(input_shape, classes):
    return functional(input_shape, classes, head=MyDense(classes, name="special"))

class Hiding(layers.Layer):
    def __init__(self, **more):
        super().__init__(**more)
        self.inner = layers.Dense(8, name="inner")
    def call(self, x):
        return self.inner(x)

def hiding(input_shape, classes):
    return functional(input_shape, classes, Hiding(name="outer"))

class Offering(Hiding):
    def get_prunable_weights(self):
        return [self.inner.kernel]

def offering(input_shape, classes):
    return functional(input_shape, classes, Offering(name="outer"))

class Applying(layers.Layer):
    def __init__(self, function):
        super().__init__(name="applying")
        self.function = function
    def call(self, x):
        return self.function(x)

def no_config(input_shape, classes):
    return functional(input_shape, classes, Applying(lambda x: 2 * x))

class Subclassed(keras.Model):
    def __init__(self, classes):
        super().__init__(name="subclassed")
        self.head = layers.Dense(classes)
    def call(self, x):
        return self.head(layers.Flatten()(x))

def nothing(input_shape):
    image = keras.Input(input_shape)
    return keras.Model(image, layers.GlobalAveragePooling2D()(layers.DepthwiseConv2D(3)(image))[:, :1] + tf.zeros((1, 5)), name="nothing")

def softmax(input_shape, classes):
    return functional(input_shape, classes, head=layers.Dense(classes, activation="softmax"), name="certain")

def other_size():
    image = keras.Input((6, 6, 1))
    return keras.Model(image, layers.Dense(5)(layers.Flatten()(image)), name="other_size")

def two_outputs(input_shape, classes):
    image = keras.Input(input_shape)
    x = layers.Flatten()(image)
    return keras.Model(image, [layers.Dense(classes)(x), layers.Dense(classes)(x)], name="two_outputs")

def infinite(input_shape, classes):
    return functional(input_shape, classes, lambda x: x + tf.constant(float("inf")), name="infinite")

def third(classes):
    import keras as keras_3
    return keras_3.Sequential([keras_3.layers.Flatten(), keras_3.layers.Dense(classes)])

def breaks():
    raise ValueError("no such size")

def no_model():
    return [1, 2]

number = 3
"""
ONE_SHOT = PruneSettings(method="magnitude", sparsity=0.5, fine_tune_epochs=1)
ROWS_OF_FOUR = PruneSettings(method="magnitude", sparsity=0.5, pattern="2:4", fine_tune_epochs=1)
GRADUAL_ROWS = PruneSettings(method="magnitude", sparsity=0.5, pattern="2:4", schedule="polynomial", fine_tune_epochs=2)

# name: (entry point, arguments)
ENTRY_POINTS: dict[str, tuple[str, dict[str, Any]]] = {
    "filled in": ("{}:small", {"hidden": 8}),
    "said otherwise": ("{}:small", {"hidden": 8, "classes": 5, "input_shape": [8, 10, 3]}),
    "a class": ("{}:Subclassed", {}),
    "sequential": ("{}:sequential", {}),
}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "absent": ("{}:absent", {}, 'architecture.entry_point: module "{}" has no "absent". Correct the name.'),
    "no such module": ("absent_{}:small", {}, 'architecture.entry_point: cannot import module "absent_{}" (ModuleNotFoundError: No module named \'absent_{}\'). Install it, run where it lies, or correct its name.'),
    "no entry point": ("{}", {}, 'architecture.entry_point: "{}" is not an entry point. Write it as package.module:name.'),
    "number": ("{}:number", {}, "architecture.entry_point: {}:number is a int, not a function or class that gives a tf_keras.Model. Name such a one."),
    "breaks": ("{}:breaks", {}, "architecture.entry_point: {}:breaks raised ValueError: no such size. Build it by itself with the same arguments to see where."),
    "no model": ("{}:no_model", {}, "architecture.entry_point: {}:no_model gives a list, not a tf_keras.Model. Let it give one."),
    "keras 3": ("{}:third", {}, "architecture.entry_point: {}:third gives a model of Keras 3, which cannot be pruned or trained for quantization. Build it from tf_keras (import tf_keras as keras)."),
    "arguments": ("{}:small", {"width": 3}, "architecture.arguments: {}:small takes (hidden, classes=4, input_shape=None) and was given classes, input_shape, width (missing a required argument: 'hidden'). Correct the arguments."),
    "other number": ("{}:small", {"hidden": 8, "classes": 3}, "architecture: small answers a batch float32 [2, 8, 10, 3] with float32 [2, 3]; float32 [2, 5] is needed, one score for each of the 5 classes. Correct its last layer."),
    "two outputs": ("{}:two_outputs", {}, "architecture: two_outputs answers a batch float32 [2, 8, 10, 3] with a list; float32 [2, 5] is needed, one score for each of the 5 classes. Correct its last layer."),
    "infinite": ("{}:infinite", {}, "architecture: infinite answers a batch float32 [2, 8, 10, 3] with outputs that are not finite; float32 [2, 5] is needed, one score for each of the 5 classes. Correct its last layer."),
    "other size": ("{}:other_size", {}, 'architecture: other_size fails on a batch float32 [2, 8, 10, 3] of this data: ValueError: Input 0 of layer "other_size" is incompatible with the layer: expected shape=(None, 6, 6, 1), found shape=(2, 8, 10, 3). Make it take that shape, channels last.'),
    "softmax": ("{}:softmax", {}, "architecture: certain answers with probabilities; scores are needed, which training and devices turn into probabilities themselves. Leave the softmax out of its last layer."),
}  # fmt: skip


def own(name: str) -> EntryPointSettings:
    return EntryPointSettings.model_validate({"name": "entry_point", "entry_point": f"{NETS}:{name}"})


KEY, AWARE = "variants[2].prune", "variants[2].quantize.aware"
PRUNABLE = ["plain", "sequential", "nested", "attentive", "separable", "shared", "operators", "offering"]
SHIPPED = [
    MlpSettings(name="mlp", widths=[16]),
    ResNet8Settings(name="resnet8", widths=[8, 8, 16]),
    MobileNetV1Settings(name="mobilenet_v1", width_factor=0.125),
    DsCnnSettings(name="ds_cnn", channels=16, blocks=1),
    VitSettings(name="vit", embedding=16, heads=2, depth=1, mlp_width=16),
]
REFUSED_PRUNING = {
    "einsum": "layer products is a EinsumDense, which tfmot does not prune. Build it from Conv2D or Dense, give it a method get_prunable_weights, or remove prune.",
    "custom": "layer special is a MyDense, which tfmot does not prune. Build it from Conv2D or Dense, give it a method get_prunable_weights, or remove prune.",
    "hiding": "layer outer (Hiding) holds layer inner, which tfmot does not find there. Call it in the functional model itself, give the outer one a method get_prunable_weights, or remove prune.",
    "nothing": "nothing has no convolution and no dense layer, whose weights prune.method magnitude sets to zero. Remove prune.",
    "Subclassed": "subclassed (Subclassed) is a model with a call of its own, into which tfmot cannot look. Build it as a functional model, keras.Model(inputs, outputs), or remove prune.",
}
TRIALS = {
    **{name: Trial(own(name), {KEY: ONE_SHOT}) for name in [*PRUNABLE, *REFUSED_PRUNING, "no_config"]},
    **{f"2:4 {name}": Trial(own(name), {KEY: ROWS_OF_FOUR}) for name in ["plain", "separable", "series", "attentive"]},
    **{settings.name: Trial(settings, {KEY: ONE_SHOT}) for settings in SHIPPED},
    "2:4 resnet8": Trial(SHIPPED[1], {KEY: ROWS_OF_FOUR}),
    "gradual rows": Trial(own("plain"), {KEY: GRADUAL_ROWS}),
    "two variants": Trial(own("hiding"), {"variants[1].prune": ONE_SHOT, "variants[4].prune": ROWS_OF_FOUR}),
    "cannot be built": Trial(own("absent"), {KEY: ONE_SHOT}, [AWARE]),
    "aware": Trial(own("plain"), {}, [AWARE]),
    "aware and pruned": Trial(own("plain"), {KEY: ONE_SHOT}, [AWARE]),
    "aware and refused": Trial(own("operators"), {KEY: ONE_SHOT}, [AWARE]),
    "other task": Trial(AutoencoderSettings(name="autoencoder", widths=[16, 4])),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """All networks of this file, tried in one process that runs where they lie."""
    folder = tmp_path_factory.mktemp("nets")
    (folder / f"{NETS}.py").write_text(SOURCE)
    entry_points = {
        name: (entry_point.replace("{}", NETS), arguments)
        for name, (entry_point, arguments, *_) in {**ENTRY_POINTS, **REFUSED}.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return run_with_tensorflow(try_networks, entry_points, TRIALS, work="own networks", deadline_s=240)


# --- built --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_function_or_a_class_gives_the_network(found: Found, name: str) -> None:
    assert found.built[name] == (None, 5)


def test_what_the_data_says_is_filled_in_where_the_function_asks_channels_last(found: Found) -> None:
    assert found.arguments["filled in"] == {"hidden": 8, "classes": 5, "input_shape": (8, 10, 3)}
    assert found.arguments["said otherwise"] == {"hidden": 8, "classes": 5, "input_shape": [8, 10, 3]}


def test_the_current_folder_does_not_stay_on_the_path(found: Found) -> None:
    assert found.path_kept


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_built_is_refused_by_key(found: Found, name: str) -> None:
    assert found.built[name] == REFUSED[name][2].replace("{}", NETS)


# --- tried --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [*PRUNABLE, *(settings.name for settings in SHIPPED), "2:4 plain", "2:4 separable", "2:4 resnet8"]
)
def test_networks_of_known_layers_can_be_pruned(found: Found, name: str) -> None:
    assert found.problems[name] == []


@pytest.mark.parametrize("name", REFUSED_PRUNING)
def test_what_pruning_would_pass_over_is_refused_by_the_variants_key(found: Found, name: str) -> None:
    assert found.problems[name] == [(KEY, REFUSED_PRUNING[name])]


def test_a_layer_that_cannot_be_copied_is_named_by_keras(found: Found) -> None:
    ((key, message),) = found.problems["no_config"]
    assert key == KEY
    assert message.startswith("own cannot be copied and wrapped for pruning: "), message
    assert message.endswith("Build it from Keras' own layers, give layers of your own a get_config, or remove prune.")


def test_two_of_four_is_for_layers_whose_file_has_inputs_side_by_side(found: Found) -> None:
    message = "layer {} is a {}; pattern 2:4 is for Conv2D and Dense. Set prune.pattern to any, or build the layer from those."
    assert found.problems["2:4 series"] == [(KEY, message.format("series", "Conv1D"))]
    assert found.problems["2:4 attentive"] == [(KEY, message.format("attention", "MultiHeadAttention"))]


def test_two_of_four_is_no_gradual_schedule(found: Found) -> None:
    assert found.problems["gradual rows"] == [
        (KEY, "pattern 2:4 sets all of its zeros at once. Set prune.schedule to one_shot.")
    ]


def test_every_variant_is_told_of_its_own_problem(found: Found) -> None:
    assert [key for key, _ in found.problems["two variants"]] == ["variants[1].prune", "variants[4].prune"]


def test_what_cannot_be_built_is_told_once_and_by_the_key_of_the_network(found: Found) -> None:
    assert found.problems["cannot be built"] == [
        ("architecture.entry_point", f'module "{NETS}" has no "absent". Correct the name.')
    ]
    ((key, message),) = found.problems["other task"]
    assert key == "architecture.name" and message.startswith("an autoencoder answers a sample of 240 values")


def test_training_with_rounding_is_tried_too(found: Found) -> None:
    assert found.problems["aware"] == []
    assert found.problems["aware and pruned"] == []
    ((key, message),) = found.problems["aware and refused"]
    assert key == AWARE
    assert "\n" not in message
