"""What a version's tags say of its signature, and the alias set back to what is signed. Nothing trusts these tags."""

from __future__ import annotations

from datetime import UTC, datetime

from edgewright.pipeline.tracking.client import Tracking, alias_lock, open_client, registry_errors
from edgewright.pipeline.tracking.model_version import CHAMPION, ModelVersion
from edgewright.pipeline.tracking.pages import refresh_pages, write_pages

SIGNED = "edgewright.signed"
"""``<version of the role's metadata> <UTC>``: since then devices are told to run it."""
SIGNING = "edgewright.signing"
"""``waits …`` or ``refused …``: why a champion is not signed."""
SET_BACK = "edgewright.alias_set_back"
"""Why the alias ``champion`` was taken from this version again."""
WAITS, REFUSED = "waits", "refused"


@registry_errors("noting a signature")
def note_signed(tracking: Tracking, version: ModelVersion, metadata_version: int) -> None:
    """Tag a version as signed, unless its tag says so already."""
    if SIGNING not in version.tags and version.tags.get(SIGNED, "").startswith(f"{metadata_version} "):
        return
    client, number = open_client(tracking), str(version.version)
    client.set_model_version_tag(version.name, number, SIGNED, f"{metadata_version} {_now()}")
    for key in (SIGNING, SET_BACK):
        if key in version.tags:
            client.delete_model_version_tag(version.name, number, key)
    if SIGNING in version.tags or SET_BACK in version.tags:
        write_pages(tracking, version.model, version.target, version.version)


@registry_errors("noting that a signature waits")
def note_unsigned(tracking: Tracking, version: ModelVersion, standing: str, why: str) -> None:
    """Tag a champion that is not signed: it ``waits``, or is ``refused``, and why."""
    said = f"{standing}: {why}"
    if version.tags.get(SIGNING) != said:
        open_client(tracking).set_model_version_tag(version.name, str(version.version), SIGNING, said)
        write_pages(tracking, version.model, version.target, version.version)


@registry_errors("setting the champion back")
def set_champion_back(tracking: Tracking, signed: ModelVersion, champion: ModelVersion | None, why: str) -> None:
    """Let the alias say again what is signed; the version that had it, or the one that has it now, says why.

    Args:
        tracking: The registry.
        signed: The version that devices are told to run.
        champion: The one that the alias points to; None where somebody removed it.
        why: Why it cannot stay so.
    """
    told = champion or signed
    with alias_lock(tracking, signed.name):
        client = open_client(tracking)
        client.set_model_version_tag(told.name, str(told.version), SET_BACK, f"{why} ({_now()})")
        if SIGNING in told.tags:
            client.delete_model_version_tag(told.name, str(told.version), SIGNING)
        client.set_registered_model_alias(signed.name, CHAMPION, str(signed.version))
        refresh_pages(tracking, signed.model, signed.target, told.version)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
