"""What the workshop keeps of a person's decision: all of it, and nothing of one that was refused."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.pipeline.signing.attestation import find_attestation
from edgewright.pipeline.signing.deciding import decided_version, promote_by_person
from edgewright.pipeline.tracking import ChampionMovedError

Workshop = Any
ROLE = "digits.linux-x86"
PASSED, FAILED = 1, 3


def kept_waiver(workshop: Workshop) -> str:
    found = find_attestation(workshop.repository().shared, ROLE, workshop.version(FAILED).bundle_sha256)
    assert found is not None
    return found.waiver


def test_a_waiver_counts_with_the_promotion_that_it_was_given_for(workshop: Workshop) -> None:
    words = {"reason": "only one board", "who": "A. Person", "waiver": "in the cellar"}
    promote_by_person(workshop.tracking, "digits", "linux-x86", FAILED, **words)
    assert kept_waiver(workshop) == "in the cellar (A. Person)"
    assert workshop.sign().standing == "signed"


def test_a_waiver_of_a_promotion_that_was_refused_is_not_kept(workshop: Workshop) -> None:
    workshop.promote(PASSED)
    words = {"reason": "only one board", "who": "A. Person", "waiver": "in the cellar"}
    with pytest.raises(ChampionMovedError):
        promote_by_person(workshop.tracking, "digits", "linux-x86", FAILED, judged_against=0, **words)
    assert kept_waiver(workshop) == ""
    assert decided_version(workshop.repository().shared, ROLE) is None
    workshop.point(FAILED)
    assert workshop.sign().standing == "refused", "an alias alone lets nothing out"
