"""What becomes champion is what devices are told to run, as python-tuf's own client reads it; and nothing else is."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from edgewright.errors import RegistryError
from edgewright.pipeline.signing import publisher
from edgewright.pipeline.signing.attestation import attest_again, make_attestation
from edgewright.pipeline.tracking.client import open_client
from edgewright.pipeline.tracking.signing_tags import SIGNED, SIGNING
from signed_updates import ROLE

PASSED, BETTER, FAILED, UNSURE, FOREIGN = 1, 2, 3, 4, 5
Workshop = Any


def test_a_promotion_reaches_devices(workshop: Workshop) -> None:
    done = workshop.promote(PASSED)
    assert (done.standing, done.metadata_version, done.is_development) == ("signed", 1, True)
    found, registered = workshop.enrol().check(), workshop.version(PASSED)
    assert (found.version, found.variant, found.engine, found.minimum_agent) == (1, "p50-i8", "onnxruntime", "0.1.0")
    assert found.bundle_sha256 == registered.bundle_sha256
    assert (found.budget.latency_p95_ms, found.budget.peak_memory_mib) == (20.0, 160.0)
    assert f"mlflow-artifacts:/{found.source}" == registered.source
    assert [file.name for file in found.files] == ["manifest.json", "model.onnx"]


def test_going_back_is_newer_metadata_that_names_an_older_release(signed: Workshop) -> None:
    device = signed.enrol()
    assert device.version() == PASSED
    signed.promote(BETTER)
    assert device.version() == BETTER
    before = device.seen
    assert signed.rollback().standing == "signed"
    assert device.version() == PASSED
    assert all(device.seen[role] > before[role] for role in ("timestamp", "snapshot"))


def test_an_unchanged_poll_is_two_requests(signed: Workshop) -> None:
    device = signed.enrol()
    device.check()
    device.mirror.asked.clear()
    device.check()
    assert device.mirror.asked == ["2.root.json", "timestamp.json"]


def test_each_model_has_a_role_and_a_key_of_its_own(signed: Workshop) -> None:
    device = signed.enrol()
    assert device.check(ROLE).model == "digits"
    assert device.check("motion.linux-x86").model == "motion"
    keys = [signed.repository().read().keys(role)[0].keyid for role in (ROLE, "motion.linux-x86")]
    assert len(set(keys)) == 2


def test_signing_twice_is_once(signed: Workshop) -> None:
    tag, files = signed.version(PASSED).tags[SIGNED], set(signed.mirror.iterdir())
    assert tag.startswith("1 20")
    again = signed.sign()
    assert (again.standing, again.is_development, again.metadata_version) == ("current", False, 1)
    assert (signed.version(PASSED).tags[SIGNED], set(signed.mirror.iterdir())) == (tag, files)


def test_each_signature_of_development_keys_says_so(workshop: Workshop) -> None:
    assert [workshop.promote(number).is_development for number in (PASSED, BETTER)] == [True, True]
    workshop.init()
    workshop.promote(PASSED)
    assert not workshop.sign(stick=True).is_development


def test_a_process_says_once_that_development_keys_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_unsaid", threading.Lock())
    page: list[str] = []
    terminal: list[str] = []
    for _ in range(2):
        publisher.say_development(page.append, terminal.append)
    assert page == terminal == [publisher.DEVELOPMENT]


def test_no_champion_is_nothing_to_sign(workshop: Workshop) -> None:
    assert workshop.sign().standing == "none"
    assert workshop.repository().read() is None, "no keys were made for nothing"


@pytest.mark.parametrize("number", [FAILED, UNSURE])
def test_what_did_not_pass_is_not_signed_whatever_the_registry_says(workshop: Workshop, number: int) -> None:
    open_client(workshop.tracking).set_model_version_tag(ROLE, str(number), "edgewright.verdict", "pass")
    workshop.point(number)
    done = workshop.sign()
    assert (done.standing, "nobody waived it" in done.note) == ("refused", True)
    assert workshop.version(number).tags[SIGNING].startswith("refused: ")
    assert not workshop.mirror.exists()


def test_what_the_registry_says_failed_since_is_not_signed_either(workshop: Workshop) -> None:
    open_client(workshop.tracking).set_model_version_tag(ROLE, str(PASSED), "edgewright.verdict", "fail")
    workshop.point(PASSED)
    assert workshop.sign().standing == "refused"


def test_a_waiver_of_a_person_lets_it_go_out(workshop: Workshop) -> None:
    found = workshop.version(FAILED)
    attest_again(workshop.repository().shared, found.name, found.bundle_sha256, waiver="only one board (A. Person)")
    open_client(workshop.tracking).set_model_version_tag(ROLE, str(FAILED), "edgewright.waiver", "only one board")
    workshop.point(FAILED)
    assert workshop.sign().standing == "signed"


def test_a_bundle_from_elsewhere_is_not_signed(workshop: Workshop) -> None:
    done = workshop.promote(FOREIGN)
    assert done.standing == "refused"
    assert "did not judge its bundle" in done.note and "--vouch" in done.note


def test_a_tag_that_names_another_bundle_is_not_believed(workshop: Workshop) -> None:
    open_client(workshop.tracking).set_model_version_tag(ROLE, str(PASSED), "edgewright.bundle_sha256", "e" * 64)
    assert workshop.promote(PASSED).standing == "refused"


def test_where_its_files_lie_is_the_builds_word_and_can_be_put_right(signed: Workshop) -> None:
    signed.attest(PASSED, source="mlflow-artifacts:/moved/bundle")
    assert signed.sign().standing == "signed"
    assert signed.enrol().check().source == "moved/bundle"
    assert signed.sign().standing == "current"


def test_where_devices_could_not_fetch_it_nothing_is_signed(workshop: Workshop) -> None:
    for source in ("file:///tmp/bundle", "mlflow-artifacts:/a b"):
        workshop.attest(PASSED, source=source)
        assert workshop.promote(PASSED).standing == "refused"


def test_a_promotion_to_an_older_release_waits_for_its_offline_key(proper: Workshop) -> None:
    proper.promote(BETTER), proper.sign(stick=True)
    assert proper.promote(PASSED).standing == "waits"
    assert proper.sign().standing == "waits", "the decision stays until it is signed"
    assert proper.sign(stick=True).standing == "signed"
    assert proper.enrol().version() == PASSED


def test_an_offline_key_waits_for_a_person(proper: Workshop) -> None:
    done = proper.promote(PASSED)
    assert done.standing == "waits"
    assert "`edgewright release sign digits --target linux-x86`" in done.note
    assert proper.version(PASSED).tags[SIGNING].startswith("waits: ")
    device = proper.enrol()
    assert device.check() is None
    assert proper.sign(stick=True).standing == "signed"
    assert device.version() == PASSED
    assert SIGNING not in proper.version(PASSED).tags and SIGNED in proper.version(PASSED).tags
    assert proper.promote(BETTER).standing == "waits", "the recipe's policy was stored with the role"
    assert device.version() == PASSED, "a promotion is an intent until it is signed"


def test_a_recipe_that_promotes_by_itself_is_signed_by_itself_once_it_is_delegated(proper: Workshop) -> None:
    for number in (PASSED, BETTER):
        proper.attest(number, policy="auto")
    assert proper.promote(PASSED).standing == "waits", "only the targets key delegates"
    assert proper.sign(stick=True).standing == "signed"
    assert proper.promote(BETTER).standing == "signed"
    assert proper.enrol().version() == BETTER


def test_a_registry_of_another_workshop_is_left_alone(workshop: Workshop) -> None:
    workshop.mirror.mkdir(parents=True)
    (workshop.mirror / "1.root.json").write_bytes(b"{}")
    with pytest.raises(RegistryError, match="set EDGEWRIGHT_SHARED to"):
        workshop.promote(PASSED)
    assert workshop.repository().read() is None


def test_budgets_are_whole_numbers_because_canonical_json_knows_no_others() -> None:
    words = {"model": "m", "target": "t", "variant": "v", "engine": "onnxruntime", "files": (), "outcome": "pass"}
    made = make_attestation(**words, policy="auto", latency_p95_ms=0.4, peak_memory_mib=None)
    assert (made.budget.latency_p95_ms, made.budget.peak_memory_mib) == (1.0, None)
