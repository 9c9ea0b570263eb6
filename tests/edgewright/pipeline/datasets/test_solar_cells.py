"""Solar cells come from a package that is installed on demand; a small one of the same API stands in for it here.

The real one is not for commercial use: no test may need it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgewright.errors import DataError
from edgewright.pipeline.datasets import solar_cells

UTILS = """
import numpy as np

def load_dataset(fname=None):
    images = np.random.default_rng(0).integers(0, 256, (8, {side}, {side}), dtype=np.uint8)
    return images, np.array([0, 1 / 3, 2 / 3, 1] * 2), np.array(["mono", "poly"] * 4)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stand-in, importable."""
    folder = tmp_path / "elpv_dataset"
    (folder / "data" / "images").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "utils.py").write_text(UTILS.format(side=300))
    (folder / "data" / "labels.csv").write_text("images/cell0001.png  1.0  mono\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "elpv_dataset"]:
        del sys.modules[name]


@pytest.mark.usefixtures("package")
def test_cells_are_labelled_by_their_defect_probability() -> None:
    dataset = solar_cells.load(60)
    assert (dataset.images.shape, dataset.images.dtype, dataset.kind) == ((8, 60, 60), np.uint8, "image")
    assert [dataset.labels_names[label] for label in dataset.labels[:4]] == ["functional"] * 2 + ["defective"] * 2
    assert dataset.columns == {"cell": ("mono", "poly") * 4}
    assert dataset.groups is None and dataset.fixed_split is None


@pytest.mark.usefixtures("package")
def test_a_pixel_is_the_mean_of_those_it_covers() -> None:
    whole, small = solar_cells.load(300).images, solar_cells.load(100).images
    assert small[3, 7, 9] == round(whole[3, 21:24, 27:30].mean())


def test_the_digest_follows_the_files(package: Path) -> None:
    first = solar_cells.source_sha256()
    assert list(first) == ["elpv-dataset"]
    (package / "data" / "images" / "cell0001.png").write_bytes(b"other")
    assert solar_cells.source_sha256() != first


def test_without_the_package_the_error_says_how_to_get_it_and_under_which_licence() -> None:
    for call in (solar_cells.load, solar_cells.source_sha256, solar_cells.check_installed):
        with pytest.raises(
            DataError, match=r"not installed.*CC BY-NC-SA 4.0, not for commercial.*`pip install elpv-dataset`"
        ):
            call()


def test_another_release_of_the_package_is_refused(package: Path) -> None:
    (package / "utils.py").write_text(UTILS.format(side=200))
    with pytest.raises(DataError, match=r"uint8 \[8, 200, 200\], need uint8 \[N, 300, 300\]"):
        solar_cells.load()


def test_a_side_that_divides_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="size_px is 77, needs to divide 300"):
        solar_cells.load(77)
