"""The bundles that devices are told to run, in the registry's artifact store: what is missing or changed there is sent again.

Devices refuse other bytes than were signed, and go on with what they run; but none can be updated until they are back.
"""

from __future__ import annotations

from edgewright.bundle_file import BundleFile, sha256_hex
from edgewright.errors import IntegrityError
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore
from edgewright.pipeline.signing.generation import Generation
from edgewright.pipeline.tracking.blobs import read_blob, write_blob
from edgewright.pipeline.tracking.client import Tracking
from edgewright.signed_release import SignedRelease


def mend_bundles(tracking: Tracking, generation: Generation, store: ArtifactStore) -> tuple[list[str], list[str]]:
    """Compare every signed release's files with what was signed; send what differs from the store again.

    Args:
        tracking: The registry.
        generation: What is signed.
        store: Has what builds packed, as long as nobody pruned it.

    Returns:
        One sentence for each thing that was done, and for each that only a person can decide.

    Raises:
        RegistryError: The registry refuses or cannot be reached.
        SharedStoreError: The team's store cannot be asked.
    """
    done: list[str] = []
    open_: list[str] = []
    for name in sorted(generation.roles):
        release = generation.release(name)
        if release is None:
            continue
        damaged = [file for file in release.files if not _is_whole(tracking, release, file)]
        if not damaged:
            continue
        names = ", ".join(file.name for file in damaged)
        what = f"{name}: {names} of version {release.version}, which devices are told to run,"
        try:
            whole = {file.name: store.read(_in_store(file)) for file in damaged}
        except IntegrityError as error:
            open_.append(f"{what} is missing or changed in the registry, and cannot be restored: {error}")
            continue
        for file_name, content in whole.items():
            write_blob(tracking, f"{release.source}/{file_name}", content)
        done.append(f"{what} was missing or changed in the registry, and was sent again")
    return done, open_


def _is_whole(tracking: Tracking, release: SignedRelease, file: BundleFile) -> bool:
    content = read_blob(tracking, f"{release.source}/{file.name}", file.size_bytes + 1)
    return content is not None and sha256_hex(content) == file.sha256


def _in_store(file: BundleFile) -> Artifact:
    return Artifact(f"sha256/{file.sha256[:2]}/{file.sha256}", file.sha256, file.size_bytes)
