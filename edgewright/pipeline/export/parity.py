"""Parity: an exported file answers real samples as the framework does that it comes from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgewright.engines.engine import Engine
from edgewright.errors import StageError

_BATCH_SAMPLES = 64


def prove_parity(
    framework: str,
    expected: npt.NDArray[np.float32],
    engine: Engine,
    samples: npt.NDArray[np.float32],
    parity_tolerance: float,
) -> float:
    """Runs the exported model with 1, 4 and many samples.

    Args:
        framework: Its name, for messages.
        expected: The framework's own answers, float32 ``[M, K]``.
        engine: The exported model, loaded.
        samples: Real preprocessed samples, float32 ``[M, C, H, W]``, at least 4.
        parity_tolerance: Largest allowed difference of an output.

    Returns:
        The largest difference of an output.

    Raises:
        StageError: The answers have another shape, differ by more, or are not finite.
    """
    for count in (1, 4):
        shape = engine.run(samples[:count]).shape
        if shape != (count, expected.shape[1]):
            raise StageError(f"the exported model answers a batch of {count} with shape {shape}.")
    parts = [engine.run(samples[start : start + _BATCH_SAMPLES]) for start in range(0, len(samples), _BATCH_SAMPLES)]
    parity = float(np.abs(np.concatenate(parts) - expected).max())
    if not parity <= parity_tolerance:
        raise StageError(
            f"the exported model differs from {framework} by {parity:.3g} in an output on {len(samples)} real samples; "
            f"at most {parity_tolerance:g} is allowed (export.parity_tolerance)."
        )
    return parity
