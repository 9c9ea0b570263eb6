"""Windows: equal in length, in order, never past the end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import DataError
from edgewright.pipeline.datasets.windows import check_window, cut_windows


@settings(max_examples=100, deadline=None)
@given(length=st.integers(0, 60), window=st.integers(2, 20), data=st.data())
def test_windows_are_slices_at_every_stride(length: int, window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, window))
    series = np.arange(length * 3, dtype=np.float32).reshape(length, 3)
    windows = cut_windows(series, window, stride)
    starts = range(0, length - window + 1, stride)
    assert windows.shape == (len(starts), window, 3)
    for start, cut in zip(starts, windows, strict=True):
        assert np.array_equal(cut, series[start : start + window])


@pytest.mark.parametrize(
    ("window", "stride", "message"),
    [(1, 1, "window_samples is 1"), (4, 0, "stride_samples is 0, needs 1 to 4"), (4, 5, "stride_samples is 5")],
)
def test_windows_that_skip_or_hold_nothing_are_refused(window: int, stride: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_window("mine", window, stride)
