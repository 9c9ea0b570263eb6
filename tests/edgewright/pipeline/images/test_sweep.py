"""What no release names goes, with all that belongs to it; what is named, young or shared stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgewright.errors import IntegrityError
from edgewright.pipeline.images.builder import ImageParts, build_image, build_index
from edgewright.pipeline.images.image_spec import BuiltIndex
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.sweep import GRACE_S, Swept, sweep_layout
from image_parts import make_bundle, make_parts, spec_of


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ImageParts:
    return make_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture
def layout(tmp_path: Path) -> OciLayout:
    return OciLayout.create(tmp_path / "layout")


def release(layout: OciLayout, parts: ImageParts, folder: Path, version: int) -> BuiltIndex:
    bundle = make_bundle(folder / str(version), seed=version)
    image = build_image(spec_of(bundle, version=version), layout, parts)
    return build_index([image], layout, f"tiny.box:{version}")


def blobs(layout: OciLayout) -> set[str]:
    return {path.name for path in (layout.root / "blobs/sha256").iterdir()}


def age(layout: OciLayout, seconds: float) -> None:
    then = time.time() - seconds
    for path in (layout.root / "blobs/sha256").iterdir():
        os.utime(path, (then, then))


def test_what_is_named_stays_whole_and_the_rest_goes(layout: OciLayout, parts: ImageParts, tmp_path: Path) -> None:
    first = release(layout, parts, tmp_path, 1)
    of_first = blobs(layout)
    second = release(layout, parts, tmp_path, 2)
    age(layout, GRACE_S + 60)
    before = blobs(layout)
    swept = sweep_layout(layout, {second.digest}, GRACE_S)
    gone = before - blobs(layout)
    assert swept.entries == 4, "an index, its image, the bill and the provenance"
    assert swept.blobs == len(gone) and gone < of_first
    layout.verify(layout.find(second.digest))
    assert len(layout.attached(second.images[0].manifest_digest)) == 2
    shared = {layer.digest for layer in first.images[0].layers} & {layer.digest for layer in second.images[0].layers}
    assert len(shared) == 3 and not {digest.removeprefix("sha256:") for digest in shared} & gone
    assert sweep_layout(layout, {second.digest}, GRACE_S) == Swept(0, 0, 0)
    assert release(layout, parts, tmp_path / "again", 1).digest == first.digest, "it can be built again, identically"


def test_what_is_young_stays(layout: OciLayout, parts: ImageParts, tmp_path: Path) -> None:
    index = release(layout, parts, tmp_path, 1)
    assert sweep_layout(layout, (), GRACE_S) == Swept(0, 0, 0)
    layout.verify(layout.find(index.digest))


def test_an_image_that_is_named_without_an_index_keeps_what_is_attached(
    layout: OciLayout, parts: ImageParts, tmp_path: Path
) -> None:
    index = release(layout, parts, tmp_path, 1)
    age(layout, GRACE_S + 60)
    image = index.images[0].manifest_digest
    assert sweep_layout(layout, {image}, GRACE_S).entries == 1
    layout.verify(layout.find(image))
    assert len(layout.attached(image)) == 2


def test_blobs_that_a_killed_sweep_left_are_taken_by_the_next(layout: OciLayout) -> None:
    left = layout.root / "blobs/sha256" / ("a" * 64)
    left.write_bytes(b"left")
    age(layout, GRACE_S + 60)
    assert sweep_layout(layout, (), GRACE_S) == Swept(0, 1, 4)


@pytest.mark.parametrize("part", ["manifest", "bill"])
def test_a_damaged_document_of_what_is_named_has_nothing_removed(
    part: str, layout: OciLayout, parts: ImageParts, tmp_path: Path
) -> None:
    release(layout, parts, tmp_path, 1)
    second = release(layout, parts, tmp_path, 2)
    image = second.images[0]
    damaged = {"manifest": image.manifest_digest, "bill": image.sbom_digest}[part]
    layout.blob_path(damaged).write_bytes(b"{}")
    age(layout, GRACE_S + 60)
    before = blobs(layout)
    with pytest.raises(IntegrityError, match=damaged.removeprefix("sha256:")):
        sweep_layout(layout, {second.digest}, GRACE_S)
    assert blobs(layout) == before and layout.find("tiny.box:1")


def test_an_index_that_tags_name_stays_though_its_name_went_to_another(
    layout: OciLayout, parts: ImageParts, tmp_path: Path
) -> None:
    recorded = release(layout, parts, tmp_path, 1)
    changed = build_image(spec_of(make_bundle(tmp_path / "changed", seed=9), version=1), layout, parts)
    built = build_index([changed], layout, "tiny.box:1")  # and then its push fails: nobody names it
    age(layout, GRACE_S + 60)
    sweep_layout(layout, {recorded.digest}, GRACE_S)
    layout.verify(layout.find(recorded.digest))
    assert built.digest not in {entry.digest for entry in layout.entries()}


@pytest.mark.parametrize("damage", ["missing", "changed"])
@pytest.mark.parametrize("part", ["index", "image", "bill"])
def test_what_nobody_names_goes_when_it_is_old_though_it_is_damaged(
    part: str, damage: str, layout: OciLayout, parts: ImageParts, tmp_path: Path
) -> None:
    first, second = release(layout, parts, tmp_path, 1), release(layout, parts, tmp_path, 2)
    image = first.images[0]
    path = layout.blob_path({"index": first.digest, "image": image.manifest_digest, "bill": image.sbom_digest}[part])
    path.unlink() if damage == "missing" else path.write_bytes(b"{}")
    sweep_layout(layout, {second.digest}, GRACE_S)  # young: it stays, and is in nobody's way
    age(layout, GRACE_S + 60)
    sweep_layout(layout, {second.digest}, GRACE_S)
    left = {entry.digest for entry in layout.entries()}
    assert not left & {first.digest, image.manifest_digest, image.sbom_digest, image.provenance_digest}
    layout.verify(layout.find(second.digest))
    assert len(layout.attached(second.images[0].manifest_digest)) == 2
