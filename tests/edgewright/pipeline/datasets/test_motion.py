"""The motion data that ships is what its card says; its windows keep to their recordings."""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgewright.errors import DataError
from edgewright.pipeline.datasets import make_motion, motion
from edgewright.pipeline.datasets.dataset import Dataset, sample_digests
from edgewright.pipeline.datasets.make_motion import Recordings, pack, quantize, read_package
from edgewright.pipeline.datasets.shipped import read_shipped

FOLDER = Path(__file__).parents[4] / "data" / "motion"


@pytest.fixture(scope="module")
def shipped() -> Dataset:
    return motion.load()


def test_what_ships_is_under_three_megabytes_and_named_in_the_card() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == ["README.md", "motion.npz.xz"]
    assert (FOLDER / "motion.npz.xz").stat().st_size < 3_000_000
    assert motion.SHIPPED_SHA256 in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert motion.source_sha256() == {"motion.npz.xz": motion.SHIPPED_SHA256}


def test_windows_are_labelled_and_grouped(shipped: Dataset) -> None:
    assert (shipped.images.shape, shipped.images.dtype, shipped.kind) == ((2854, 160, 6), np.float32, "window")
    assert np.bincount(shipped.labels).tolist() == [304, 473, 474, 439, 443, 355, 366]
    assert shipped.groups is not None
    assert sorted(Counter(shipped.groups).values()) == [178, 184, 293, 294, 295, 299, 316, 321, 331, 343]
    assert set(Counter(shipped.groups)) == {f"person {number:02}" for number in range(1, 11)}


def test_a_recording_is_one_person_one_exercise_one_arm(shipped: Dataset) -> None:
    recordings = shipped.columns["recording"]
    assert shipped.groups is not None
    kinds = set(zip(recordings, shipped.groups, shipped.labels.tolist(), shipped.columns["side"], strict=True))
    assert len(kinds) == len(set(recordings)) == 140
    assert len({kind[1:] for kind in kinds}) == 10 * 7 * 2


def test_the_shipped_motion_has_no_faults_that_the_data_card_denies(shipped: Dataset) -> None:
    assert len(set(sample_digests(shipped.images))) == len(shipped.images)
    assert shipped.images.reshape(-1, 6).std(axis=0) == pytest.approx(
        [0.901, 0.494, 0.539, 0.975, 2.500, 1.053], abs=1e-3
    )
    samples = read_shipped("motion", motion.SHIPPED_FILE, motion.SHIPPED_SHA256)["samples"]
    for channel in samples:
        assert (channel == channel.min()).sum() == (channel == channel.max()).sum() == 1
        same = np.flatnonzero(np.diff(channel) != 0)
        assert np.diff(same).max() <= 3
    slow = np.linalg.norm(samples[3:] / 1024, axis=0) < 0.3
    assert np.median(np.linalg.norm(samples[:3, slow] / 4096, axis=0)) == pytest.approx(1.014, abs=1e-3)


def test_another_window_cuts_the_same_recordings() -> None:
    whole = motion.load(947, 947)
    assert set(whole.columns["recording"]) == {f"recording {number:03}" for number in range(140)}
    assert np.array_equal(whole.images[0, :160], motion.load().images[0])
    with pytest.raises(DataError, match="window_samples is 948, but the shortest recording has 947"):
        motion.load(948)
    with pytest.raises(DataError, match="motion: stride_samples is 161, needs 1 to 160"):
        motion.load(160, 161)


def test_a_damaged_file_is_refused_with_the_way_to_restore_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "motion.npz.xz").write_bytes(b"not the motion")
    monkeypatch.setattr(motion, "SHIPPED_FILE", tmp_path / "motion.npz.xz")
    with pytest.raises(DataError, match=r"sha256 is .*, must be .* `git checkout"):
        motion.load()
    monkeypatch.setattr(motion, "SHIPPED_FILE", Path("data") / "absent.xz")
    with pytest.raises(DataError, match=r"motion: .*absent\.xz is neither at .* Run in a checkout"):
        motion.load()


class Boom:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("a pickle was run",))


def test_the_maker_never_opens_a_pickle_that_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "watch_dataset.npy").write_bytes(pickle.dumps(Boom()))
    with pytest.raises(DataError, match=r"sha256 is .*, must be .* Take watch_dataset.npy from seglearn 1\.2\.5"):
        read_package(tmp_path / "watch_dataset.npy")


def test_the_maker_reads_what_the_package_publishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = {
        "X": [np.full((5, 6), 0.5), np.full((4, 6), -0.25)],
        "y": np.array([0, 6]),
        "subject": np.array([1, 10]),
        "side": np.array([1.0, 0.0]),
        "X_labels": list(motion.CHANNEL_NAMES),
        "y_labels": list(motion.LABELS_NAMES),
    }
    path = tmp_path / "watch_dataset.npy"
    np.save(path, np.array(published, dtype=object), allow_pickle=True)
    monkeypatch.setattr(make_motion, "PACKAGE_FILE_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    packed = pack(read_package(path))
    (tmp_path / "made.xz").write_bytes(packed)
    arrays = read_shipped("made", tmp_path / "made.xz", hashlib.sha256(packed).hexdigest())
    assert arrays["lengths"].tolist() == [5, 4]
    assert arrays["samples"][:, 0].tolist() == [2048, 2048, 2048, 512, 512, 512]
    assert arrays["samples"][:, 5].tolist() == [-1024, -1024, -1024, -256, -256, -256]
    assert (arrays["exercise"].tolist(), arrays["person"].tolist(), arrays["right"].tolist()) == (
        [0, 6],
        [1, 10],
        [True, False],
    )


def test_the_maker_refuses_other_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "watch_dataset.npy"
    np.save(path, np.array({"X_labels": ["ax"], "y_labels": []}, dtype=object), allow_pickle=True)
    monkeypatch.setattr(make_motion, "PACKAGE_FILE_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(DataError, match=r"need those of motion\.py"):
        read_package(path)


def test_rounding_is_half_a_step_at_most_and_never_clips() -> None:
    series = np.random.default_rng(0).normal(size=(1000, 6))
    error = np.abs(quantize(series) / np.array(motion.STEPS_PER_UNIT) - series)
    assert (error.max(axis=0) <= 0.5 / np.array(motion.STEPS_PER_UNIT)).all()
    for bad in (8.0, -8.001, np.nan, np.inf):
        with pytest.raises(DataError, match="Lower STEPS_PER_UNIT"):
            quantize(np.full((1, 6), bad))


def test_the_maker_refuses_what_is_too_large_to_ship(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_motion, "MAX_BYTES", 100)
    one = np.array([1], np.uint8)
    with pytest.raises(DataError, match="may be 100 at most"):
        pack(Recordings([np.zeros((5, 6))], one, one, one == 1))
