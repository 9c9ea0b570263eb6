"""What people decided about releases, kept with the version: who, what, why, when; also that nobody answered."""

from __future__ import annotations

from datetime import UTC, datetime

from edgewright.pipeline.tracking.client import Tracking, open_client, registry_errors
from edgewright.pipeline.tracking.model_version import get_version
from edgewright.pipeline.tracking.pages import write_pages

APPROVAL = "edgewright.approval"
ASKED = "edgewright.approval_asked"
NO_ANSWER = "no answer in time"


@registry_errors("keeping a decision")
def record_decision(
    tracking: Tracking, model: str, target: str, version: int, *, decision: str, reason: str, who: str
) -> None:
    """Keeps a person's answer with the version that it is about; a later answer replaces it.

    Raises:
        RegistryError: There is no such version, or the registry cannot be reached.
    """
    found = get_version(tracking, model, target, version)
    said = f"{decision}: {reason} ({who}, {datetime.now(UTC).isoformat(timespec='seconds')})"
    open_client(tracking).set_model_version_tag(found.name, str(version), APPROVAL, said)
    write_pages(tracking, model, target, version)


@registry_errors("keeping a question")
def record_question(tracking: Tracking, model: str, target: str, version: int, run_id: str) -> None:
    """Keeps which flow run asks people about a version.

    Raises:
        RegistryError: There is no such version, or the registry cannot be reached.
    """
    found = get_version(tracking, model, target, version)
    open_client(tracking).set_model_version_tag(found.name, str(version), ASKED, run_id)
