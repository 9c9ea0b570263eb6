"""Writes a model version's tags about its container images."""

from __future__ import annotations

from edgewright.pipeline.tracking.client import Tracking, alias_lock, open_client, registry_errors
from edgewright.pipeline.tracking.image_tags import INDEX_TAG, PREFIX, PULL_TAG, RecordedImages, image_tags
from edgewright.pipeline.tracking.model_version import ModelVersion, get_version
from edgewright.pipeline.tracking.pages import refresh_pages


@registry_errors("recording images")
def record_image_tags(tracking: Tracking, version: ModelVersion, images: RecordedImages) -> None:
    """Write a version's tags about its images, and its page.

    Where the very index was pushed before, and is not now, it is still where it went.

    Raises:
        RegistryError: The registry cannot be reached; the version names no index then, or the one before.
    """
    tags = image_tags(images)
    client, number = open_client(tracking), str(version.version)
    with alias_lock(tracking, version.name):
        known = get_version(tracking, version.model, version.target, version.version).tags
        surplus = {key for key in known if key.startswith(PREFIX) and key not in tags}
        if known.get(INDEX_TAG) == images.index:
            surplus.discard(PULL_TAG)
        if surplus or any(known.get(key) != value for key, value in tags.items()):
            for key in (*([INDEX_TAG] if INDEX_TAG in known else []), *sorted(surplus - {INDEX_TAG})):
                client.delete_model_version_tag(version.name, number, key)
            for key, value in tags.items():
                client.set_model_version_tag(version.name, number, key, value)
        refresh_pages(tracking, version.model, version.target, version.version)
