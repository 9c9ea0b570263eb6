"""What the workshop keeps of a person's decision: all of it, and nothing of one that was refused."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.errors import RegistryError
from edgewright.pipeline.signing.attestation import Attestation, find_attestation
from edgewright.pipeline.signing.deciding import decided_version, promote_by_person, roll_back
from edgewright.pipeline.tracking import ChampionMovedError, champion, promote
from edgewright.pipeline.tracking.client import open_client

Workshop = Any
ROLE = "digits.linux-x86"
PASSED, BETTER, FAILED = 1, 2, 3


def attested(workshop: Workshop, number: int) -> Attestation:
    found = find_attestation(workshop.repository().shared, ROLE, workshop.version(number).bundle_sha256)
    assert found is not None
    return found


def kept_waiver(workshop: Workshop) -> str:
    return attested(workshop, FAILED).waiver


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


def test_a_waiver_for_what_is_champion_already_is_kept_as_any_other(workshop: Workshop) -> None:
    workshop.point(FAILED)
    words = {"reason": "only one board", "who": "A. Person", "waiver": "in the cellar"}
    done = promote_by_person(workshop.tracking, "digits", "linux-x86", FAILED, **words)
    assert (done.champion, done.changed) == (FAILED, False)
    assert kept_waiver(workshop) == "in the cellar (A. Person)"
    found = workshop.version(FAILED)
    assert (found.waiver, found.tags["edgewright.reason"]) == ("in the cellar", "only one board")
    assert found.tags["edgewright.promoted_by"] == "A. Person"
    assert workshop.sign().standing == "signed", "the registry says it, too"


def test_what_must_not_be_champion_is_not_chosen_because_it_is_champion_already(workshop: Workshop) -> None:
    workshop.point(FAILED)
    with pytest.raises(RegistryError, match="has the verdict 'fail', only 'pass' is promoted"):
        promote_by_person(workshop.tracking, "digits", "linux-x86", FAILED, reason="as it is", who="A. Person")
    assert decided_version(workshop.repository().shared, ROLE) is None


def killed_rollback(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback that ended when all but the alias was written."""
    client = type(open_client(workshop.tracking))

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(client, "set_registered_model_alias", kill)
        roll_back(workshop.tracking, "digits", "linux-x86", reason="bad", who="A. Person")


def test_a_withdrawn_version_that_is_champion_still_is_kept_by_a_persons_wish_alone(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.promote(PASSED), workshop.promote(BETTER)
    killed_rollback(workshop, monkeypatch)
    found = champion(workshop.tracking, "digits", "linux-x86")
    assert found is not None and (found.version, found.withdrawn) == (BETTER, "bad")
    with pytest.raises(RegistryError, match=r"version 2 was rolled back \(bad\): nothing automatic promotes it again"):
        promote(workshop.tracking, "digits", "linux-x86", BETTER, reason="passed", who="a build")
    assert workshop.version(BETTER).withdrawn == "bad"
    assert attested(workshop, BETTER).withdrawn == "bad (A. Person)"
    workshop.promote(BETTER)
    assert workshop.version(BETTER).withdrawn == "" and attested(workshop, BETTER).withdrawn == ""
