from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgewright.bundle_file import BundleFile, sha256_hex
from edgewright.device.slots import Slots, check_files
from edgewright.errors import IntegrityError
from tuf_repository import bundle_files

SHA = "a" * 64


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    slots = Slots(tmp_path / "state", tmp_path / "factory")
    slots.prepare()
    return slots


def stage(slots: Slots, seed: int = 0) -> list[BundleFile]:
    folder = slots.staging(SHA)
    files = []
    for name, data in bundle_files(seed).items():
        (folder / name).write_bytes(data)
        files.append(BundleFile(name, sha256_hex(data), len(data)))
    return files


def test_a_complete_download_moves_into_a_slot_in_place_of_what_was_there(slots: Slots) -> None:
    for seed in (0, 1):
        files = stage(slots, seed)
        slots.fill("B", SHA, files)
        check_files(slots.folder("B"), files)
        assert slots.staged_bytes() == 0


def test_only_one_download_is_kept(slots: Slots) -> None:
    stage(slots)
    assert slots.staged_bytes() > 4_000
    slots.staging("b" * 64)
    assert slots.staged_bytes() == 0
    slots.discard_staged("b" * 64)
    slots.discard_staged("b" * 64)


@pytest.mark.parametrize("damage", ["changed", "longer", "missing", "extra", "link", "folder", "empty"])
def test_a_slot_with_anything_but_the_signed_bytes_is_not_filled(damage: str, slots: Slots, tmp_path: Path) -> None:
    files = stage(slots)
    path = slots.staging(SHA) / "model.onnx"
    data = path.read_bytes()
    if damage in ("missing", "link", "folder"):
        path.unlink()
    if damage == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        path.symlink_to(tmp_path / "elsewhere")
    if damage == "folder":
        path.mkdir()
    if damage == "extra":
        path.with_name("other.onnx").write_bytes(b"x")
    if damage in ("changed", "longer", "empty"):
        path.write_bytes({"changed": data[:-1] + b"!", "longer": data + b"!", "empty": b""}[damage])
    with pytest.raises(IntegrityError):
        slots.fill("A", SHA, files)
    assert not slots.folder("A").exists()


def test_names_and_sizes_are_told_without_reading_and_a_disk_that_refuses_is_no_damage(
    slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = stage(slots)
    slots.fill("A", SHA, files)
    held: Any = SimpleNamespace(release=SimpleNamespace(files=files))
    assert slots.is_complete("A", held) and slots.is_intact("A", held)
    assert not slots.is_complete("B", held) and not slots.is_intact("B", held)
    model = slots.folder("A") / "model.onnx"
    data = model.read_bytes()
    model.write_bytes(data[:-1] + b"!")
    assert slots.is_complete("A", held) and not slots.is_intact("A", held)
    model.write_bytes(data[:-1])
    assert not slots.is_complete("A", held)
    model.unlink()
    model.symlink_to(model)
    assert not slots.is_complete("A", held)

    def refuse(_: object) -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "listdir", refuse)
    for look in (slots.is_complete, slots.is_intact):
        with pytest.raises(OSError, match="Too many"):
            look("A", held)


def test_emptying_follows_no_link(slots: Slots, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"x")
    slots.folder("A").mkdir()
    (slots.folder("A") / "link").symlink_to(outside)
    slots.empty("A")
    slots.folder("B").symlink_to(outside)
    slots.empty("B")
    assert (outside / "kept").exists()
    assert not slots.folder("A").exists() and not slots.folder("B").is_symlink()


def test_a_device_without_a_factory_bundle_says_so(tmp_path: Path, slots: Slots) -> None:
    assert slots.folder("factory") == tmp_path / "factory"
    with pytest.raises(IntegrityError, match="no factory bundle"):
        Slots(tmp_path, None).folder("factory")
