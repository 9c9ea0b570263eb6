"""Builds images without a container engine: layers from files, each named by its digest, into an image layout.

The layers are base, wheels, application, bundle: the lowest changes least. A new model changes the last one, which is all
that a device downloads beside some kilobytes of documents.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import edgewright
from edgewright.bundle import Bundle, read_bundle
from edgewright.errors import ImageError
from edgewright.pipeline.images.base import BaseImage, LayerInfo, base_from_layout, base_from_tar
from edgewright.pipeline.images.descriptor import (
    INDEX,
    MANIFEST,
    REFERENCE,
    Descriptor,
    digest_of_bytes,
    to_bytes,
)
from edgewright.pipeline.images.image_spec import (
    COMMAND,
    CONFIG_FILE,
    FACTORY,
    SITE,
    STATE_FOLDER,
    USER,
    BuiltImage,
    BuiltIndex,
    ImageSpec,
    image_config,
    image_labels,
)
from edgewright.pipeline.images.layer import Tree
from edgewright.pipeline.images.layout_writer import LayoutWriter
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import PLATFORMS, Platform
from edgewright.pipeline.images.provenance import MEDIA_TYPE as PROVENANCE
from edgewright.pipeline.images.provenance import write_statement
from edgewright.pipeline.images.sbom import MEDIA_TYPE as SBOM
from edgewright.pipeline.images.sbom import write_bill
from edgewright.pipeline.images.wheel_lock import LockedWheel, merge_locks, read_lock
from edgewright.pipeline.images.wheels import add_source, add_wheel, fetch_wheels

APPLICATION = "application"
"""Name of the layer that holds edgewright."""

_PACKAGE = Path(edgewright.__file__).parent
_STAND_IN = Path(__file__).with_name("litert_stand_in.py")
# What the wheel of edgewright holds for a device: the lower floor, the engines and the agent.
_FOLDERS = ("", "engines", "device")
_REFERENCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/:-]{0,254}")
# What holds where no enrolment is mounted over its folder.
_CONFIG = b"""# Not enrolled: the agent serves the image's own bundle and asks no registry.
# Mount the folder that `edgewright enrol` writes over /etc/edgewright; EDGEWRIGHT_AGENT_* variables come before this file.
[device]
id = "not-enrolled"
"""
_LAUNCHER = """#!{python}
import sys

from edgewright.device.agent import main

