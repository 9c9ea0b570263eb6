"""A network of your own by entry point: built with the recipe's arguments, refused by the recipe's key."""

# One row is one slip and its exact message, however long.
# ruff: noqa: E501

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from edgewright.errors import StageError
from edgewright.pipeline.models.entry_point import build, find_class
from edgewright.pipeline.models.pytorch import build_model

SOURCE = """
import torch
from torch import nn

class Small(nn.Sequential):
    def __init__(self, hidden, classes=4, input_shape=None):
        self.seen = (classes, input_shape)
        super().__init__(nn.Flatten(), nn.LazyLinear(hidden), nn.ReLU(), nn.Linear(hidden, classes))

class Reproduces(nn.Sequential):
    def __init__(self, outputs, width=4):
        super().__init__(nn.Flatten(), nn.Linear(outputs, width), nn.Linear(width, outputs))

class Fixed(nn.Linear):
    def __init__(self):
        super().__init__(6, 4)

class Breaks(nn.Module):
    def __init__(self):
        raise ValueError("no such size")

def function():
    pass

number = 3
class NoModule:
    pass
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the current folder."""
    name = "nets_of_a_test"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_it_is_built_with_the_recipes_arguments(nets: str) -> None:
    model = build((1, 2, 3), 5, f"{nets}:Small", {"hidden": 8})
    assert model(torch.zeros(2, 1, 2, 3)).shape == (2, 5)


def test_what_the_data_says_is_filled_in_where_the_class_asks_and_the_recipe_does_not(nets: str) -> None:
    assert build((1, 2, 3), 5, f"{nets}:Small", {"hidden": 8}).seen == (5, (1, 2, 3))
    assert build((1, 2, 3), 5, f"{nets}:Small", {"hidden": 8, "classes": 4}).seen == (4, (1, 2, 3))


def test_the_number_of_outputs_goes_by_either_name(nets: str) -> None:
    model = build_model(
        "entry_point", (1, 2, 3), 6, entry_point=f"{nets}:Reproduces", arguments={"width": 2}, task="anomaly"
    )
    assert model(torch.zeros(2, 1, 2, 3)).shape == (2, 6)


def test_the_current_folder_does_not_stay_on_the_path(nets: str) -> None:
    before = list(sys.path)
    find_class(f"{nets}:Small")
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("{}:Absent", {}, 'architecture.entry_point: module "{}" has no "Absent". Correct the name.'),
        ("{}:function", {}, "architecture.entry_point: {}:function is a function, not a class of torch.nn.Module. Name such a class."),
        ("{}:number", {}, "architecture.entry_point: {}:number is a int, not a class of torch.nn.Module. Name such a class."),
        ("{}:NoModule", {}, "architecture.entry_point: {}:NoModule is the class NoModule, not a class of torch.nn.Module. Name such a class."),
        ("{}:Breaks", {}, "architecture.entry_point: {}:Breaks raised ValueError: no such size. Build it by itself with the same arguments to see where."),
        ("{}:Small", {"width": 3}, "architecture.arguments: {}:Small takes (hidden, classes=4, input_shape=None) and was given classes, input_shape, width (missing a required argument: 'hidden'). Correct the arguments."),
        ("{}:Fixed", {"width": 3}, "architecture.arguments: {}:Fixed takes () and was given width (got an unexpected keyword argument 'width'). Correct the arguments."),
        ("absent_{}:Small", {}, 'architecture.entry_point: cannot import module "absent_{}" (ModuleNotFoundError: No module named \'absent_{}\'). Install it, run where it lies, or correct its name.'),
        ("{}", {}, 'architecture.entry_point: "{}" is not an entry point. Write it as package.module:name.'),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused_by_key(nets: str, name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(StageError) as caught:
        build((1, 2, 3), 5, name.replace("{}", nets), arguments)
    assert str(caught.value) == message.replace("{}", nets)


def test_a_network_for_other_data_is_refused_with_what_it_answers(nets: str) -> None:
    with pytest.raises(
        StageError, match=r"^architecture: Fixed answers a batch float32 \[2, 1, 2, 6\] with float32 \[2, 1, 2, 4\]"
    ):
        build_model("entry_point", (1, 2, 6), 4, entry_point=f"{nets}:Fixed", arguments={})
