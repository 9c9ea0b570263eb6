"""A full disk is told from a defect, also where a framework or a server stands between it and us."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from edgewright.errors import DataError, DiskFullError, RegistryError, StageError
from edgewright.pipeline.disk_space import full_disk


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(tmp_path / "not" / "made" / "yet"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def no_room() -> OSError:
    """What the system really raises."""
    with pytest.raises(OSError) as caught, open("/dev/full", "wb") as file:
        file.write(b"x")
        file.flush()
    return caught.value


def caused_by(cause: BaseException) -> Exception:
    try:
        try:
            raise cause
        except BaseException as error:
            raise StageError("training failed") from error
    except StageError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        no_room(),
        OSError(errno.EDQUOT, "over quota"),
        caused_by(no_room()),
        RegistryError("the registry answered: (sqlite3.OperationalError) database or disk is full"),
        StageError("base failed: OSError: [Errno 28] No space left on device (at train.py:5)"),
    ],
)
def test_it_is_named_with_the_disk_and_the_remedy(error: Exception, home: Path) -> None:
    found = full_disk(error)
    assert isinstance(found, DiskFullError)
    assert str(found).startswith(f"the disk that holds {home} is full (")
    assert "Make room there, or set EDGEWRIGHT_HOME to a folder on another disk" in str(found)
    assert full_disk(found) is found


@pytest.mark.parametrize("error", [DataError("class 3 is empty"), OSError(errno.ENOENT, "gone"), KeyError("lost")])
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert full_disk(error) is None


def test_errors_that_name_each_other_come_to_an_end() -> None:
    first, second = DataError("one"), DataError("two")
    first.__cause__, second.__cause__ = second, first
    assert full_disk(first) is None
