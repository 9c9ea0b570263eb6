"""Builds an image with a container engine: the same tree as without one, copied by ``docker/device.Dockerfile``.

What the engine made is read back, compared member by member with what it was given, and put into the layout with the
configuration that the other builder writes. So both give one tree, and the same digests: an engine adds time stamps and its
own history, which no layer here carries.
"""

from __future__ import annotations

import json
import posixpath
import tarfile
import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from edgewright.errors import ImageError
from edgewright.pipeline.images.base import BaseImage, LayerInfo
from edgewright.pipeline.images.builder import (
    APPLICATION,
    ImageParts,
    application_tree,
    bundle_tree,
    finish_image,
    fitting_bundle,
    read_base,
    wheels_tree,
)
from edgewright.pipeline.images.descriptor import CONFIG, Descriptor, digest_of_bytes, to_bytes
from edgewright.pipeline.images.engine_client import ContainerEngine, EngineFailedError, write_archive
from edgewright.pipeline.images.engine_leftovers import temporary_name
from edgewright.pipeline.images.image_spec import STATE_FOLDER, USER, BuiltImage, ImageSpec
from edgewright.pipeline.images.layer import KINDS, Entry, Tree, read_members, tar_member
from edgewright.pipeline.images.layout_writer import no_room
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.wheel_lock import merge_locks, read_lock
from edgewright.pipeline.images.wheels import fetch_wheels

DOCKERFILE = Path("docker/device.Dockerfile")
"""What the engine is given, below the root of a checkout."""

_STATE = STATE_FOLDER.lstrip("/")
_FOLDERS = ("wheels", "application", "state", "bundle")  # of the context; each is there, even when it is empty
_SHOWN = 5


def build_image_with_engine(
    spec: ImageSpec, out: OciLayout, parts: ImageParts, engine: ContainerEngine, dockerfile: Path = DOCKERFILE
) -> BuiltImage:
    """Build one image with an engine; the layout has it whole afterwards or, if this raises, not at all.

    Args:
        spec: What it shall be.
        out: Where it goes.
        parts: What it is made from.
        engine: The engine.
        dockerfile: What the engine is told.

    Raises:
        ImageError: A part is missing or does not fit; or the engine refuses, dies, or builds something else.
        IntegrityError: A part is not what its digest says.
        BundleError: The bundle is none, or is for another target or platform.
        DiskFullError: There is no room, here or in the engine.
    """
    if not dockerfile.is_file():
        raise ImageError(f"{dockerfile} is missing: run this in a checkout of edgewright.")
    bundle = None if spec.bundle is None else fitting_bundle(spec, spec.bundle)
    locks = merge_locks([read_lock(parts.locks, spec.platform, name) for name in spec.engines])
    files = fetch_wheels(locks, spec.platform, parts.cache)
    with tempfile.TemporaryDirectory(prefix="edgewright-base-") as folder, out.writing() as writer:
        scratch = OciLayout.create(Path(folder))
        with scratch.writing() as base_writer:
            base = read_base(spec.platform, parts, base_writer)
        trees = {"wheels": wheels_tree(spec, files), APPLICATION: application_tree(base.python)}
        if bundle is not None:
            trees["bundle"] = bundle_tree(bundle)
        built = _build(spec, base, trees, scratch, engine, dockerfile)
        _compare(spec, trees, built, engine)
        layers = list(base.layers)
        for layer in layers:
            writer.add_copy(scratch.blob_path(layer.digest), layer.descriptor)
        for name, tree in trees.items():
            descriptor, written = writer.add_layer(Tree({path: built[path] for path in tree.members}))
            layers.append(LayerInfo(name, descriptor.digest, descriptor.size_bytes, written.diff_id))
        return finish_image(spec, base, layers, list(zip(locks, files, strict=True)), bundle, writer)


def _build(
    spec: ImageSpec,
    base: BaseImage,
    trees: Mapping[str, Tree],
    scratch: OciLayout,
    engine: ContainerEngine,
    dockerfile: Path,
) -> dict[str, Entry]:
    """Let the engine build; give what it put over the base, by path."""
    name, base_name = temporary_name("build", spec.name), temporary_name("base", spec.platform.slug)
    try:
        _load_base(spec, base, base_name, scratch, engine)
        with tempfile.TemporaryFile() as context, no_room(Path(tempfile.gettempdir())):
            _write_context(context, trees, dockerfile)
            context.seek(0)
            with engine.errors(f"building {spec.name} for {spec.platform.name}"):
                said = engine.client.api.build(
                    fileobj=context,
                    custom_context=True,
                    dockerfile="Dockerfile",
                    buildargs={"BASE": base_name},
                    platform=spec.platform.name,
                    tag=name,
                    rm=True,
                    forcerm=True,
                    decode=True,
                )
                _watch(said, spec, engine)
        return _read_back(name, len(base.layers), engine)
    finally:
        engine.forget(name)
        engine.forget_built_on(base_name)


