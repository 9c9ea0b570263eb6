"""What was signed, in the registry's artifact store: always the own copy's bytes, and never a base for a signature.

Whatever is missing there, or differs, is sent again; what a device learns first comes last, so that a device that
asks in between finds what it was told of.
"""

from __future__ import annotations

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from edgewright.errors import RegistryError
from edgewright.pipeline.signing.generation import Generation
from edgewright.pipeline.tracking.blobs import read_blob, remove_blob, write_blob
from edgewright.pipeline.tracking.client import Tracking
from edgewright.signed_release import REPOSITORY

_ROOT_MAX_BYTES = 1 << 18  # what devices read of one at most


def mend_mirror(tracking: Tracking, generation: Generation) -> tuple[str, ...]:
    """Send what the registry lacks, or has in another form; call it with the repository's lease held.

    One file that was never signed is removed: a next root, for which devices ask first, and at which they would stop.

    Returns:
        Names of the files that were sent, and of the one that was removed.

    Raises:
        RegistryError: The registry refuses or cannot be reached; what was signed counts, and is sent by the next call.
    """
    sent = []
    for name, content in generation.files.items():
        if read_blob(tracking, f"{REPOSITORY}/{name}", len(content) + 1) != content:
            write_blob(tracking, f"{REPOSITORY}/{name}", content)
            sent.append(name)
    following = f"{generation.root.version + 1}.root.json"
    found = read_blob(tracking, f"{REPOSITORY}/{following}", _ROOT_MAX_BYTES)
    if found is not None and not _is_signed(found, generation.root):
        remove_blob(tracking, f"{REPOSITORY}/{following}")
        sent.append(f"{following} (nobody signed it: removed)")
    return tuple(sent)


def refuse_foreign_mirror(tracking: Tracking) -> None:
    """Refuse to begin a repository where the registry carries another's already: devices would be torn between two.

    Raises:
        RegistryError: It does.
    """
    if read_blob(tracking, f"{REPOSITORY}/1.root.json", 1):
        raise RegistryError(
            f"{tracking.uri} carries signed metadata already ({REPOSITORY}/1.root.json), and this workspace has none. Use "
            f"the workshop that signed it: set EDGEWRIGHT_SHARED to its store. If nobody's devices obey it, delete that file."
        )


def _is_signed(content: bytes, root: Root) -> bool:
    """Say whether a root signed this one: then the own copy is older than what devices obey, and a person must look."""
    try:
        following = Metadata[Root].from_bytes(content)
        root.verify_delegate(Root.type, following.signed_bytes, following.signatures)
    except RepositoryError:
        return False
    return True
