"""Whose kernels run, told from lists of operators as LiteRT gives them; `test_litert_engine` has real files."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.engines.tflite_scan import check_operators, find_kernels
from edgewright.errors import EngineError


def operator(name: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
    return {"op_name": name, "inputs": inputs, "outputs": outputs}


# A chain of three: tensors 0 -> 1 -> 2 -> 3, with the weights 9 in the middle and one optional input left out.
CHAIN = [operator("QUANTIZE", [0], [1]), operator("CONV_2D", [1, 9, -1], [2]), operator("SOFTMAX", [2], [3])]


@pytest.mark.parametrize(
    ("delegates", "used"),
    [
        ([], ("builtin",)),
        ([operator("DELEGATE", [0, 9], [3])], ("XNNPACK",)),
        ([operator("DELEGATE", [1, 9], [3])], ("XNNPACK", "builtin")),
        ([operator("DELEGATE", [1, 9], [2])], ("XNNPACK", "builtin")),
        ([operator("DELEGATE", [0], [1]), operator("DELEGATE", [2], [3])], ("XNNPACK", "builtin")),
        ([operator("DELEGATE", [0, 9], [2]), operator("DELEGATE", [2], [3])], ("XNNPACK",)),
    ],
)
def test_the_operators_between_a_delegates_inputs_and_outputs_were_taken(
    delegates: list[dict[str, Any]], used: tuple[str, ...]
) -> None:
    assert find_kernels([*CHAIN, *delegates]) == used


def test_nobody_runs_a_model_without_operators() -> None:
    assert find_kernels([]) == ()


def test_a_ring_of_operators_ends_the_search() -> None:
    ring = [operator("ADD", [1, 2], [2]), operator("ADD", [2], [1])]
    assert find_kernels([*ring, operator("DELEGATE", [0], [1])]) == ("XNNPACK",)


@pytest.mark.parametrize("name", ["VAR_HANDLE", "HASHTABLE"])
def test_operators_that_remember_are_refused(name: str) -> None:
    with pytest.raises(EngineError, match=f"uses {name}, which keeps values from sample to sample"):
        check_operators([*CHAIN, operator(name, [], [7])], 1)
