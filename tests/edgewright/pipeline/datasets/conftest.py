"""Small data of each source that a recipe can name, sound, to be spoiled at will."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pytest
from PIL import Image

COUNT = 1200
GROUPS = 60
Arrays = dict[str, npt.NDArray[Any]]


class OwnData:
    """Writes one and the same rows, or pictures, as whatever a recipe can name; 1,200 samples in 60 groups of 20."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arrays(self, values: bool = False) -> Arrays:
        """``x`` float32 [N, 3], ``y`` texts or float64, ``group``."""
        rng = np.random.default_rng(5)
        x = rng.normal(size=(COUNT, 3)).astype(np.float32)
        y = x.sum(axis=1, dtype=np.float64) if values else np.where(np.arange(COUNT) % 7 == 0, "fault", "fine")
        return {"x": x, "y": y, "group": np.array([f"m{index % GROUPS:02}" for index in range(COUNT)])}

    def write(self, source: str, arrays: Arrays) -> dict[str, Any]:
        """Writes rows; gives the recipe's section for them."""
        return {"npz": self._npz, "table": self._table, "entry_point": self._function}[source](arrays)

    def _npz(self, arrays: Arrays) -> dict[str, Any]:
        np.savez(self.folder / "own.npz", **arrays)
        return {"dataset": "npz", "path": "own.npz", "kind": "row"}

    def _table(self, arrays: Arrays) -> dict[str, Any]:
        columns = {name: arrays["x"][:, index] for index, name in enumerate("abc")}
        columns["answer"] = arrays["y"]
        if "group" in arrays:
            columns["machine"] = arrays["group"]
        pa.csv.write_csv(pa.table(columns), self.folder / "own.csv")
        answer = "target" if arrays["y"].dtype.kind == "f" else "label"
        return {
            "dataset": "table",
            "path": "own.csv",
            "channels": list("abc"),
            answer: "answer",
            **({"group": "machine"} if "group" in arrays else {}),
        }

    def _function(self, arrays: Arrays) -> dict[str, Any]:
        self._npz(arrays)
        (self.folder / "own_rows.py").write_text(
            "import numpy as np\n"
            "def rows():\n"
            "    with np.load('own.npz') as arrays:\n"
            "        return tuple(arrays[name] for name in ('x', 'y', 'group') if name in arrays)\n"
        )
        return {"dataset": "entry_point", "entry_point": "own_rows:rows", "kind": "row"}

    def pictures(self, count: int = 800) -> dict[str, Any]:
        """Writes pictures of two classes; gives the recipe's section for them."""
        rng = np.random.default_rng(6)
        for index in range(count):
            file = self.folder / "pictures" / ("whole" if index % 2 else "cracked") / f"part{index % 80:02}_{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (4, 5), dtype=np.uint8)).save(file)
        return {"dataset": "image_folder", "path": "pictures", "mode": "grey"}


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnData]:
    """An empty current folder for data of one's own."""
    monkeypatch.chdir(tmp_path)
    yield OwnData(tmp_path)
    sys.modules.pop("own_rows", None)
