"""Cut a recording into windows of equal length: what a model for sensor channels takes as one sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError


def check_window(where: str, window_samples: int, stride_samples: int) -> None:
    """Refuse a length or a stride that cuts nothing, or that leaves moments of a recording in no window.

    Raises:
        DataError: The length is below 2, or the stride is below 1 or above the length.
    """
    if window_samples < 2:
        raise DataError(f"{where}: window_samples is {window_samples}, needs at least 2. Raise it.")
    if not 1 <= stride_samples <= window_samples:
        raise DataError(
            f"{where}: stride_samples is {stride_samples}, needs 1 to {window_samples} (window_samples): a longer stride "
            "would skip part of every recording. Lower it."
        )


def cut_windows(series: npt.NDArray[Any], window_samples: int, stride_samples: int) -> npt.NDArray[Any]:
    """Cut one recording into windows, the first at its start; what is left at its end is left out.

    Args:
        series: ``[L, C]``, oldest first.
        window_samples: Length T of a window.
        stride_samples: From one window's start to the next one's.

    Returns:
        ``[N, T, C]`` of the same dtype, N = (L - T) // stride + 1, or 0 where the recording is shorter than a window.
    """
    if len(series) < window_samples:
        return np.empty((0, window_samples, series.shape[1]), dtype=series.dtype)
    views = np.lib.stride_tricks.sliding_window_view(series, window_samples, axis=0)[::stride_samples]
    return np.ascontiguousarray(views.transpose(0, 2, 1))
