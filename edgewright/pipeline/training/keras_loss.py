"""What a training with Keras makes small: the losses of ``edgewright.pipeline.training.objective``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from edgewright.pipeline.training.plan import TrainingPlan

LossFunction = Callable[[Any, Any], Any]
"""``(expected, outputs) -> mean loss of the batch``, a float32 scalar, in the order that Keras wants."""


def loss_function(plan: TrainingPlan) -> LossFunction:
    """The mean loss of a batch.

    classification: cross entropy in nats of scores float32 ``[N, K]`` and labels ``[N]``, averaged by the weights of the
    classes; reconstruction: mean squared difference of two float32 ``[N, V]``; regression: Huber loss with delta 1 of float32
    ``[N, 1]`` and ``[N]``.
    """
    if plan.objective == "reconstruction":
        return lambda expected, outputs: tf.reduce_mean(tf.square(outputs - expected))
    if plan.objective == "regression":
        return _huber
    if plan.class_weights is None:
        return lambda labels, scores: tf.reduce_mean(_nats(labels, scores))
    weights = tf.constant(plan.class_weights, tf.float32)

    def weighted(labels: Any, scores: Any) -> Any:
        counts = tf.gather(weights, tf.reshape(labels, [-1]))
        return tf.reduce_sum(counts * _nats(labels, scores)) / tf.reduce_sum(counts)

    return weighted


# Keras gives labels of one axis a second one.
def _nats(labels: Any, scores: Any) -> Any:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.reshape(labels, [-1]), scores)


def _huber(values: Any, outputs: Any) -> Any:
    error = tf.abs(tf.reshape(outputs, [-1]) - tf.reshape(values, [-1]))
    return tf.reduce_mean(tf.where(error < 1, tf.square(error) / 2, error - 0.5))
