"""What an autoencoder can be asked for, whatever framework it is built with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgewright.errors import StageError
from edgewright.pipeline.models.geometry import InputShape


def check_autoencoder(input_shape: InputShape, outputs: int, widths: Sequence[int]) -> int:
    """Whether the outputs are a sample and the code is narrower than one.

    Args:
        input_shape: Channels, height, width of one sample.
        outputs: Number of outputs that are asked for.
        widths: Of the encoder; the last is the code's.

    Returns:
        Values of one sample.

    Raises:
        StageError: The outputs are not a sample, or the code has room for a whole sample.
    """
    values, code = math.prod(input_shape), widths[-1]
    if outputs != values:
        raise StageError(
            f"architecture.name: an autoencoder answers a sample of {values} values with {values} outputs, not with "
            f"{outputs}. Choose it for task anomaly alone."
        )
    if code >= values:
        raise StageError(
            f"architecture.widths: a code of {code} (the last width) can copy a sample of {values} values, normal or "
            f"not. Set it to less than {values}."
        )
    return values
