"""The one-cycle learning rate for Keras (Smith and Topin 2017), the same numbers as PyTorch's ``OneCycleLR``."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
import tf_keras as keras

# PyTorch's own settings.
_RISING = 0.3
_FIRST_OF_PEAK, _LAST_OF_FIRST = 1 / 25, 1e-4


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # tf_keras has no types
    """Up to a peak during 0.3 of the steps and down to next to nothing during the rest, both along half a cosine.

    PyTorch's schedule also moves Adam's first momentum between 0.85 and 0.95 while the rate moves; Keras' optimizers take one
    number, and keep 0.9.
    """

    def __init__(self, peak: float, steps: int) -> None:
        """Settles the schedule.

        Args:
            peak: The highest rate.
            steps: Steps that will be taken.
        """
        super().__init__()
        self._peak, self._steps = peak, steps
        # As in PyTorch's, which counts one step more than is taken here: it looks one step ahead.
        self._top, self._end = _RISING * (steps + 1) - 1, steps

    def __call__(self, step: Any) -> Any:
        """The rate, a float32 scalar, of a step from 0."""
        now, first = tf.cast(step, tf.float32), self._peak * _FIRST_OF_PEAK
        rising = _half_cosine(first, self._peak, now / self._top)
        falling = _half_cosine(self._peak, first * _LAST_OF_FIRST, (now - self._top) / (self._end - self._top))
        return tf.where(now <= self._top, rising, falling)

    def get_config(self) -> dict[str, Any]:
        """What makes the same schedule again."""
        return {"peak": self._peak, "steps": self._steps}


def _half_cosine(start: float, end: float, done: Any) -> Any:
    return end + (start - end) / 2 * (1 + tf.cos(math.pi * done))
