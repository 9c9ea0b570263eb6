"""Bases: a tar file or an image, taken if it is what the image needs, and described for the bill of materials."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import ImageError, IntegrityError
from edgewright.pipeline.images.base import BaseImage, base_from_layout, base_from_tar
from edgewright.pipeline.images.descriptor import MANIFEST, REFERENCE, Descriptor
from edgewright.pipeline.images.layer import FILES_EPOCH, read_members
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import PLATFORMS, Platform
from image_parts import make_base

AMD64, ARM = PLATFORMS["linux/amd64"], PLATFORMS["linux/arm/v7"]


def taken(archive: Path, platform: Platform, out: OciLayout) -> BaseImage:
    with out.writing() as writer:
        return base_from_tar(archive, platform, writer)


def members(layout: OciLayout, digest: str) -> dict[str, tarfile.TarInfo]:
    with layout.blob_path(digest).open("rb") as stream:
        return {member.name: member for member, _ in read_members(stream)}


def test_a_tar_file_becomes_one_layer_without_devices_and_caches(tmp_path: Path) -> None:
    out = OciLayout.create(tmp_path / "out")
    base = taken(make_base(tmp_path / "base.tar", AMD64), AMD64, out)
    found = members(out, base.layers[0].digest)
    assert [layer.name for layer in base.layers] == ["base"] and base.python == "/usr/bin/python3.11"
    assert {"usr/bin/python3.11", "usr/lib/python3.11/__pycache__/json.cpython-311.pyc", "etc/os-release"} <= set(found)
    assert not any(name.startswith(("dev/", "var/cache/")) for name in found)
    assert found["bin/python3"].islnk() and found["bin/python3"].linkname == "usr/bin/python3.11"
    assert {member.mtime for member in found.values()} == {FILES_EPOCH}


def test_packages_are_read_with_their_licences_also_through_links(tmp_path: Path) -> None:
    base = taken(make_base(tmp_path / "base.tar", AMD64), AMD64, OciLayout.create(tmp_path / "out"))
    assert base.distribution == "debian-12"
    described = {package.name: (package.version, package.source, package.licences) for package in base.packages}
    assert described == {
        "libc6": ("2.36-9", "glibc", ("LGPL-2.1-only",)),
        "libgcc-s1": ("12.2", "libgcc-s1", ("MIT",)),
    }


def test_the_order_of_a_tar_file_is_not_seen(tmp_path: Path) -> None:
    out = OciLayout.create(tmp_path / "out")
    first = taken(make_base(tmp_path / "a.tar", AMD64), AMD64, out)
    second = taken(make_base(tmp_path / "b.tar", AMD64, reverse=True), AMD64, out)
    assert first.layers == second.layers


def test_what_cannot_be_a_base_is_refused_with_what_to_do(tmp_path: Path) -> None:
    out = OciLayout.create(tmp_path / "out")
    with pytest.raises(ImageError, match=r"is missing: make it with docker/base\.sh armhf"):
        taken(tmp_path / "none.tar", ARM, out)
    with pytest.raises(ImageError, match="is for arm64, the image for amd64"):
        taken(make_base(tmp_path / "arm64.tar", PLATFORMS["linux/arm64"]), AMD64, out)
    with pytest.raises(ImageError, match=r"has no numpy, which no wheel brings for linux/arm/v7"):
        taken(make_base(tmp_path / "amd64.tar", AMD64), ARM, out)
    with tarfile.open(tmp_path / "empty.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("etc"))
    with pytest.raises(ImageError, match=r"has no /usr/bin/python3\.11"):
        taken(tmp_path / "empty.tar", AMD64, out)
    (tmp_path / "text.tar").write_text("no tar file")
    with pytest.raises(ImageError, match="cannot be read as a tar file"):
        taken(tmp_path / "text.tar", AMD64, out)
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("../../etc/passwd"))
    with pytest.raises(ImageError, match="no plain path"):
        taken(tmp_path / "evil.tar", AMD64, out)
    assert list((tmp_path / "out/blobs/sha256").iterdir()) == []


def store_image(layout: OciLayout, layers: list[bytes], config: dict[str, Any]) -> Descriptor:
    """An image as another builder would have made it: layers of plain tar files."""
    with layout.writing() as writer:
        descriptors = [writer.add("application/vnd.oci.image.layer.v1.tar+gzip", layer) for layer in layers]
        diff_ids = ["sha256:" + "0" * 64 for _ in layers]
        image = writer.add_image({**config, "rootfs": {"type": "layers", "diff_ids": diff_ids}}, descriptors)
        writer.entries.append(Descriptor(MANIFEST, image.digest, image.size_bytes, annotations={REFERENCE: "python"}))
    return image


def packed(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(stream.getvalue(), mtime=0)


CONFIG = {"os": "linux", "architecture": "amd64", "config": {"Env": ["PATH=/usr/local/bin:/usr/bin", "GPG_KEY=x"]}}
LOWER = {
    "usr/local/bin/python3.11": b"\x7fELF",
    "usr/local/lib/python3.11/json.py": b"a = 1\n",
    "usr/local/lib/python3.11/gone.py": b"a = 1\n",
    "usr/local/lib/python3.11/folder/gone.py": b"a = 1\n",
}
UPPER = {
    "usr/local/lib/python3.11/.wh.gone.py": b"",
    "usr/local/lib/python3.11/folder/.wh..wh..opq": b"",
    "usr/local/lib/python3.11/new.py": b"b = 2\n",
}


def test_an_image_is_taken_as_it_is_with_the_bytecode_that_its_makers_left_out(tmp_path: Path) -> None:
    source, out = OciLayout.create(tmp_path / "source"), OciLayout.create(tmp_path / "out")
    image = store_image(source, [packed(LOWER), packed(UPPER)], CONFIG)
    for reference in ("python", image.digest):
        with out.writing() as writer:
            base = base_from_layout(source, reference, AMD64, writer)
    assert [layer.name for layer in base.layers] == ["base 1", "base 2", "base bytecode"]
    assert [layer.digest for layer in base.layers[:2]] == [
        layer["digest"] for layer in source.document(image, "manifest")["layers"]
    ]
    assert base.python == "/usr/local/bin/python3.11" and base.environment == {"PATH": "/usr/local/bin:/usr/bin"}
    compiled = {name for name in members(out, base.layers[2].digest) if name.endswith(".pyc")}
    folder = "usr/local/lib/python3.11/__pycache__"
    assert compiled == {
        f"{folder}/json.cpython-311.pyc",
        f"{folder}/new.cpython-311.pyc",
    }  # what upper layers removed is gone


def test_an_image_for_another_platform_or_with_a_damaged_layer_is_refused(tmp_path: Path) -> None:
    source, out = OciLayout.create(tmp_path / "source"), OciLayout.create(tmp_path / "out")
    image = store_image(source, [packed(LOWER)], CONFIG)
    with pytest.raises(ImageError, match=r"is for linux/amd64, the image for linux/arm64"), out.writing() as writer:
        base_from_layout(source, "python", PLATFORMS["linux/arm64"], writer)
    blob = source.blob_path(source.document(image, "manifest")["layers"][0]["digest"])
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError, match=f"layer 1 of the base .*{blob.name}"), out.writing() as writer:
        base_from_layout(source, "python", AMD64, writer)
    assert list((tmp_path / "out/blobs/sha256").iterdir()) == []
