from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edgewright.durable import is_no_room, replace_file, replace_link, write_new_file, write_private_file


def test_a_file_is_replaced_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    replace_file(tmp_path / "f", b"old")
    replace_file(tmp_path / "f", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"new"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o644


def test_a_file_is_flushed_before_it_gets_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def fsync(descriptor: int) -> None:
        target = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        seen.append("folder" if target == tmp_path else f"file, named {(tmp_path / 'f').exists()}")

    monkeypatch.setattr(os, "fsync", fsync)
    replace_file(tmp_path / "f", b"data")
    assert seen == ["file, named False", "folder"]


def test_a_new_file_does_not_write_over_an_old_one(tmp_path: Path) -> None:
    write_new_file(tmp_path / "f", b"a")
    with pytest.raises(FileExistsError):
        write_new_file(tmp_path / "f", b"b")
    assert (tmp_path / "f").read_bytes() == b"a"


def test_a_link_is_replaced_in_one_step(tmp_path: Path) -> None:
    replace_link(tmp_path / "l", "a")
    replace_link(tmp_path / "l", "b")
    assert os.readlink(tmp_path / "l") == "b"
    assert [path.name for path in tmp_path.iterdir()] == ["l"]


def test_a_private_file_is_its_owners_alone_and_takes_no_name_that_is_taken(tmp_path: Path) -> None:
    write_private_file(tmp_path / "keys" / "f", b"secret")
    with pytest.raises(FileExistsError):
        write_private_file(tmp_path / "keys" / "f", b"another")
    (path,) = (tmp_path / "keys").iterdir()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"secret", 0o600)
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (ValueError("28"), False),
    ],
)
def test_a_full_disk_is_told_by_its_number(error: Exception, expected: bool) -> None:
    assert is_no_room(error) is expected
