"""What was signed, in the registry's artifact store: always the own copy's bytes, and never a base for a signature.

Whatever is missing there, or differs, is sent again; what a device learns first comes last, so that a device that
asks in between finds what it was told of.
"""

from __future__ import annotations

from edgewright.errors import RegistryError
from edgewright.pipeline.signing.generation import Generation
from edgewright.pipeline.tracking.blobs import read_blob, write_blob
from edgewright.pipeline.tracking.client import Tracking
from edgewright.signed_release import REPOSITORY


def mend_mirror(tracking: Tracking, generation: Generation) -> tuple[str, ...]:
    """Send what the registry lacks, or has in another form; call it with the repository's lease held.

    Returns:
        Names of the files that were sent.

    Raises:
        RegistryError: The registry refuses or cannot be reached; what was signed counts, and is sent by the next call.
    """
    sent = []
    for name, content in generation.files.items():
        if read_blob(tracking, f"{REPOSITORY}/{name}", len(content) + 1) != content:
            write_blob(tracking, f"{REPOSITORY}/{name}", content)
            sent.append(name)
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
