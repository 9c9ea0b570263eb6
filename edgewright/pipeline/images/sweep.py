"""Removes images that no release names any more, and that are older than a day."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from edgewright.durable import replace_file
from edgewright.errors import ImageError, IntegrityError
from edgewright.pipeline.images.descriptor import MANIFESTS, Descriptor
from edgewright.pipeline.images.layout_writer import no_room, writers_lock
from edgewright.pipeline.images.oci_layout import INDEX_NAME, OciLayout, blobs_of, index_bytes
from edgewright.pipeline.images.release_images import images_folder
from edgewright.pipeline.tracking import Tracking, registered_names, versions
from edgewright.pipeline.tracking.image_tags import recorded_images
from edgewright.pipeline.workspace import Workspace

# A run that builds images names them when all are proven, which takes hours under an emulator at most.
GRACE_S = 86_400.0


@dataclass(frozen=True)
class Swept:
    """What was removed.

    Attributes:
        entries: Images, indexes and what was attached to them.
        blobs: Files.
        size_bytes: Their bytes.
    """

    entries: int
    blobs: int
    size_bytes: int


def sweep_images(workspace: Workspace, tracking: Tracking, older_than_s: float = GRACE_S) -> Swept:
    """Remove a workspace's images that no model version's tags name.

    Args:
        workspace: Whose layout.
        tracking: The registry.
        older_than_s: Age in seconds below which everything stays.

    Raises:
        RegistryError: The registry cannot be reached: nothing is removed.
        ImageError: A document of what stays is none: nothing is removed.
        IntegrityError: One is missing, damaged or exchanged: nothing is removed.
        DiskFullError: There is no room for the list of what stays.
    """
    folder = images_folder(workspace)
    if not folder.is_dir():
        return Swept(0, 0, 0)
    named = set()
    for name in registered_names(tracking):
        model, _, target = name.partition(".")
        for version in versions(tracking, model, target):
            if (images := recorded_images(version.tags)) is not None:
                named |= {images.index, *(each.digest for each in images.platforms)}
    return sweep_layout(OciLayout(folder), named, older_than_s)


def sweep_layout(layout: OciLayout, named: Collection[str], older_than_s: float) -> Swept:
    """Remove what nobody names from a layout.

    The list of entries is exchanged before blobs go: a kill leaves blobs without an entry, which the next sweep takes.

    Args:
        layout: The layout.
        named: Digests of indexes and images that somebody names.
        older_than_s: Age in seconds below which everything stays: a run may be about to name it.

    Raises:
        ImageError: A document of what is named is none: nothing is removed.
        IntegrityError: One is missing, damaged or exchanged: nothing is removed. What nobody names may be damaged.
        DiskFullError: There is no room for the list of what stays.
    """
    oldest_s = time.time() - older_than_s
    with no_room(layout.root), writers_lock(layout.root):
        entries = layout.entries()
        kept, must = _kept(layout, entries, named, oldest_s)
        stays = {entry.digest for entry in kept}
        for entry in kept:
            with _damage_passed_over(entry.digest not in must):
                stays |= _blobs(layout, entry)
        if kept != entries:
            replace_file(layout.root / INDEX_NAME, index_bytes(kept))
        gone = [
            (path, path.stat().st_size)
            for path in sorted((layout.root / "blobs" / "sha256").iterdir())
            if f"sha256:{path.name}" not in stays and not _is_young(path, oldest_s)
        ]
        for path, _ in gone:
            path.unlink()
    return Swept(len(entries) - len(kept), len(gone), sum(size for _, size in gone))


def _kept(
    layout: OciLayout, entries: tuple[Descriptor, ...], named: Collection[str], oldest_s: float
) -> tuple[tuple[Descriptor, ...], set[str]]:
    """Entries that are named or young, the images of such indexes, and what is attached to those.

    Returns:
        The entries, and the digests of those that somebody names: these must be readable.
    """
    must, stays, subjects = set[str](), set[str](), dict[str, str | None]()
    for entry in entries:
        is_named = entry.digest in named
        if is_named or _is_young(layout.blob_path(entry.digest), oldest_s):
            found = {entry.digest}
            with _damage_passed_over(not is_named):
                found |= {image.digest for image in layout.images(entry)}
            stays |= found
            must |= found if is_named else set()
        with _damage_passed_over():
            subjects[entry.digest] = layout.subject(entry)
    must |= {digest for digest, subject in subjects.items() if subject in must}
    return tuple(each for each in entries if each.digest in stays or subjects.get(each.digest) in stays), must


def _blobs(layout: OciLayout, entry: Descriptor) -> set[str]:
    """Digests of all that an entry needs."""
    found = {entry.digest}
    for image in layout.images(entry):
        found |= _blobs(layout, image)
    if entry.media_type in MANIFESTS:
        document = layout.document(entry, "manifest")
        found |= {blob.digest for blob in blobs_of(document, f"manifest {entry.digest}")}
    return found


def _damage_passed_over(is_passed_over: bool = True) -> AbstractContextManager[None]:
    """What nobody names may be damaged: it goes when it is old, and keeps nothing else from going."""
    return suppress(ImageError, IntegrityError) if is_passed_over else nullcontext()


def _is_young(path: Path, oldest_s: float) -> bool:
    return path.is_file() and path.stat().st_mtime >= oldest_s
