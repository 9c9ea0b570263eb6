"""The shuttle data that ships is what its card says, its warnings included."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from edgewright.errors import DataError
from edgewright.pipeline.datasets import make_shuttle, shuttle
from edgewright.pipeline.datasets.dataset import Dataset, sample_digests
from edgewright.pipeline.datasets.make_shuttle import HEADER, pack, read_package
from edgewright.pipeline.datasets.shipped import read_shipped

FOLDER = Path(__file__).parents[4] / "data" / "shuttle"


@pytest.fixture(scope="module")
def shipped() -> Dataset:
    return shuttle.load()


def test_what_ships_is_small_and_named_in_the_card() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == ["README.md", "shuttle.npz.xz"]
    assert (FOLDER / "shuttle.npz.xz").stat().st_size < 300_000
    assert shuttle.SHIPPED_SHA256 in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert shuttle.source_sha256() == {"shuttle.npz.xz": shuttle.SHIPPED_SHA256}


def test_rows_are_labelled_normal_or_anomaly(shipped: Dataset) -> None:
    assert (shipped.images.shape, shipped.images.dtype, shipped.kind) == ((49_097, 9), np.float32, "row")
    assert shipped.labels_names == ("normal", "anomaly")
    assert np.bincount(shipped.labels).tolist() == [45_586, 3_511]
    assert shipped.images[0].tolist() == [50, 21, 77, 0, 28, 0, 27, 48, 22]
    assert (np.rint(shipped.images) == shipped.images).all()


def test_the_shipped_rows_are_as_the_data_card_says(shipped: Dataset) -> None:
    assert len(set(sample_digests(shipped.images))) == len(shipped.images)
    assert shipped.images.min(axis=0).tolist() == [27, -4821, 21, -3939, -188, -26739, -48, -353, -356]
    assert shipped.images.max(axis=0).tolist() == [126, 5075, 149, 3830, 436, 15164, 105, 270, 266]
    time, a3, a7 = shipped.images[:, 0], shipped.images[:, 2], shipped.images[:, 6]
    assert np.abs(time - (a3 - a7)).max() == 1
    assert len(np.unique(time)) == 76
    # Shuffled: what follows a row says nothing about it.
    assert abs(np.corrcoef(time[:-1], time[1:])[0, 1]) < 0.01


def test_the_maker_packs_what_the_package_publishes(tmp_path: Path) -> None:
    path = tmp_path / "shuttle.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n50,21,77,0,28,0,27,48,22,1\n53,0,82,0,52,-26739,29,30,2,0\n".encode()))
    packed = pack(read_package(path))
    (tmp_path / "made.xz").write_bytes(packed)
    arrays = read_shipped("made", tmp_path / "made.xz", hashlib.sha256(packed).hexdigest())
    assert arrays["rows"].tolist() == [[50, 21, 77, 0, 28, 0, 27, 48, 22], [53, 0, 82, 0, 52, -26739, 29, 30, 2]]
    assert arrays["anomaly"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f1,f2\n1,2\n", 'the header is "f1,f2"'),
        (f"{HEADER}\n1,2,3,4,5,6,7,8,40000,0\n", "not a table of whole numbers within int16"),
        (f"{HEADER}\n1,2,3,4,5,6,7,8,9.5,0\n", "not a table of whole numbers"),
        (f"{HEADER}\n1,2,3,4,5,6,7,8,9,0\n1,2\n", "not a table of whole numbers"),
        (f"{HEADER}\n1,2,3,4,5,6,7,8,9,2\n", "a label that is not 0 or 1"),
    ],
)
def test_the_maker_refuses_another_table(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "shuttle.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(DataError, match=rf"shuttle\.csv\.gz: .*{message}"):
        read_package(path)


def test_the_maker_refuses_what_is_too_large_to_ship(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_shuttle, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="may be 100 at most"):
        pack(np.zeros((5, 10), np.int16))
