"""A workshop with small models of one's own, and whatever may be delivered to them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgewright.pipeline.intake import Assessment, Collection, IntakeReport, assess, incoming, open_collection, take_in
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.workspace import Workspace

BASE = 600


def rows(count: int, seed: int, classes: bool = True) -> dict[str, Any]:
    """``x`` float32 [N, 3], ``y`` texts that follow from the first attribute (or values), all samples distinct."""
    x = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    y: Any = np.where(x[:, 0] > 0, "high", "low") if classes else 5.0 + 2.0 * x[:, 0].astype(np.float64)
    return {"x": x, "y": y}


class Workshop:
    """A workspace, a recipe and its incoming folder.

    Attributes:
        folder: The current folder of the test.
        incoming: Where samples are delivered to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = Workspace(folder / "home")
        self.incoming = folder / "incoming"
        self.incoming.mkdir()
        self.recipe = self.of_rows()

    def make(self, data: dict[str, Any], task: dict[str, Any] | None = None, **nightly: Any) -> Recipe:
        """A recipe for some data; it becomes the workshop's."""
        self.recipe = Recipe.model_validate(
            {
                "model": "parts",
                "data": data,
                "task": task or {"kind": "classification"},
                "architecture": {"name": "mlp"},
                "training": {"epochs": 1},
                "variants": [{"name": "fp32"}],
                "targets": ["linux-x86"],
                "gate": {"floor_pct": 50.0},
                "nightly": {"incoming": str(self.incoming), **nightly},
            }
        )
        return self.recipe

    def of_rows(self, **nightly: Any) -> Recipe:
        """600 rows of two classes in one npz."""
        np.savez(self.folder / "own.npz", **rows(BASE, 1))
        return self.make({"dataset": "npz", "path": str(self.folder / "own.npz"), "kind": "row"}, **nightly)

    def deliver(self, name: str, **arrays: Any) -> Path:
        """Puts an npz into the incoming folder."""
        path = self.incoming / name
        path.write_bytes(npz(**arrays))
        return path

    def take_in(self) -> IntakeReport:
        return take_in(self.workspace, self.recipe)

    def assess(self) -> Assessment:
        return assess(self.workspace, self.recipe)

    def collection(self) -> Collection:
        return open_collection(self.workspace, self.recipe)

    def lying(self) -> list[str]:
        """What lies in the incoming folder, set-aside files included, as a person sees it."""
        found = []
        for parent, folders, files in os.walk(self.incoming):
            folders[:] = [name for name in folders if name != ".taken"]
            found += [os.path.relpath(os.path.join(parent, name), self.incoming) for name in files]
        return sorted(found)

    def set_aside(self) -> dict[str, str]:
        """Reason by file, of what was set aside; every file has one."""
        home = self.incoming / "rejected"
        names = set(os.listdir(home)) if home.is_dir() else set()
        files = {name for name in names if not name.endswith(".reason.txt")}
        assert names == files | {f"{name}.reason.txt" for name in files}
        return {name.split("Z-", 1)[1]: (home / f"{name}.reason.txt").read_text() for name in files}

    def ledger(self) -> list[dict[str, Any]]:
        """The records as they lie in the shared store."""
        keys = self.workspace.shared.keys("collections/")
        return [json.loads(self.workspace.shared.read(key) or b"null") for key in keys]


def npz(**arrays: Any) -> bytes:
    """The bytes of an npz."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def picture(seed: int, size: tuple[int, int] = (4, 5)) -> bytes:
    """The bytes of a PNG of noise."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as whole the moment they are there; that they must lie still is tested by itself."""
    monkeypatch.setattr(incoming, "QUIET_S", 0.0)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    monkeypatch.chdir(tmp_path)
    yield Workshop(tmp_path)


@pytest.fixture
def more_rows() -> Callable[..., dict[str, Any]]:
    """Rows that no workshop knows yet."""
    return rows