def _load_base(spec: ImageSpec, base: BaseImage, name: str, scratch: OciLayout, engine: ContainerEngine) -> None:
    """Give the engine the base's layers as an image that has nothing else."""
    config = {
        **spec.platform.oci,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in base.layers]},
        "history": [{"created_by": layer.name} for layer in base.layers],
    }
    data = to_bytes(config)
    descriptor = Descriptor(CONFIG, digest_of_bytes(data), len(data))
    blobs: dict[str, Path | bytes] = {descriptor.sha256: data}
    for layer in base.layers:
        blobs[layer.descriptor.sha256] = scratch.blob_path(layer.digest)
    with tempfile.TemporaryFile() as archive, no_room(Path(tempfile.gettempdir())):
        write_archive(archive, [name], descriptor, [layer.descriptor for layer in base.layers], blobs)
        archive.seek(0)
        with engine.errors(f"loading the base of {spec.platform.name}"):
            engine.client.images.load(archive)


def _write_context(stream: IO[bytes], trees: Mapping[str, Tree], dockerfile: Path) -> None:
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, Entry("Dockerfile", "file", dockerfile.read_bytes()))
        for folder in _FOLDERS:
            _add(archive, Entry(folder, "folder", mode=0o755))
        for name, tree in trees.items():
            for entry in tree.entries():
                if entry.owner == (0, 0):
                    _add(archive, entry, f"{name}/{entry.path}")
                elif (entry.path, entry.kind, entry.owner) == (_STATE, "folder", (USER, USER)):
                    _add(archive, entry, f"state/{posixpath.basename(_STATE)}")
                else:
                    raise ImageError(f"{entry.path} belongs to {entry.owner}: {dockerfile} copies no such thing.")


def _add(archive: tarfile.TarFile, entry: Entry, name: str | None = None) -> None:
    content = entry.read() if entry.kind == "file" else b""
    archive.addfile(tar_member(entry, len(content), name), BytesIO(content))


def _watch(said: Any, spec: ImageSpec, engine: ContainerEngine) -> None:
    """Follow a build to its end: an engine that dies ends the stream without a last word."""
    done = False
    for line in said:
        if "error" in line:
            reason = str(line["error"]).strip()
            raise EngineFailedError(
                f"the container engine ({engine.facts.name}) could not build {spec.name} for {spec.platform.name}: "
                f"{reason[:300]}. Nothing was registered."
            )
        done = done or "ID" in (line.get("aux") or {}) or "Successfully built" in str(line.get("stream", ""))
    if not done:
        raise EngineFailedError(
            f"the container engine ({engine.facts.name}) ended while building {spec.name} for {spec.platform.name}. "
            f"Nothing was registered: start it again, or build without it."
        )


def _read_back(name: str, base_layers: int, engine: ContainerEngine) -> dict[str, Entry]:
    """Read what an image of the engine has over its base."""
    found: dict[str, Entry] = {}
    with engine.saved(name) as archive:
        listed = archive.extractfile("manifest.json")
        manifest = json.loads(listed.read())[0] if listed else {"Layers": []}
        for path in manifest["Layers"][base_layers:]:
            layer = archive.extractfile(path)
            if layer is None:
                raise EngineFailedError(f"the container engine ({engine.facts.name}) saved no layer {path} of {name}.")
            for member, content in read_members(layer):  # type: ignore[arg-type]
                place = posixpath.normpath(member.name).lstrip("/")
                if place not in ("", "."):
                    owner = (member.uid, member.gid)
                    kind = KINDS.get(member.type, "file")
                    found[place] = Entry(place, kind, content, member.linkname, member.mode & 0o7777, owner)
    return found


def _compare(spec: ImageSpec, trees: Mapping[str, Tree], built: Mapping[str, Entry], engine: ContainerEngine) -> None:
    wanted = {path: entry for tree in trees.values() for path, entry in tree.members.items()}
    different = sorted(wanted.keys() ^ built.keys())
    different += [
        path
        for path in sorted(wanted.keys() & built.keys())
        if _facts(wanted[path]) != _facts(built[path]) or wanted[path].read() != built[path].read()
    ]
    if different:
        raise EngineFailedError(
            f"the container engine ({engine.facts.name}) made {len(different)} file(s) of {spec.name} for "
            f"{spec.platform.name} other than they were given, {', '.join(different[:_SHOWN])} among them. Nothing was "
            f"registered: build without the engine."
        )


def _facts(entry: Entry) -> tuple[str, str, int, tuple[int, int]]:
    return entry.kind, entry.target, entry.mode, entry.owner
