"""Parts of transformers in Keras; see ``edgewright.pipeline.models.attention``.

What has weights to prune is a ``Dense`` layer; the two layers of this file hold none, or only a vector per token.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras


class PositionEmbedding(keras.layers.Layer):  # type: ignore[misc]  # tf_keras has no types
    """Adds a learned vector per token to float32 ``[N, tokens, embedding]``."""

    def build(self, input_shape: Any) -> None:
        """Makes the vectors."""
        self.vectors = self.add_weight(
            name="vectors", shape=input_shape[1:], initializer=keras.initializers.RandomNormal(stddev=0.02)
        )
        super().build(input_shape)

    def call(self, x: Any) -> Any:
        """Maps float32 ``[N, tokens, embedding]`` to the same shape."""
        return x + self.vectors


class MixTokens(keras.layers.Layer):  # type: ignore[misc]  # tf_keras has no types
    """Scaled dot-product attention (Vaswani et al. 2017) of query, key and value, float32 ``[N, heads, tokens, width]``."""

    def call(self, inputs: Any) -> Any:
        """Maps the three to float32 ``[N, heads, tokens, width]``."""
        query, key, value = inputs
        similarity = tf.matmul(query, key, transpose_b=True) * query.shape[-1] ** -0.5
        return tf.matmul(tf.nn.softmax(similarity), value)


def encoder_block(x: Any, heads: int, mlp_width: int, name: str) -> Any:
    """Attention and a two-layer network, each behind a layer norm and beside a shortcut (pre-norm).

    Args:
        x: float32 ``[N, tokens, embedding]``.
        heads: Attention heads, which share the embedding's width.
        mlp_width: Hidden channels of the two-layer network.
        name: What the layers' names begin with.
    """
    y = _self_attention(layer_norm(x, f"{name}_norm1"), heads, name)
    x = keras.layers.Add(name=f"{name}_add1")([x, y])
    y = keras.layers.Dense(mlp_width, name=f"{name}_widen")(layer_norm(x, f"{name}_norm2"))
    y = keras.layers.Activation("gelu", name=f"{name}_gelu")(y)
    y = keras.layers.Dense(x.shape[-1], name=f"{name}_narrow")(y)
    return keras.layers.Add(name=f"{name}_add2")([x, y])


def layer_norm(x: Any, name: str) -> Any:
    """A layer norm over the last axis."""
    return keras.layers.LayerNormalization(epsilon=1e-5, name=name)(x)


def _self_attention(x: Any, heads: int, name: str) -> Any:
    tokens, embedding = x.shape[1:]

    def split(part: str) -> Any:
        y = keras.layers.Dense(embedding, name=f"{name}_{part}")(x)
        y = keras.layers.Reshape((tokens, heads, embedding // heads), name=f"{name}_{part}_split")(y)
        return keras.layers.Permute((2, 1, 3), name=f"{name}_{part}_heads")(y)

    mixed = MixTokens(name=f"{name}_mix")([split("query"), split("key"), split("value")])
    mixed = keras.layers.Permute((2, 1, 3), name=f"{name}_mixed_tokens")(mixed)
    mixed = keras.layers.Reshape((tokens, embedding), name=f"{name}_mixed")(mixed)
    return keras.layers.Dense(embedding, name=f"{name}_merge")(mixed)
