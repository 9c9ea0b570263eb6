"""Nothing expires unnoticed: the workshop renews what it can, and tells people long before what it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from tuf.api.exceptions import ExpiredMetadataError

from edgewright.pipeline.signing.expiry import Refreshed, alarms, describe, refresh
from edgewright.signed_release import SIGNED_AT
from signed_updates import ROLE

PASSED = 1
Workshop = Any


def refreshed(workshop: Workshop) -> Refreshed:
    done = refresh(workshop.repository(), workshop.tracking)
    assert done is not None
    return done


def days(workshop: Workshop) -> dict[str, float]:
    repository = workshop.repository()
    return {role.role: role.days_left for role in describe(repository.read(), repository.keyring, repository.now())}


@pytest.fixture
def delegated(proper: Workshop) -> Workshop:
    proper.promote(PASSED), proper.sign(stick=True)
    return proper


def test_how_long_signatures_last(delegated: Workshop) -> None:
    left = {role: round(value) for role, value in days(delegated).items()}
    assert left == {"root": 365, "targets": 365, "snapshot": 30, "timestamp": 14, ROLE: 365}


def test_a_refresh_signs_the_timestamp_and_says_when(delegated: Workshop) -> None:
    device = delegated.enrol()
    device.check()
    before = device.seen["timestamp"]
    delegated.now.pass_days(0.25)
    assert refreshed(delegated).renewed == ()
    device.check()
    assert device.seen["timestamp"] == before + 1
    stamp = delegated.repository().read().timestamp
    assert stamp.unrecognized_fields[SIGNED_AT] == delegated.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    assert round(days(delegated)["timestamp"]) == 14


def test_what_has_less_than_half_of_its_life_left_is_renewed(delegated: Workshop) -> None:
    delegated.now.pass_days(14.9)
    assert refreshed(delegated).renewed == ()
    delegated.now.pass_days(0.2)
    assert refreshed(delegated).renewed == ("snapshot",)
    assert round(days(delegated)["snapshot"]) == 30


def test_an_online_release_role_is_renewed_too(proper: Workshop) -> None:
    proper.attest(PASSED, policy="auto")
    proper.promote(PASSED), proper.sign(stick=True)
    proper.now.pass_days(15.1)
    assert refreshed(proper).renewed == ("snapshot", ROLE)
    assert proper.enrol().version() == PASSED


def test_a_lost_release_key_stops_no_other_role(proper: Workshop) -> None:
    proper.attest(PASSED, policy="auto")
    proper.promote(PASSED), proper.sign(stick=True)
    repository = proper.repository()
    repository.keyring.find(repository.read().keys(ROLE)[0]).unlink()
    proper.now.pass_days(15.1)
    done = refreshed(proper)
    assert done.renewed == ("snapshot",)
    (told,) = done.alarms
    assert told.startswith(f"{ROLE} was due and not signed anew, 15 days are left: the private key of {ROLE}")
    assert {role: round(left) for role, left in days(proper).items() if role in ("snapshot", "timestamp")} == {
        "snapshot": 30,
        "timestamp": 14,
    }
    assert proper.enrol().version() == PASSED


def test_a_key_that_does_not_open_is_a_lost_one(proper: Workshop) -> None:
    repository = proper.repository()
    repository.keyring.find(repository.read().keys("snapshot")[0]).write_bytes(b"damaged")
    proper.now.pass_days(15.1)
    done = refreshed(proper)
    assert done.renewed == ()
    (told,) = done.alarms
    assert told.startswith("snapshot was due and not signed anew") and "does not open" in told
    assert round(days(proper)["timestamp"]) == 14


def test_root_keys_that_are_too_few_stop_no_other_role(signed: Workshop) -> None:
    repository = signed.repository()
    first, second, _ = repository.read().keys("root")
    repository.keyring.find(first).unlink()
    signed.now.pass_days(200)
    assert "root" in refreshed(signed).renewed, "two of three are enough"
    repository.keyring.find(second).unlink()
    signed.now.pass_days(200)
    done = refreshed(signed)
    assert "root" not in done.renewed and ROLE in done.renewed
    assert done.alarms[0].startswith("root was due") and "1 of its keys are here, 2 must sign" in done.alarms[0]


def test_a_year_of_refreshes_needs_people_for_what_is_offline_alone(delegated: Workshop) -> None:
    for _ in range(53):
        delegated.now.pass_days(6)
        done = refreshed(delegated)
        assert not done.alarms
    delegated.now.pass_days(3)
    told = refreshed(delegated).alarms
    assert [alarm.split()[0] for alarm in told] == ["root", "targets", ROLE]
    assert "edgewright keys rotate root-1 --offline DIR" in told[0]


def test_development_keys_renew_everything(signed: Workshop) -> None:
    device = signed.enrol()
    for _ in range(4):
        signed.now.pass_days(100)
        assert not refreshed(signed).alarms
    assert min(days(signed).values()) > 13
    assert device.version() == PASSED
    assert device.seen["root"] == 3


def test_a_refresh_that_does_not_run_alarms_before_devices_freeze(delegated: Workshop) -> None:
    delegated.now.pass_days(9.5)
    repository = delegated.repository()
    (told,) = alarms(describe(repository.read(), repository.keyring, repository.now()))
    assert told.startswith("timestamp expires in ") and "refresh-timestamp does not run" in told


def test_what_expired_is_refused_by_devices_and_renewed_by_the_next_refresh(delegated: Workshop) -> None:
    delegated.now.pass_days(-20)
    refreshed(delegated)
    with pytest.raises(ExpiredMetadataError):
        delegated.enrol().check()
    delegated.now.pass_days(20)
    refreshed(delegated)
    assert delegated.enrol("next").version() == PASSED


def test_a_refresh_mends_the_registry(delegated: Workshop) -> None:
    (delegated.mirror / "1.targets.json").unlink(missing_ok=True)
    (delegated.mirror / "2.targets.json").write_bytes(b"tampered")
    own = delegated.repository().copy
    before = own.read("timestamp.json")
    refreshed(delegated)
    assert (delegated.mirror / "2.targets.json").read_bytes() == own.read("2.targets.json")
    assert (delegated.mirror / "timestamp.json").read_bytes() == own.read("timestamp.json") != before
    assert not (delegated.mirror / "1.targets.json").exists(), "no generation of today names it"


def test_nothing_signed_is_nothing_to_refresh(workshop: Workshop) -> None:
    assert refresh(workshop.repository(), workshop.tracking) is None
