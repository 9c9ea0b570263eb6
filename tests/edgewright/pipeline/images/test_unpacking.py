"""What a layer may do to the folder that it is unpacked into, and that it does nothing to anything beside it."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from edgewright.errors import ImageError
from edgewright.pipeline.images.unpacking import unpack_layer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="layers are unpacked as root: owners are set")


def member(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644, uid: int = 0
) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.mode, found.uid, found.gid = kind, target, mode, uid, uid
    found.size = len(name) if kind == tarfile.REGTYPE else 0
    return found


def folder(name: str, mode: int = 0o755) -> tarfile.TarInfo:
    return member(name, tarfile.DIRTYPE, mode=mode)


def link(name: str, target: str) -> tarfile.TarInfo:
    return member(name, tarfile.SYMTYPE, target)


def hard_link(name: str, target: str, mode: int = 0o777, uid: int = 1234) -> tarfile.TarInfo:
    return member(name, tarfile.LNKTYPE, target, mode, uid)


class Workshop:
    """A folder to unpack into, with a file of the host beside it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.host = folder / "root", folder / "host"
        self.root.mkdir()
        self.host.mkdir()
        (self.host / "secret").write_text("the host's own")
        (self.host / "secret").chmod(0o600)
        self.before = self._host_state()
        self._layer = folder / "layer.tar"

    def unpack(self, *members: tarfile.TarInfo) -> Path:
        with tarfile.open(self._layer, "w") as archive:
            for each in members:
                archive.addfile(each, io.BytesIO(each.name.encode()) if each.isreg() else None)
        unpack_layer(self._layer, self.root, "layer 1")
        return self.root

    def _host_state(self) -> list[tuple[str, int, int, int, bytes]]:
        found = []
        for path in [self.host, *sorted(self.host.rglob("*"))]:
            status = path.stat()
            data = path.read_bytes() if path.is_file() else b""
            found.append((path.name, status.st_mode, status.st_uid, status.st_nlink, data))
        return found

    def is_untouched(self) -> bool:
        return self._host_state() == self.before


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.mark.parametrize(
    "target",
    [
        "{host}/secret",
        "../host/secret",
        "a/../../host/secret",
        "/../host/secret",
        "out/secret",
        "up/host/secret",
        "file",
    ],
)
def test_a_hard_link_names_a_file_of_the_image_or_is_refused(target: str, workshop: Workshop) -> None:
    ways = [link("out", str(workshop.host)), link("up", ".."), link("file", str(workshop.host / "secret"))]
    with pytest.raises(ImageError, match="layer 1 cannot be unpacked at 'etc/bad'"):
        workshop.unpack(folder("a"), *ways, hard_link("etc/bad", target.format(host=workshop.host)))
    assert workshop.is_untouched()
    assert not (workshop.root / "etc/bad").exists()


@pytest.mark.parametrize(
    "written",
    [
        member("../host/new"),
        member("a/../../host/new"),
        member("up/host/new"),
        member("up/host/secret"),
        folder("up/host", 0o777),
        member("deep/up2/host/new"),
        hard_link("up/host/new", "known"),
        link("up/host/new", "x"),
        member("up/host/.wh.secret"),
        member("up/host/.wh..wh..opq"),
        member("a/.wh..."),
        member("round/x"),
    ],
    ids=lambda each: each.name,
)
def test_what_is_written_through_a_way_out_is_refused(written: tarfile.TarInfo, workshop: Workshop) -> None:
    ways = [link("up", ".."), link("deep/up2", "../.."), link("round", "round")]
    with pytest.raises(ImageError, match=r"cannot be unpacked at"):
        workshop.unpack(folder("a"), member("known"), *ways, written)
    assert workshop.is_untouched()


def test_an_absolute_link_leads_to_the_images_own_root_as_it_does_when_it_runs(workshop: Workshop) -> None:
    there = str(workshop.host)
    root = workshop.unpack(
        *(folder("run"), link("var/run", "/run"), member("var/run/x"), link("out", there), member("out/secret"))
    )
    assert (root / "run/x").read_text() == "var/run/x"
    assert (root / there.lstrip("/") / "secret").read_text() == "out/secret"
    assert workshop.is_untouched()


def test_a_name_in_the_place_of_a_link_is_not_written_through_it(workshop: Workshop) -> None:
    secret = str(workshop.host / "secret")
    root = workshop.unpack(link("a", secret), member("a"), link("b", str(workshop.host)), folder("b", 0o777))
    assert (root / "a").read_text() == "a" and not (root / "a").is_symlink()
    assert stat.S_ISDIR((root / "b").lstat().st_mode)
    assert workshop.is_untouched()


def test_owners_modes_and_hard_links_are_the_images(workshop: Workshop) -> None:
    root = workshop.unpack(
        *(member("bin/su", mode=0o4755), member("home/x", mode=0o640, uid=65532), hard_link("bin/sx", "./bin/su")),
        *(folder("tmp", 0o1777), link("sh", "bin/su"), member("null", tarfile.CHRTYPE), folder("./", 0o711)),
    )
    assert stat.S_IMODE((root / "bin/su").stat().st_mode) == 0o4755
    assert ((root / "home/x").stat().st_uid, stat.S_IMODE((root / "home/x").stat().st_mode)) == (65532, 0o640)
    assert (root / "bin/sx").samefile(root / "bin/su")
    assert (root / "bin/su").stat().st_uid == 0, "a hard link's own rights are nobody's"
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert os.readlink(root / "sh") == "bin/su"
    assert not (root / "null").exists(), "devices are made by who runs it"
    assert stat.S_IMODE(root.stat().st_mode) == 0o711


def test_a_later_layer_hides_and_replaces(workshop: Workshop) -> None:
    workshop.unpack(member("a/one"), member("a/two"), member("b/x"), folder("c"), member("d/e/f"))
    root = workshop.unpack(member("a/.wh.one"), member("b/.wh..wh..opq"), member("c"), member(".wh.d"))
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == ["a", "a/two", "b", "c"]
    assert (root / "c").is_file()


def test_a_umask_takes_nothing_from_folders_that_no_layer_names(workshop: Workshop) -> None:
    before = os.umask(0o077)
    try:
        root = workshop.unpack(member("usr/bin/x", mode=0o755))
    finally:
        os.umask(before)
    assert [stat.S_IMODE((root / name).stat().st_mode) for name in ("usr", "usr/bin", "usr/bin/x")] == [0o755] * 3


def test_what_is_no_tar_file_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\x1f\x8b" + b"nothing" * 100)
    with pytest.raises(ImageError, match="layer 1 cannot be unpacked"):
        unpack_layer(tmp_path / "bad", workshop.root, "layer 1")


def test_a_layer_hides_what_is_below_it_and_never_its_own(workshop: Workshop) -> None:
    workshop.unpack(folder("a"), member("a/old"), folder("a/b"), member("a/b/old"), member("c"), link("a/link", "/c"))
    root = workshop.unpack(
        member("a/new"), member("a/b/new"), member("a/.wh..wh..opq"), member("c"), member(".wh.c"), member("a/.wh.b")
    )
    found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))
    assert found == ["a", "a/b", "a/b/new", "a/new", "c"]
