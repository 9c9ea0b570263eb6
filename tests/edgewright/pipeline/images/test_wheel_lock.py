"""Lock files: one wheel a line, by its hash, in the versions that the workshop measured with."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.errors import ImageError
from edgewright.pipeline.images.platform import PLATFORMS, Platform
from edgewright.pipeline.images.wheel_lock import (
    LOCKS,
    LockedWheel,
    lock_name,
    lock_text,
    merge_locks,
    parse_lock,
    read_constraints,
    read_lock,
)

ROOT = Path(__file__).parents[4]
PAIRS = [(platform, engine) for platform in PLATFORMS.values() for engine in platform.engines]
AMD64 = PLATFORMS["linux/amd64"]


@pytest.mark.parametrize(("platform", "engine"), PAIRS, ids=[f"{p.slug}-{e}" for p, e in PAIRS])
def test_the_shipped_locks_are_complete_and_of_the_versions_that_were_measured_with(
    platform: Platform, engine: str
) -> None:
    wheels = read_lock(ROOT / "docker/locks", platform, engine)
    pinned = read_constraints(ROOT / "constraints.txt")
    measured_with = {wheel.name: pinned[wheel.name] for wheel in wheels if wheel.name in pinned}
    assert measured_with == {wheel.name: wheel.version for wheel in wheels if wheel.name in pinned}
    assert "numpy" in measured_with or platform.name == "linux/arm/v7"


def test_no_lock_file_is_there_that_nothing_reads() -> None:
    shipped = {path.name for path in (ROOT / "docker/locks").iterdir()}
    assert shipped == {lock_name(platform, engine) for platform, engine in PAIRS}


def test_what_is_written_is_read_back() -> None:
    wheels = (LockedWheel("numpy", "2.4.6", "a" * 64), LockedWheel("tuf", "7.0.1", "b" * 64))
    assert parse_lock(lock_text(AMD64, "onnxruntime", wheels[::-1]), "here") == wheels


@pytest.mark.parametrize(
    "line",
    [
        "numpy>=2 --hash=sha256:" + "a" * 64,
        "numpy==2.4.6",
        "numpy==2.4.6 --hash=sha256:abc",
        "-r other.txt",
        "--no-index",
    ],
)
def test_a_line_that_is_no_pinned_wheel_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(ImageError, match="here, line 2: "):
        parse_lock(f"# first\n{line}\n", "here")


def test_a_lock_that_lacks_a_wheel_or_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"is missing.*images lock"):
        read_lock(tmp_path, AMD64, "litert")
    (tmp_path / lock_name(AMD64, "litert")).write_text("numpy==1 --hash=sha256:" + "a" * 64 + "\n")
    with pytest.raises(ImageError, match=r"pins numpy; an image.*takes ai-edge-litert"):
        read_lock(tmp_path, AMD64, "litert")


def test_locks_of_two_engines_agree_or_are_refused() -> None:
    numpy, other = LockedWheel("numpy", "2", "a" * 64), LockedWheel("numpy", "3", "b" * 64)
    tuf = LockedWheel("tuf", "7", "c" * 64)
    assert merge_locks([(tuf, numpy), (numpy,)]) == (numpy, tuf)
    with pytest.raises(ImageError, match="differ about numpy"):
        merge_locks([(numpy,), (other,)])


def test_in_another_folder_than_a_checkouts_it_is_said_where_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError, match=f"{tmp_path}/docker/locks is missing: .*in the root of a checkout") as caught:
        read_lock(LOCKS, AMD64, "litert")
    assert "images lock" not in str(caught.value)
