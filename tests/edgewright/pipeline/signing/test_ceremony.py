"""Keys come, go and are exchanged, and devices follow: also those that slept through several exchanges."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.errors import KeyringError, UsageError
from edgewright.pipeline.signing.ceremony import revoke_key, rotate_key
from edgewright.pipeline.signing.roles import ROOT, kept_of, key_name
from signed_updates import ROLE

PASSED, BETTER = 1, 2
Workshop = Any


def test_the_first_keys(workshop: Workshop) -> None:
    made = workshop.init().generation
    assert sorted(path.name.rpartition("-")[0] for path in workshop.offline.glob("*.pem")) == [
        "root-1",
        "root-2",
        "root-3",
        "targets",
    ]
    assert sorted(path.name.rpartition("-")[0] for path in workshop.repository().keyring.online.glob("*.pem")) == [
        "snapshot",
        "timestamp",
    ]
    assert (made.root.roles[ROOT].threshold, len(made.keys(ROOT))) == (2, 3)
    assert made.root.consistent_snapshot
    assert {path.name for path in workshop.mirror.iterdir()} == {
        "1.root.json",
        "1.targets.json",
        "1.snapshot.json",
        "timestamp.json",
    }
    assert workshop.enrol().check() is None, "nothing is signed for any device yet"


def test_a_second_init_is_refused(proper: Workshop) -> None:
    with pytest.raises(KeyringError, match="has its keys already"):
        proper.init()


def test_devices_of_the_development_follow_to_the_proper_keys(signed: Workshop) -> None:
    device, sleeper = signed.enrol(), signed.enrol("sleeper")
    before = device.check()
    old = sorted(path for path in signed.repository().keyring.online.glob("*.pem"))
    done = signed.init()
    assert not done.generation.is_development
    assert sorted(done.useless) == old and not any(path.exists() for path in old), "who finds one could still misuse it"
    assert device.check() == before
    signed.promote(BETTER)
    assert device.version() == PASSED, "its release key is offline now"
    signed.sign(stick=True)
    assert (device.version(), sleeper.version()) == (BETTER, BETTER)


def test_a_kept_policy_decides_where_a_proper_release_key_lies(signed: Workshop) -> None:
    signed.attest(PASSED, policy="auto")
    made = signed.init().generation
    assert [kept_of(key) for key in made.keys(ROLE)] == ["online"]
    assert [kept_of(key) for key in made.keys("motion.linux-x86")] == ["offline"]
    assert signed.promote(BETTER).standing == "signed"


def test_every_key_can_be_exchanged_and_a_device_that_slept_follows(proper: Workshop) -> None:
    proper.promote(PASSED), proper.sign(stick=True)
    awake, sleeper = proper.enrol(), proper.enrol("sleeper")
    assert (awake.version(), sleeper.version()) == (PASSED, PASSED)
    names = ("root-1", "timestamp", "root-2", "snapshot", "targets", "root-3", ROLE)
    for name in names:
        before = proper.repository().read()
        done = proper.ceremony(rotate_key, name)
        assert [path.name.rpartition("-")[0] for path in done.useless] == [name]
        old = {key.keyid for role in (ROOT, "targets", "snapshot", "timestamp", ROLE) for key in before.keys(role)}
        new = {
            key.keyid: key
            for role in (ROOT, "targets", "snapshot", "timestamp", ROLE)
            for key in done.generation.keys(role)
        }
        assert [key_name(new[keyid]) for keyid in new.keys() - old] == [name], "this one and no other"
        assert awake.version() == PASSED
    proper.promote(BETTER), proper.sign(stick=True)
    assert (awake.version(), sleeper.version()) == (BETTER, BETTER)
    assert sleeper.seen["root"] == 7
    assert "5.root.json" in sleeper.mirror.asked, "one root after the other"


def test_a_lost_root_key_is_exchanged_by_the_other_two(proper: Workshop) -> None:
    next(proper.offline.glob("root-2-*.pem")).unlink()
    proper.ceremony(rotate_key, "root-2")
    device = proper.enrol()
    device.check()
    assert device.seen["root"] == 2


def test_one_root_key_alone_exchanges_nothing(proper: Workshop) -> None:
    before = proper.repository().read()
    for name in ("root-1", "root-2"):
        next(proper.offline.glob(f"{name}-*.pem")).unlink()
    with pytest.raises(KeyringError, match=r"signed by 2 keys of the root before it.*here are root-3"):
        proper.ceremony(rotate_key, "timestamp")
    assert proper.repository().read() == before


def test_without_the_stick_nothing_is_exchanged(proper: Workshop) -> None:
    repository = proper.repository()
    with repository.locked("test") as lease, pytest.raises(KeyringError):
        rotate_key(repository, "timestamp", lease)


def test_a_revoked_role_names_nothing_until_a_person_signs(signed: Workshop) -> None:
    device = signed.enrol()
    old = signed.repository().read().keys(ROLE)[0].keyid
    signed.ceremony(revoke_key, ROLE)
    assert device.check() is None
    assert device.version("motion.linux-x86") == 1, "the others go on"
    assert signed.repository().read().revoked == (ROLE,)
    assert signed.promote(BETTER).standing == "waits"
    signed.sign(stick=True)
    after = signed.repository().read()
    assert (after.revoked, device.version()) == ((), BETTER)
    assert after.keys(ROLE)[0].keyid != old


@pytest.mark.parametrize("act", [rotate_key, revoke_key])
def test_unknown_names_are_refused(proper: Workshop, act: Any) -> None:
    with pytest.raises(UsageError, match=r"'letters\.here' is no key of this workshop\. Known: root-1, "):
        proper.ceremony(act, "letters.here")


def test_no_keys_no_ceremony(workshop: Workshop) -> None:
    for act in (rotate_key, revoke_key):
        with pytest.raises(KeyringError, match="edgewright keys init"):
            workshop.ceremony(act, "timestamp")
