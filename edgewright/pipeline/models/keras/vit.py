"""A small vision transformer in Keras; see ``edgewright.pipeline.models.vit``."""

from __future__ import annotations

import tf_keras as keras

from edgewright.pipeline.models.geometry import InputShape, patch_geometry
from edgewright.pipeline.models.keras.attention import PositionEmbedding, encoder_block, layer_norm
from edgewright.pipeline.models.keras.convolution import image_input


def vit(
    input_shape: InputShape, outputs: int, patch: int, embedding: int, depth: int, heads: int, mlp_width: int
) -> keras.Model:
    """Patches, encoder blocks, the mean over tokens, one linear layer."""
    size, _, tokens = patch_geometry(input_shape, patch)
    image = image_input(input_shape)
    # "same" fills a rest at the border, as the padding of the geometry does.
    x = keras.layers.Conv2D(embedding, size, strides=size, padding="same", name="patches")(image)
    x = keras.layers.Reshape((tokens, embedding), name="tokens")(x)
    x = PositionEmbedding(name="position")(x)
    for number in range(1, depth + 1):
        x = encoder_block(x, heads, mlp_width, f"block{number}")
    x = keras.layers.GlobalAveragePooling1D(name="pool")(layer_norm(x, "norm"))
    return keras.Model(image, keras.layers.Dense(outputs, name="scores")(x), name="vit")
