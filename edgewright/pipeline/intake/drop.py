"""What a delivered file comes to: samples in the terms of the model's own data, or the reason why it cannot be taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from edgewright.errors import DataError
from edgewright.pipeline.datasets.dataset import Dataset


class RejectedError(DataError):
    """A delivered file cannot be taken.

    Attributes:
        samples: How many it holds; 1 where that cannot be told.
        missing: How many of them lack values.
    """

    def __init__(self, reason: str, samples: int = 1, missing: int = 0) -> None:
        super().__init__(reason)
        self.samples = max(1, samples)
        self.missing = missing


@dataclass(frozen=True, eq=False)
class Drop:
    """What a delivered file holds.

    Attributes:
        dataset: Its samples, with the classes and channels of the model's own data; those that lack values are left out.
        delivered: How many samples it held.
        missing: How many were left out.
    """

    dataset: Dataset
    delivered: int
    missing: int


# Reads one kind of file: from its name and its bytes.
Reader = Callable[[str, bytes], Drop]


def check_like(base: Dataset, found: npt.NDArray[Any]) -> None:
    """Whether samples have the form of the model's own.

    Raises:
        RejectedError: Another dtype or shape.
    """
    needed = base.images
    if found.dtype != needed.dtype or found.shape[1:] != needed.shape[1:]:
        raise RejectedError(
            f"its {base.kind}s are {found.dtype} {list(found.shape[1:])}, the model's own are {needed.dtype} "
            f"{list(needed.shape[1:])}. Deliver them in the same form.",
            len(found),
        )


def class_positions(base: Dataset, names: list[str]) -> list[int]:
    """The positions of class names.

    Raises:
        RejectedError: A name that the model's own data does not have.
    """
    position = {name: index for index, name in enumerate(base.labels_names)}
    unknown = [name for name in names if name not in position]
    if unknown:
        known = ", ".join(f'"{name}"' for name in base.labels_names[:20])
        raise RejectedError(
            f'"{unknown[0]}" is no class of this model, known are {known}. Correct the label, or build a recipe whose data '
            "has that class.",
            len(names),
        )
    return [position[name] for name in names]
