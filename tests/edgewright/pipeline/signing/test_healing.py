"""Aliases moved by hand, kills between an alias and its signature, a registry that was tampered with: all set right."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.pipeline.lease import hold_lease
from edgewright.pipeline.signing.ceremony import revoke_key
from edgewright.pipeline.signing.deciding import note_decision
from edgewright.pipeline.signing.healing import heal_updates
from edgewright.pipeline.tracking import champion, promote, rollback
from edgewright.pipeline.tracking.client import open_client
from edgewright.pipeline.tracking.signing_tags import SET_BACK, SIGNED
from signed_updates import ROLE

PASSED, BETTER, FAILED, FOREIGN = 1, 2, 3, 5
Workshop = Any


def heal(workshop: Workshop) -> tuple[list[str], list[str]]:
    return heal_updates(workshop.repository(), workshop.tracking)


def in_office(workshop: Workshop) -> int | None:
    found = champion(workshop.tracking, "digits", "linux-x86")
    return None if found is None else found.version


def test_where_all_is_well_nothing_is_done(signed: Workshop) -> None:
    assert heal(signed) == ([], [])


def test_nothing_is_begun_where_nothing_is_champion(workshop: Workshop) -> None:
    assert heal(workshop) == ([], [])
    assert workshop.repository().read() is None


def test_an_alias_moved_by_hand_is_signed_where_the_verdict_allows(signed: Workshop) -> None:
    signed.point(BETTER)
    done, open_ = heal(signed)
    assert done == [f"{ROLE}: version 2 is signed for devices (metadata 2)."] and not open_
    assert signed.enrol().version() == BETTER
    assert heal(signed) == ([], [])


def test_otherwise_it_is_set_back_with_the_reason(signed: Workshop) -> None:
    for number in (FAILED, FOREIGN):
        signed.point(number)
        (said,), open_ = heal(signed)
        assert said.endswith("The alias is back at version 1.") and not open_
        assert in_office(signed) == PASSED
        assert f"version {number} is not signed" in signed.version(number).tags[SET_BACK]
    assert signed.enrol().version() == PASSED
    assert heal(signed) == ([], [])


def registered_by_hand(workshop: Workshop, source: str) -> int:
    """Somebody registers a version with the tags of the better one, whose bundle lies elsewhere, and makes it champion."""
    client = open_client(workshop.tracking)
    made = client.create_model_version(ROLE, source=source)
    for key, value in workshop.version(BETTER).tags.items():
        client.set_model_version_tag(ROLE, made.version, key, value)
    workshop.point(int(made.version))
    return int(made.version)


@pytest.mark.parametrize(
    "source",
    [
        "mlflow-artifacts:/attacker/place",
        "file:///tmp/elsewhere",
        "mlflow-artifacts:/a/../../b",
        "mlflow-artifacts:/a b/ü",
        "mlflow-artifacts:/",
    ],
)
def test_a_judged_bundle_that_somebody_registers_anew_is_not_signed_wherever_it_lies(
    signed: Workshop, source: str
) -> None:
    number = registered_by_hand(signed, source)
    (said,), open_ = heal(signed)
    assert not open_ and said.endswith("The alias is back at version 1.")
    assert "registered its bundle as version 2" in signed.version(number).tags[SET_BACK]
    assert signed.enrol().version() == PASSED
    assert heal(signed) == ([], [])


def test_a_withdrawn_release_stays_withdrawn_whatever_the_registry_says(signed: Workshop) -> None:
    signed.promote(BETTER), signed.rollback()
    client = open_client(signed.tracking)
    for tag in [tag for tag in signed.version(BETTER).tags if "withdrawn" in tag]:
        client.delete_model_version_tag(ROLE, str(BETTER), tag)
    signed.point(BETTER)
    (said,), open_ = heal(signed)
    assert "it was withdrawn: bad (test)" in said and not open_
    assert in_office(signed) == PASSED
    assert signed.enrol().version() == PASSED
    assert signed.promote(BETTER).standing == "signed", "a person takes it back"


def test_an_older_release_is_not_signed_for_an_alias_alone(signed: Workshop) -> None:
    signed.promote(BETTER)
    signed.point(PASSED)
    (said,), open_ = heal(signed)
    assert "use `edgewright rollback digits --target linux-x86`" in said and not open_
    assert "use `edgewright rollback" in signed.version(PASSED).tags[SET_BACK]
    assert in_office(signed) == BETTER
    assert signed.enrol().version() == BETTER
    assert signed.promote(PASSED).standing == "signed", "for a decision it is"
    signed.promote(BETTER), signed.point(PASSED)
    assert len(heal(signed)[0]) == 1
    assert in_office(signed) == BETTER, "a decision counts once"


def test_a_kill_between_a_rollback_and_its_signature_is_finished(signed: Workshop) -> None:
    signed.promote(BETTER)
    rollback(
        signed.tracking,
        "digits",
        "linux-x86",
        reason="bad",
        who="test",
        on_decided=lambda _, chosen: note_decision(signed.repository().shared, chosen),
    )  # and then SIGKILL
    heal(signed)
    assert signed.enrol().version() == PASSED


def test_what_is_wrong_with_one_model_keeps_no_other_waiting(signed: Workshop) -> None:
    shared = signed.repository().shared
    shared.write(f"updates/attestations/{ROLE}/{signed.version(BETTER).bundle_sha256}.json", b"damaged")
    signed.point(BETTER)
    open_client(signed.tracking).delete_registered_model_alias("motion.linux-x86", "champion")
    (done,), (open_,) = heal(signed)
    assert done.startswith("motion.linux-x86: the alias champion was removed")
    assert open_.startswith(f"{ROLE}: ") and "is not valid JSON" in open_


def test_an_alias_that_was_removed_comes_back(signed: Workshop) -> None:
    open_client(signed.tracking).delete_registered_model_alias(ROLE, "champion")
    (said,), _ = heal(signed)
    assert "the alias champion was removed" in said
    assert in_office(signed) == PASSED


def test_where_nothing_is_signed_to_go_back_to_a_person_is_told(workshop: Workshop) -> None:
    workshop.point(FOREIGN)
    done, (said,) = heal(workshop)
    assert not done and "did not judge its bundle" in said
    assert in_office(workshop) == FOREIGN


def test_a_kill_between_alias_and_signature_is_finished(signed: Workshop) -> None:
    promote(signed.tracking, "digits", "linux-x86", BETTER, reason="good", who="test")  # and then SIGKILL
    heal(signed)
    assert signed.enrol().version() == BETTER


def test_a_kill_between_signature_and_tag_is_finished(signed: Workshop) -> None:
    open_client(signed.tracking).delete_model_version_tag(ROLE, str(PASSED), SIGNED)
    assert heal(signed) == ([], [])
    assert signed.version(PASSED).tags[SIGNED].startswith("1 ")


def test_what_waits_for_a_person_stays_the_intent(signed: Workshop) -> None:
    signed.ceremony(revoke_key, ROLE)
    signed.point(BETTER)
    done, (said,) = heal(signed)
    assert not done and "version 2 waits" in said
    assert in_office(signed) == BETTER


def test_a_registry_that_lost_or_changed_files_gets_them_again(signed: Workshop) -> None:
    (signed.mirror / "1.root.json").unlink()
    (signed.mirror / "3.targets.json").write_bytes(b"tampered")
    (said,), _ = heal(signed)
    assert said.endswith("sent again: 3.targets.json, 1.root.json")
    assert signed.enrol().version() == PASSED


def test_a_promotion_that_is_under_way_is_left_alone(signed: Workshop) -> None:
    signed.point(FAILED)
    with hold_lease(signed.repository().shared, "promotion.digits", holder="a promotion"):
        assert heal(signed) == ([], [])
    assert in_office(signed) == FAILED
