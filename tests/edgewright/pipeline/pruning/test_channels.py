"""How many channels stay: what a recipe's check and the pruner both go by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.pipeline.pruning.channels import kept_channels, kept_heads, scaled_width


@pytest.mark.parametrize(
    ("width", "sparsity", "kept"),
    [(32, 0.5, 16), (64, 0.5, 32), (128, 0.75, 32), (32, 0.05, 32), (16, 0.95, 8), (8, 0.5, 8), (24, 0.3, 16)],
)
def test_the_nearest_multiple_of_8_stays(width: int, sparsity: float, kept: int) -> None:
    assert kept_channels(width, sparsity) == kept


@given(blocks=st.integers(1, 128), sparsity=st.floats(0, 1), more=st.floats(0, 1))
def test_some_always_stay_and_more_sparsity_never_keeps_more(blocks: int, sparsity: float, more: float) -> None:
    width = 8 * blocks
    kept = kept_channels(width, sparsity)
    assert 8 <= kept <= width and kept % 8 == 0
    assert abs(kept - width * (1 - sparsity)) <= 4 or kept == 8
    assert kept_channels(width, max(sparsity, more)) <= kept


@pytest.mark.parametrize(
    ("heads", "sparsity", "kept"), [(4, 0.5, 2), (4, 0.05, 4), (3, 0.5, 2), (4, 0.95, 1), (1, 0.9, 1), (8, 0.75, 2)]
)
def test_the_nearest_whole_number_of_heads_stays_and_never_none(heads: int, sparsity: float, kept: int) -> None:
    assert kept_heads(heads, sparsity) == kept


@pytest.mark.parametrize(
    ("channels", "factor", "width"), [(32, 0.25, 8), (64, 0.2, 16), (32, 0.01, 8), (1024, 2, 2048)]
)
def test_scaled_widths_are_multiples_of_8_too(channels: int, factor: float, width: int) -> None:
    assert scaled_width(channels, factor) == width
