"""What an image stands on: CPython with its libraries, from a root file system's tar file or from an image in a layout.

A tar file, as ``docker/base.sh`` makes one, becomes one layer. An image, ``python:3.11-slim`` by its digest, is taken layer
by layer as it is; one more layer brings the standard library's bytecode, which its makers leave out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgewright.errors import ImageError
from edgewright.pipeline.images.base_files import LIBRARY, overlay, read_entries
from edgewright.pipeline.images.base_python import python_packages, python_version
from edgewright.pipeline.images.bytecode import bytecode, bytecode_path
from edgewright.pipeline.images.descriptor import LAYER, Descriptor, check_digest, parse_descriptor
from edgewright.pipeline.images.layer import Entry, Tree
from edgewright.pipeline.images.layout_writer import LayoutWriter
from edgewright.pipeline.images.oci_layout import OciLayout, listed
from edgewright.pipeline.images.os_packages import OsPackage, read_packages
from edgewright.pipeline.images.platform import PYTHON_VERSION, Platform
from edgewright.pipeline.images.python_metadata import PythonMetadata

_PYTHONS = (f"usr/local/bin/python{PYTHON_VERSION}", f"usr/bin/python{PYTHON_VERSION}")
_NOT_COMPILED = re.compile(r".*/(test|tests|lib2to3|idlelib|ensurepip|site-packages)/.*")
_DROPPED = ("dev/", "proc/", "sys/", "run/", "var/cache/", "var/lib/apt/", "var/log/")
# Other builders' layers that hold the same tar files.
_LAYERS = (LAYER, "application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.oci.image.layer.v1.tar")


@dataclass(frozen=True)
class LayerInfo:
    """One layer of an image.

    Attributes:
        name: What it holds: ``base``, ``wheels``, ``application``, ``bundle``.
        digest: Digest of what is downloaded.
        size_bytes: Size of what is downloaded.
        diff_id: Digest of the content, whoever compressed it.
        media_type: How it is packed.
    """

    name: str
    digest: str
    size_bytes: int
    diff_id: str
    media_type: str = LAYER

    @property
    def descriptor(self) -> Descriptor:
        """How the image's manifest names it."""
        return Descriptor(self.media_type, self.digest, self.size_bytes)


@dataclass(frozen=True)
class BaseImage:
    """What the other layers stand on.

    Attributes:
        name: What it was made from, for people and provenance.
        digest: Digest of that: of the image's manifest, or of the layer's content, however the tar file orders it.
        layers: Its layers, lowest first.
        python: Path of the interpreter in the image.
        environment: Variables that it sets.
        packages: Packages of the distribution in it.
        distribution: Name and version: ``debian-12``.
        python_version: Version of a CPython that is no package of the distribution; empty where it is one.
        python_packages: Distributions in it that are none either.
    """

    name: str
    digest: str
    layers: tuple[LayerInfo, ...]
    python: str
    environment: Mapping[str, str]
    packages: tuple[OsPackage, ...]
    distribution: str
    python_version: str = ""
    python_packages: tuple[PythonMetadata, ...] = ()


def base_from_tar(archive: Path, platform: Platform, writer: LayoutWriter) -> BaseImage:
    """Take a root file system's tar file as the base.

    Args:
        archive: The file.
        platform: What the image is for.
        writer: Where the layer goes.

    Raises:
        ImageError: It is no tar file, is for another platform, or lacks what an image needs.
    """
    if not archive.is_file():
        raise ImageError(f"{archive} is missing: make it with docker/base.sh {platform.debian} {archive}.")
    tree = Tree()
    with archive.open("rb") as stream:
        for entry in read_entries(stream, tree.members, _DROPPED):
            tree.add(entry)
    _add_bytecode(tree, tree.members)
    base = _describe(archive.name, "", tree.members, platform, str(archive), {})
    descriptor, written = writer.add_layer(tree)
    layer = LayerInfo("base", descriptor.digest, descriptor.size_bytes, written.diff_id)
    return replace(base, digest=written.diff_id, layers=(layer,))