sys.exit(main())
"""


@dataclass(frozen=True)
class ImageParts:
    """Where the parts of images come from.

    Attributes:
        locks: Folder of the lock files.
        cache: Folder that keeps wheels.
        bases: What images stand on, by platform: a root file system's tar file, or a layout's folder and a name or digest
            in it.
    """

    locks: Path
    cache: Path
    bases: dict[str, Path | tuple[Path, str]]


def build_image(spec: ImageSpec, out: OciLayout, parts: ImageParts) -> BuiltImage:
    """Build one image into a layout; it is there whole afterwards or, if this raises, not at all.

    Raises:
        ImageError: A part is missing, cannot be fetched, or does not fit the platform.
        IntegrityError: A part is not what its digest says.
        BundleError: The bundle is none, or is for another target or platform.
        DiskFullError: There is no room.
    """
    bundle = None if spec.bundle is None else fitting_bundle(spec, spec.bundle)
    locks = merge_locks([read_lock(parts.locks, spec.platform, engine) for engine in spec.engines])
    files = fetch_wheels(locks, spec.platform, parts.cache)
    with out.writing() as writer:
        base = read_base(spec.platform, parts, writer)
        layers = [*base.layers, _add("wheels", wheels_tree(spec, files), writer)]
        layers.append(_add(APPLICATION, application_tree(base.python), writer))
        if bundle is not None:
            layers.append(_add("bundle", bundle_tree(bundle), writer))
        return finish_image(spec, base, layers, list(zip(locks, files, strict=True)), bundle, writer)


def build_index(images: Sequence[BuiltImage], out: OciLayout, reference: str) -> BuiltIndex:
    """Put a release's images under one digest.

    Args:
        images: The images, which the layout holds.
        out: The layout.
        reference: What the layout shall call the index; a name that it had moves to it.

    Raises:
        ImageError: There is no image, or two for one platform; or the name cannot be one.
        IntegrityError: The layout holds an image no more.
        DiskFullError: There is no room.
    """
    by_platform = {image.platform: image for image in images}
    if not images or len(by_platform) != len(images):
        raise ImageError(f"an index takes one image per platform, found {[image.platform for image in images]}.")
    if not _REFERENCE.fullmatch(reference):
        raise ImageError(f"{reference!r:.120} cannot name an index: letters, digits and . _ / : - are possible.")
    ordered = tuple(by_platform[name] for name in PLATFORMS if name in by_platform)
    manifests = []
    for image in ordered:
        oci = PLATFORMS[image.platform].oci
        descriptor = Descriptor(MANIFEST, image.manifest_digest, image.manifest_size_bytes, oci)
        out.verify(descriptor)
        manifests.append(descriptor.to_json())
    with out.writing() as writer:
        added = writer.add_document(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
        writer.entries.append(Descriptor(INDEX, added.digest, added.size_bytes, annotations={REFERENCE: reference}))
    return BuiltIndex(added.digest, added.size_bytes, ordered, reference)


def wheels_tree(spec: ImageSpec, files: Sequence[Path]) -> Tree:
    """The engine's and the update client's packages, without what no device loads."""
    tree = Tree()
    for file in files:
        add_wheel(tree, file, SITE)
    if "tflite-runtime" in {name for engine in spec.engines for name in spec.platform.engine_wheels[engine]}:
        source = _STAND_IN.read_bytes()
        add_source(
            tree, f"{SITE}/ai_edge_litert/__init__.py", b"from tflite_runtime import __version__ as __version__\n"
        )
        add_source(tree, f"{SITE}/ai_edge_litert/interpreter.py", source)
    return tree


def application_tree(python: str) -> Tree:
    """The agent, its command, and the folders that it owns.

    Args:
        python: Path of the interpreter in the image.
    """
    tree = Tree()
    for folder in _FOLDERS:
        for file in sorted((_PACKAGE / folder).glob("*.py")):
            add_source(tree, f"{SITE}/edgewright/{file.relative_to(_PACKAGE).as_posix()}", file.read_bytes())
    identity = edgewright.__version__
    metadata = f"Metadata-Version: 2.1\nName: edgewright\nVersion: {identity}\n"
    tree.file(f"{SITE}/edgewright-{identity}.dist-info/METADATA", metadata.encode())
    tree.file(COMMAND, _LAUNCHER.format(python=python).encode(), 0o755)
    tree.file(CONFIG_FILE.lstrip("/"), _CONFIG)
    tree.folder(STATE_FOLDER.lstrip("/"), 0o750, (USER, USER))
    return tree


def bundle_tree(bundle: Bundle) -> Tree:
    """The bundle that a device starts with."""
    tree = Tree()
    for name in sorted(path.name for path in bundle.folder.iterdir()):
        tree.file(f"{FACTORY}/{name}", (bundle.folder / name).read_bytes())
    return tree


def read_base(platform: Platform, parts: ImageParts, writer: LayoutWriter) -> BaseImage:
    """Reads a platform's base into the layout that is written.

    Raises:
        ImageError: There is none, or it is no base for this platform.
    """
    found = parts.bases.get(platform.name)
    if found is None:
        raise ImageError(
            f"there is no base for {platform.name}: make one with docker/base.sh {platform.debian} FILE, or name an image."
        )
    if isinstance(found, Path):
        return base_from_tar(found, platform, writer)
    folder, reference = found
    return base_from_layout(OciLayout(folder), reference, platform, writer)


def fitting_bundle(spec: ImageSpec, folder: Path) -> Bundle:
    """Reads and verifies the bundle that goes into an image.

    Raises:
        ImageError: It is for something else than the image.
        BundleError: It is damaged.
    """
    bundle = read_bundle(folder)
    manifest = bundle.manifest
    asked = {
        "model": spec.model,
        "target": spec.target,
        "variant": spec.variant,
        "platform": spec.platform.name,
        "engine": spec.engine,
    }
    for name, value in asked.items():
        if getattr(manifest, name) != value:
            raise ImageError(
                f"the bundle in {folder} has the {name} {getattr(manifest, name)!r}, the image {value!r}: one of them is "
                f"the wrong one."
            )
    return bundle


def _add(name: str, tree: Tree, writer: LayoutWriter) -> LayerInfo:
    descriptor, written = writer.add_layer(tree)
    return LayerInfo(name, descriptor.digest, descriptor.size_bytes, written.diff_id)


def finish_image(
    spec: ImageSpec,
    base: BaseImage,
    layers: list[LayerInfo],
    wheels: list[tuple[LockedWheel, Path]],
    bundle: Bundle | None,
    writer: LayoutWriter,
) -> BuiltImage:
    """Writes what lies around the layers: configuration, manifest, bill of materials and provenance."""
    sha256 = bundle.sha256 if bundle else None
    config = image_config(spec, base, layers, image_labels(spec, base, sha256))
    image = writer.add_image(config, [layer.descriptor for layer in layers])
    (application,) = (layer.diff_id for layer in layers if layer.name == APPLICATION)
    bill = write_bill(
        spec.name,
        str(spec.version or ""),
        image.digest,
        base,
        wheels,
        edgewright.__version__,
        application,
        spec.source_date_epoch,
    )
    asked: dict[str, str | int | None] = {
        "model": spec.model,
        "target": spec.target,
        "variant": spec.variant,
        "version": spec.version,
        "platform": spec.platform.name,
        "engines": " ".join(spec.engines),
        "threads": spec.threads,
        "sourceDateEpoch": spec.source_date_epoch,
    }
    statement = write_statement(
        spec.name, image.digest, asked, spec.provenance, base, [wheel for wheel, _ in wheels], sha256, application
    )
    config_bytes = to_bytes(config)
    writer.entries.append(replace(image, platform=spec.platform.oci))
    return BuiltImage(
        platform=spec.platform.name,
        manifest_digest=image.digest,
        manifest_size_bytes=image.size_bytes,
        config_digest=digest_of_bytes(config_bytes),
        config_size_bytes=len(config_bytes),
        layers=tuple(layers),
        size_bytes=sum(layer.size_bytes for layer in layers),
        sbom_digest=writer.attach(image, SBOM, bill.data).digest,
        provenance_digest=writer.attach(image, PROVENANCE, statement).digest,
        licences=bill.licences,
    )
