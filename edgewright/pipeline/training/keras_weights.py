"""Weights of Keras models as bytes: an npz without pickle, the same bytes for the same weights.

A weight's key is its place in the model and its own name, e.g. ``0003 kernel``. The names of layers are left out: Keras makes
them up by counting, so that a network that is built twice has others the second time.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from edgewright.errors import StageError


def weights_to_bytes(model: keras.Model) -> bytes:
    """The model's weights, those of batch norms' running figures too; not the optimizer's."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **_arrays(model))
    return buffer.getvalue()


def load_weights(model: keras.Model, content: bytes) -> keras.Model:
    """Puts weights into a freshly built model and returns it.

    Raises:
        StageError: The weights belong to another architecture.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    wanted = {key: array.shape for key, array in _arrays(model).items()}
    found = {key: array.shape for key, array in arrays.items()}
    if found != wanted:
        raise StageError(
            f"stored weights do not fit the architecture: {model.name} has {len(wanted)} weights, stored are {len(found)}; "
            f"{_first_difference(wanted, found)}. Train it anew."
        )
    model.set_weights([arrays[key] for key in wanted])
    return model


def _arrays(model: keras.Model) -> dict[str, npt.NDArray[Any]]:
    return {
        f"{place:04d} {weight.name.rpartition('/')[2].removesuffix(':0')}": weight.numpy()
        for place, weight in enumerate(model.weights)
    }


def _first_difference(wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    for key in sorted({*wanted, *found}):
        if wanted.get(key) != found.get(key):
            return f'"{key}" is {_shape(wanted.get(key))} in the one and {_shape(found.get(key))} in the other'
    return "the order differs"


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"of shape {list(shape)}"
