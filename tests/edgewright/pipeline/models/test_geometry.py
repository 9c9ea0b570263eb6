"""Kernels and strides follow the sample."""

from __future__ import annotations

import pytest

from edgewright.pipeline.models.geometry import kernel_for, padding_for, strides_for


@pytest.mark.parametrize(
    ("shape", "kernel"), [((1, 28, 28), (5, 5)), ((6, 1, 100), (1, 5)), ((6, 100, 1), (5, 1)), ((6, 1, 1), (1, 1))]
)
def test_a_kernel_does_not_reach_along_an_axis_that_is_not_there(
    shape: tuple[int, int, int], kernel: tuple[int, int]
) -> None:
    assert kernel_for(shape, 5) == kernel
    assert padding_for(kernel) == (kernel[0] // 2, kernel[1] // 2)


def test_a_large_image_goes_through_the_architectures_own_strides() -> None:
    assert strides_for((3, 96, 96), [2, 1, 2, 2, 2, 2]) == [(2, 2), (1, 1), (2, 2), (2, 2), (2, 2), (2, 2)]


def test_each_axis_is_halved_only_while_there_is_something_to_halve() -> None:
    assert strides_for((1, 28, 28), [2, 2, 2, 2, 2]) == [(2, 2), (2, 2), (2, 2), (1, 1), (1, 1)]  # 28 14 7 4 4 4
    assert strides_for((6, 1, 100), [2, 2, 2, 2, 2]) == [(1, 2)] * 5  # 100 50 25 13 7 4
    assert strides_for((6, 1, 3), [2, 2]) == [(1, 1)] * 2
