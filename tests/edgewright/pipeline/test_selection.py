"""The choice: by validation figures alone, by what the recipe asks for; the reference only where it is all there is."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.pipeline.selection import Contender, rank

FP32 = Contender("fp32", True, 0.0, 400_000, 0.80)
I8 = Contender("i8", False, 0.10, 110_000, 0.30)
P50 = Contender("p50", False, 0.30, 100_000, 0.25)
P50_I8 = Contender("p50-i8", False, 0.40, 40_000, 0.15)
ALL = (FP32, I8, P50, P50_I8)


def unmeasured(*contenders: Contender) -> list[Contender]:
    return [dataclasses.replace(contender, latency_p50_ms=None) for contender in contenders]


def test_the_fastest_comes_first_when_latency_is_asked_for() -> None:
    slow_small = Contender("small", False, 0.0, 1_000, 0.60)
    assert rank([*ALL, slow_small], "latency", 0.5) == ("p50-i8", "p50", "i8", "small")


def test_the_smallest_comes_first_when_size_is_asked_for() -> None:
    slow_small = Contender("small", False, 0.0, 1_000, 0.60)
    assert rank([*ALL, slow_small], "size", 0.5)[0] == "small"


def test_where_latency_was_not_measured_the_smallest_comes_first() -> None:
    assert rank(unmeasured(*ALL), "latency", 0.5) == ("p50-i8", "p50", "i8")
    one_gap = [*ALL[:3], *unmeasured(P50_I8)]  # a half measured list cannot be ordered by latency
    assert rank(one_gap, "latency", 0.5) == ("p50-i8", "p50", "i8")


@pytest.mark.parametrize(("limit", "left"), [(0.4, ("p50-i8", "p50", "i8")), (0.39, ("p50", "i8")), (0.1, ("i8",))])
def test_what_loses_more_than_the_limit_on_validation_is_not_chosen(limit: float, left: tuple[str, ...]) -> None:
    assert rank(ALL, "latency", limit) == left


def test_the_reference_is_chosen_only_where_it_is_all_there_is() -> None:
    assert "fp32" not in rank([dataclasses.replace(FP32, latency_p50_ms=0.01), I8], "latency", 0.5)
    assert rank([FP32], "size", 0.5) == ("fp32",)


def test_where_all_lose_too_much_the_one_that_loses_least_faces_the_gate_alone() -> None:
    assert rank(ALL, "latency", 0.0) == rank(ALL, "size", 0.0) == ("i8",)


def test_a_variant_that_gained_on_validation_qualifies() -> None:
    assert rank([FP32, dataclasses.replace(I8, validation_drop_points=-0.2)], "latency", 0.0) == ("i8",)


@given(order=st.permutations(ALL), minimize=st.sampled_from(["latency", "size"]), limit=st.floats(0, 1))
def test_the_order_of_the_variants_in_the_recipe_does_not_matter(
    order: list[Contender], minimize: str, limit: float
) -> None:
    assert rank(order, minimize, limit) == rank(ALL, minimize, limit)  # type: ignore[arg-type]


def test_ties_are_broken_the_same_way_every_time() -> None:
    twin = dataclasses.replace(I8, variant="a8")
    assert rank([FP32, I8, twin], "latency", 0.5) == rank([FP32, twin, I8], "latency", 0.5) == ("a8", "i8")


def test_test_figures_are_not_even_a_field() -> None:
    """Choosing by the test split and then testing on it would let luck pass as quality."""
    fields = {field.name for field in dataclasses.fields(Contender)}
    assert not any("test" in name or name.startswith("accuracy") for name in fields)
