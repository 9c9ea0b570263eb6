"""Bases: a tar file or an image, taken if it is what the image needs, and described for the bill of materials."""

from __future__ import annotations

import gzip
import io
import json
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
from edgewright.pipeline.images.python_metadata import PythonMetadata
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


def packed(files: dict[str, bytes], hard_links: dict[str, str] | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for name, target in (hard_links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.LNKTYPE, target
            archive.addfile(link)
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


def test_an_upper_layer_that_hides_the_whole_root_hides_it_and_not_its_own_files(tmp_path: Path) -> None:
    source, out = OciLayout.create(tmp_path / "source"), OciLayout.create(tmp_path / "out")
    upper = {"usr/local/bin/python3.11": b"ELF", "usr/local/lib/python3.11/new.py": b"b = 2\n", ".wh..wh..opq": b""}
    store_image(source, [packed(LOWER), packed(upper)], CONFIG)
    with out.writing() as writer:
        base = base_from_layout(source, "python", AMD64, writer)
    compiled = {name for name in members(out, base.layers[2].digest) if name.endswith(".pyc")}
    assert compiled == {"usr/local/lib/python3.11/__pycache__/new.cpython-311.pyc"}


HOST_FILES = ["/etc/shadow", "../../etc/shadow", "/../etc/shadow", "usr/../../etc/shadow", "etc/shadow", "usr", ""]


@pytest.mark.parametrize("target", HOST_FILES)
def test_a_hard_link_to_what_is_no_file_of_the_base_is_refused(target: str, tmp_path: Path) -> None:
    layer, out = packed({**LOWER, "usr/x": b""}, {"usr/lib/taken": target}), OciLayout.create(tmp_path / "out")
    (tmp_path / "base.tar").write_bytes(gzip.decompress(layer))
    with pytest.raises(ImageError, match="is damaged"):
        taken(tmp_path / "base.tar", AMD64, out)
    source = OciLayout.create(tmp_path / "source")
    store_image(source, [layer], CONFIG)
    with pytest.raises(ImageError, match="is damaged"), out.writing() as writer:
        base_from_layout(source, "python", AMD64, writer)
    assert list((tmp_path / "out/blobs/sha256").iterdir()) == []


def test_a_hard_link_to_a_file_of_a_layer_below_is_taken_also_with_the_slash_of_the_root(tmp_path: Path) -> None:
    source, out = OciLayout.create(tmp_path / "source"), OciLayout.create(tmp_path / "out")
    upper = packed({}, {"usr/local/bin/python3": "/usr/local/bin/python3.11"})
    store_image(source, [packed(LOWER), upper], CONFIG)
    with out.writing() as writer:
        assert base_from_layout(source, "python", AMD64, writer).python == "/usr/local/bin/python3.11"


def test_a_file_that_leads_out_of_the_root_is_refused_in_an_image_too(tmp_path: Path) -> None:
    source, out = OciLayout.create(tmp_path / "source"), OciLayout.create(tmp_path / "out")
    store_image(source, [packed({**LOWER, "../../etc/passwd": b"root"})], CONFIG)
    with pytest.raises(ImageError, match="no plain path"), out.writing() as writer:
        base_from_layout(source, "python", AMD64, writer)


@pytest.mark.parametrize(
    ("manifest", "config", "reason"),
    [
        ({"layers": None}, {}, "has no list of layers, found None"),
        ({"layers": 5}, {}, "has no list of layers, found 5"),
        ({}, {"rootfs": []}, r"no rootfs with a list of diff_ids, found \[\]"),
        ({}, {"rootfs": None}, "no rootfs with a list of diff_ids, found None"),
        ({}, {"rootfs": {"diff_ids": None}}, "no rootfs with a list of diff_ids"),
        ({}, {"rootfs": {"diff_ids": [5]}}, "names a blob by 5"),
        ({}, {"rootfs": {"diff_ids": []}}, "not as many as it says"),
    ],
)
def test_odd_documents_are_refused_with_what_is_wrong_in_them(
    manifest: dict[str, Any], config: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    source, out = OciLayout.create(tmp_path / "source"), OciLayout.create(tmp_path / "out")
    plain = store_image(source, [packed(LOWER)], CONFIG)
    document = source.document(plain, "manifest")
    told = json.loads(source.blob_path(document["config"]["digest"]).read_bytes())
    with source.writing() as writer:
        written = writer.add_document(document["config"]["mediaType"], {**told, **config})
        odd = writer.add_document(MANIFEST, {**document, "config": written.to_json(), **manifest})
        writer.entries.append(odd)
    with pytest.raises(ImageError, match=reason), out.writing() as writer:
        base_from_layout(source, odd.digest, AMD64, writer)


@pytest.mark.parametrize("settings", [None, {"Env": None}, {"Env": 5}])
def test_a_base_without_variables_is_one(settings: object, tmp_path: Path) -> None:
    source, out = OciLayout.create(tmp_path / "source"), OciLayout.create(tmp_path / "out")
    store_image(source, [packed(LOWER)], {**CONFIG, "config": settings})
    with out.writing() as writer:
        base = base_from_layout(source, "python", AMD64, writer)
    assert base.environment == {} and base.python_version == "3.11"


METADATA = b"Metadata-Version: 2.1\nName: pip\nVersion: 24.0\nLicense: MIT\n\nA text.\n"
HEADER = b'#define PY_MAJOR_VERSION 3\n#define PY_VERSION             "3.11.9"\n'


def test_a_python_that_dpkg_does_not_know_is_described_with_what_pip_installed(tmp_path: Path) -> None:
    source, out = OciLayout.create(tmp_path / "source"), OciLayout.create(tmp_path / "out")
    layer = {
        **LOWER,
        "usr/local/include/python3.11/patchlevel.h": HEADER,
        "usr/local/lib/python3.11/site-packages/pip-24.0.dist-info/METADATA": METADATA,
        "usr/local/lib/python3.11/site-packages/pip/_vendor/x-1.dist-info/METADATA": METADATA,
        "usr/lib/python3/dist-packages/known-1.dist-info/METADATA": METADATA,  # dpkg's
        "usr/local/lib/python3.11/site-packages/gone-1.dist-info/METADATA": METADATA.replace(b"pip", b"gone"),
    }
    upper = {"usr/local/lib/python3.11/site-packages/.wh.gone-1.dist-info": b""}
    store_image(source, [packed(layer), packed(upper)], {**CONFIG, "config": {"Env": ["PYTHON_VERSION=3.11.2"]}})
    with out.writing() as writer:
        base = base_from_layout(source, "python", AMD64, writer)
    assert base.python_version == "3.11.9", "what is there, not what a variable says"
    assert base.python_packages == (PythonMetadata("pip", "24.0", "MIT"),)


def test_without_its_header_the_makers_variable_names_pythons_version(tmp_path: Path) -> None:
    source, out = OciLayout.create(tmp_path / "source"), OciLayout.create(tmp_path / "out")
    store_image(source, [packed(LOWER)], {**CONFIG, "config": {"Env": ["PYTHON_VERSION=3.11.2"]}})
    with out.writing() as writer:
        base = base_from_layout(source, "python", AMD64, writer)
    assert base.python_version == "3.11.2" and base.environment == {}


def test_debians_own_python_is_its_package_alone(tmp_path: Path) -> None:
    base = taken(make_base(tmp_path / "base.tar", AMD64), AMD64, OciLayout.create(tmp_path / "out"))
    assert base.python_version == "" and base.python_packages == ()


def test_a_bases_name_is_a_reference_without_the_platform_that_the_layout_adds(tmp_path: Path) -> None:
    source, out = OciLayout.create(tmp_path / "source"), OciLayout.create(tmp_path / "out")
    image = store_image(source, [packed(LOWER)], CONFIG)
    reference = f"registry.example/python@sha256:{'a' * 64}"
    with source.writing() as writer:
        name = {REFERENCE: f"{reference}, linux/amd64"}
        writer.entries.append(Descriptor(MANIFEST, image.digest, image.size_bytes, annotations=name))
    with out.writing() as writer:
        base = base_from_layout(source, f"{reference}, linux/amd64", AMD64, writer)
    assert base.name == reference and base.digest == image.digest
