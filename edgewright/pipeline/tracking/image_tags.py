"""What a model version's tags say of its container images: digests, proofs, and where to pull.

The tag ``edgewright.image.index`` is written last and taken away first: a version that has it has everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "edgewright.image."
INDEX_TAG, PULL_TAG, LAYOUT_TAG = f"{PREFIX}index", f"{PREFIX}pull", f"{PREFIX}layout"
_PROOF = f"{PREFIX}proof."
_MOST_CHARACTERS = 500


@dataclass(frozen=True)
class PlatformImage:
    """The image of one platform, as tags have it.

    Attributes:
        platform: ``linux/arm64``.
        digest: Digest of its manifest.
        proof: What running it came to, in a line.
    """

    platform: str
    digest: str
    proof: str


@dataclass(frozen=True)
class RecordedImages:
    """A version's images, as its tags have them.

    Attributes:
        index: Digest of the index.
        layout: Folder of the layout that holds them, on the machine that built them.
        pull: Where else they are, by digest; None where no registry was named.
        platforms: The images.
    """

    index: str
    layout: str
    pull: str | None
    platforms: tuple[PlatformImage, ...]


def recorded_images(tags: Mapping[str, str]) -> RecordedImages | None:
    """Read a version's tags; None where it has no image."""
    if INDEX_TAG not in tags:
        return None
    slugs = [key.removeprefix(_PROOF) for key in sorted(tags) if key.startswith(_PROOF)]
    platforms = (
        PlatformImage(slug.replace("-", "/"), tags[f"{PREFIX}{slug}"], tags[f"{_PROOF}{slug}"])
        for slug in slugs
        if f"{PREFIX}{slug}" in tags
    )
    return RecordedImages(tags[INDEX_TAG], tags.get(LAYOUT_TAG, ""), tags.get(PULL_TAG), tuple(platforms))


def image_tags(images: RecordedImages) -> dict[str, str]:
    """Give the tags of a version's images; that of the index is last."""
    found = {LAYOUT_TAG: images.layout}
    for each in images.platforms:
        slug = each.platform.replace("/", "-")
        found |= {f"{PREFIX}{slug}": each.digest, f"{_PROOF}{slug}": each.proof[:_MOST_CHARACTERS]}
    if images.pull is not None:
        found[PULL_TAG] = images.pull
    return {**found, INDEX_TAG: images.index}
