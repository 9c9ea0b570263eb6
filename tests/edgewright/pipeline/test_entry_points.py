"""Entry points: found last in the current folder, and known by the sources behind them without running any."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.errors import StageError
from edgewright.pipeline.entry_points import check_form, entry_point_sha256, find_entry_point


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module that would say so if it were run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_net.py").write_text("import my_parts\nimport json\nraise SystemExit('was run')\n")
    (tmp_path / "my_parts.py").write_text("from my_deep.inner import a\n")
    (tmp_path / "my_deep").mkdir()
    (tmp_path / "my_deep" / "inner.py").write_text("a = 1\n")
    (tmp_path / "other.py").write_text("b = 1\n")
    return tmp_path


@pytest.mark.parametrize("changed", ["my_net.py", "my_parts.py", "my_deep/inner.py"])
def test_a_changed_source_is_another_network(folder: Path, changed: str) -> None:
    before = entry_point_sha256("my_net:Net")
    assert entry_point_sha256("my_net:Net") == before
    (folder / changed).write_text((folder / changed).read_text() + "# another\n")
    assert entry_point_sha256("my_net:Net") != before


def test_what_is_not_imported_does_not_count(folder: Path) -> None:
    before = entry_point_sha256("my_net:Net")
    (folder / "other.py").write_text("b = 2\n")
    (folder / "my_net.pyc").write_bytes(b"x")
    assert entry_point_sha256("my_net:Net") == before


def test_all_of_a_package_counts(folder: Path) -> None:
    (folder / "package_of_nets").mkdir()
    (folder / "package_of_nets" / "__init__.py").write_text("")
    (folder / "package_of_nets" / "net.py").write_text("a = 1")
    before = entry_point_sha256("package_of_nets.net:Net")
    (folder / "package_of_nets" / "deep.py").write_text("a = 1")
    assert entry_point_sha256("package_of_nets.net:Net") != before


def test_a_package_without_init_counts_too(folder: Path) -> None:
    before = entry_point_sha256("my_deep.inner:Net")
    (folder / "my_deep" / "inner.py").write_text("a = 2")
    assert entry_point_sha256("my_deep.inner:Net") != before


def test_an_installed_module_hides_one_of_the_current_folder(folder: Path) -> None:
    (folder / "json.py").write_text("raise SystemExit('hidden')")
    assert find_entry_point("json:dumps")([1]) == "[1]"


@pytest.mark.parametrize("wrong", ["", "a", "a:", ":b", "a:b:c", "a b:c", "a:b()", "a/b.py:c", "a.:b", "1a:b", "a:b\n"])
def test_other_forms_are_refused(wrong: str) -> None:
    with pytest.raises(StageError, match=r"is not an entry point\. Write it as package\.module:name\."):
        check_form(wrong)


def test_what_ends_the_program_or_is_not_there_is_an_error(folder: Path) -> None:
    (folder / "my_parts.py").write_text("")
    with pytest.raises(StageError, match=r'cannot import module "my_net" \(SystemExit: was run\)'):
        find_entry_point("my_net:Net")
    with pytest.raises(StageError, match='module "absent_net" cannot be found'):
        entry_point_sha256("absent_net:Net")
