"""Releases reserved samples into an incoming folder, tranche by tranche: something to watch a nightly with."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgewright.durable import flush_folder, write_new_file
from edgewright.errors import DataError
from edgewright.pipeline.datasets import digits
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.intake.taking import incoming_folder
from edgewright.pipeline.object_store import ObjectStore
from edgewright.pipeline.workspace import Workspace

_RESERVES = {digits.NAME: digits.load_reserve}


@dataclass(frozen=True)
class Delivery:
    """A tranche that was delivered.

    Attributes:
        model: The model.
        path: The file.
        first: Number of its first sample in the reserve, from 1.
        last: Number of its last sample.
        reserved: How many samples there are in all.
        consequence: What happens with them; empty where that is up to whoever named the folder.
    """

    model: str
    path: Path
    first: int
    last: int
    reserved: int
    consequence: str = ""

    @property
    def said(self) -> str:
        """What was done, in one line."""
        left = self.reserved - self.last
        which = f"{self.first:,} to {self.last:,} of {self.reserved:,}"
        return (
            f"{self.model}: {self.last - self.first + 1:,} new samples ({which}) lie in {_shown(self.path)}; "
            f"{f'{left:,} are left' if left else 'these were the last'}.{self.consequence}"
        )


def _shown(path: Path) -> Path:
    """From where the person stands, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def deliver(workspace: Workspace, model: str, samples: int, into: Path | None = None) -> Delivery:
    """Delivers the next reserved samples of a model.

    The file is written whole before it gets its name. Its name and content follow from the place in the reserve: a call that
    was killed before it could note what it delivered is followed by one that delivers the same again, which is no harm.

    Args:
        workspace: Remembers how many were delivered.
        model: The model.
        samples: How many; the last tranche may be smaller.
        into: The folder; None: where the model's nightly looks unless its recipe says otherwise.

    Raises:
        DataError: The model has no reserve, or nothing is left of it; or the folder cannot be written to.
    """
    if model not in _RESERVES:
        raise DataError(
            f'"{model}" has no reserved samples to deliver. Those that have: {", ".join(sorted(_RESERVES))}.'
        )
    if samples < 1:
        raise DataError(f"{samples} samples cannot be delivered, needs at least 1. Raise --samples.")
    reserve = _RESERVES[model]()
    folder = into or incoming_folder(workspace, model, None)
    while True:
        noted = workspace.shared.read(_key(model))
        first = _delivered(workspace.shared, model, noted)
        last = min(first + samples, len(reserve.labels))
        if first >= last:
            raise DataError(
                f"all {len(reserve.labels):,} reserved samples of {model} were delivered: none are left. To begin again, "
                f"delete {workspace.shared.location}/{_key(model)}; what was taken in already counts once."
            )
        path = _write(folder, f"{model}-{first + 1:05d}-{last:05d}.npz", reserve, first, last)
        if _note(workspace.shared, model, noted, last):
            consequence = "" if into else " The next nightly takes them in."
            return Delivery(model, path, first + 1, last, len(reserve.labels), consequence)


def _write(folder: Path, name: str, reserve: Dataset, first: int, last: int) -> Path:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, x=reserve.images[first:last], y=reserve.labels[first:last])
    unfinished = folder / f".{name}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)
        write_new_file(unfinished, buffer.getvalue())
        os.replace(unfinished, folder / name)
        flush_folder(folder)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written to ({error.strerror}). Name another folder with --into."
        ) from error
    return folder / name


def _key(model: str) -> str:
    return f"deliveries/{model}.json"


def _delivered(shared: ObjectStore, model: str, noted: bytes | None) -> int:
    if noted is None:
        return 0
    try:
        delivered = json.loads(noted)["delivered"]
        if not isinstance(delivered, int) or delivered < 0:
            raise ValueError(f"delivered is {delivered!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{shared.location}/{_key(model)} is damaged ({error}). Delete it to begin again.") from error
    return delivered


def _note(shared: ObjectStore, model: str, noted: bytes | None, delivered: int) -> bool:
    """Remembers how many were delivered; False where another call was faster."""
    content = json.dumps({"delivered": delivered}).encode()
    if noted is None:
        return shared.create(_key(model), content)
    return shared.replace(_key(model), content, noted)