def base_from_layout(layout: OciLayout, reference: str, platform: Platform, writer: LayoutWriter) -> BaseImage:
    """Take an image of a layout as the base, as it is.

    Args:
        layout: Where it lies.
        reference: Its name or digest there, or those of an index that has one for the platform.
        platform: What the image is for.
        writer: Where the layers go.

    Raises:
        ImageError: It is not there, is for another platform, or lacks what an image needs.
        IntegrityError: A blob of it is not what its digest says.
    """
    entry = layout.find(reference)
    images = layout.images(entry)
    choice = [each for each in images if platform.matches(each.platform or {})] if images else [entry]
    if not choice:
        raise ImageError(f"{reference} in {layout.root} has no image for {platform.name}: name another base.")
    manifest = layout.document(choice[0], "manifest of the base")
    config = layout.document(
        parse_descriptor(manifest.get("config"), "manifest of the base"), "configuration of the base"
    )
    if not platform.matches(config):
        found = "/".join(str(config.get(key)) for key in ("os", "architecture", "variant") if config.get(key))
        raise ImageError(f"the base {reference} in {layout.root} is for {found}, the image for {platform.name}.")
    descriptors = listed(manifest, "layers", f"the manifest of the base {reference} in {layout.root}")
    diff_ids, variables = _diff_ids(config, reference, layout), _variables(config)
    if len(diff_ids) != len(descriptors) or any(each.media_type not in _LAYERS for each in descriptors):
        raise ImageError(
            f"the base {reference} has layers of a kind that is not known here, or not as many as it says."
        )
    layers, members = [], dict[str, Entry]()
    for number, (descriptor, diff_id) in enumerate(zip(descriptors, diff_ids, strict=True), 1):
        path = layout.check(descriptor, f"layer {number} of the base")
        writer.add_copy(path, descriptor)
        name = "base" if len(descriptors) == 1 else f"base {number}"
        layers.append(LayerInfo(name, descriptor.digest, descriptor.size_bytes, diff_id, descriptor.media_type))
        with path.open("rb") as stream:
            overlay(members, stream)
    name = reference.removesuffix(f", {platform.name}")  # a layout may hold one image of an index by that name
    base = _describe(name, choice[0].digest, members, platform, f"{reference} in {layout.root}", variables)
    extra = Tree()
    _add_bytecode(extra, members)
    descriptor, written = writer.add_layer(extra)
    layers.append(LayerInfo("base bytecode", descriptor.digest, descriptor.size_bytes, written.diff_id))
    return replace(base, layers=tuple(layers), environment=_kept_variables(variables))


def _add_bytecode(tree: Tree, members: Mapping[str, Entry]) -> None:
    """Adds the standard library's bytecode, in the place of any that is there."""
    for path, entry in sorted(members.items()):
        if entry.kind != "file" or not LIBRARY.fullmatch(path) or _NOT_COMPILED.fullmatch(path):
            continue
        if (compiled := bytecode(entry.read(), f"/{path}")) is not None:
            tree.file(bytecode_path(path), compiled)


def _describe(
    name: str,
    digest: str,
    members: Mapping[str, Entry],
    platform: Platform,
    place: str,
    variables: Mapping[str, str],
) -> BaseImage:
    python = next((path for path in _PYTHONS if path in members), None)
    if python is None:
        raise ImageError(f"{place} has no /{_PYTHONS[1]} and no /{_PYTHONS[0]}: it is no base for an image.")
    for module in platform.from_base:
        if not any(path.endswith(f"-packages/{module}/__init__.py") for path in members):
            raise ImageError(
                f"{place} has no {module}, which no wheel brings for {platform.name}: make the base with "
                f"docker/base.sh {platform.debian}."
            )
    packages = read_packages(members)
    architectures = {package.architecture for package in packages} - {"all"}
    if architectures and architectures != {platform.debian}:
        raise ImageError(f"{place} is for {', '.join(sorted(architectures))}, the image for {platform.debian}.")
    release = next(
        (members[path] for path in ("etc/os-release", "usr/lib/os-release") if _is_file(members, path)), None
    )
    words = dict(re.findall(r'(?m)^(\w+)="?([^"\n]*)"?$', release.read().decode("utf-8", "replace")) if release else [])
    distribution = "-".join(word for word in (words.get("ID", "linux"), words.get("VERSION_ID", "")) if word)
    version = python_version(python, members, variables)
    found = python_packages(members)
    return BaseImage(name, digest, (), f"/{python}", {}, packages, distribution, version, found)


def _is_file(members: Mapping[str, Entry], path: str) -> bool:
    return path in members and members[path].kind == "file"


def _diff_ids(config: Mapping[str, Any], reference: str, layout: OciLayout) -> tuple[str, ...]:
    """The digests of the layers' contents.

    Raises:
        ImageError: The configuration has no list of them.
    """
    tree, place = config.get("rootfs"), f"the configuration of the base {reference} in {layout.root}"
    found = tree.get("diff_ids") if isinstance(tree, dict) else None
    if not isinstance(found, list):
        raise ImageError(
            f"{place} has no rootfs with a list of diff_ids, found {tree!r:.100}: it is damaged, or no image's."
        )
    return tuple(check_digest(each, place) for each in found)


def _variables(config: Mapping[str, Any]) -> dict[str, str]:
    """A base's variables; other builders write null where there is nothing."""
    settings = config.get("config")
    lines = settings.get("Env") if isinstance(settings, dict) else None
    found = lines if isinstance(lines, list) else []
    return dict(line.split("=", 1) for line in found if isinstance(line, str) and "=" in line)


def _kept_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """A base's own variables, but for those of its makers' tools."""
    return {name: value for name, value in variables.items() if name in ("LANG", "PATH", "LD_LIBRARY_PATH")}
