"""The record of what was delivered: changed by compare-and-swap, by decisions that say who, when and why."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import DataError
from edgewright.pipeline.artifact_store import Artifact
from edgewright.pipeline.intake.ledger import Batch, Ledger, Source, models_in
from edgewright.pipeline.object_store import FolderStore


def batch(letter: str, status: Any = "pending", **changes: Any) -> Batch:
    sha256 = letter * 64
    made = Batch(
        sha256=sha256,
        status=status,
        taken_at=f"2026-01-01T00:00:0{ord(letter) % 10}",
        sources=(Source(f"{letter}.npz", sha256, 3),),
        content=None if status == "rejected" else Artifact(f"sha256/{letter}", sha256, 3),
        delivered=5,
        taken=0 if status == "rejected" else 5,
        rejected=5 if status == "rejected" else 0,
    )
    return replace(made, **changes)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(FolderStore(tmp_path / "shared"), "parts")


def status_of(ledger: Ledger) -> dict[str, str]:
    return {each.sha256[0]: each.status for each in ledger.batches()}


def test_what_is_recorded_is_read_back_in_the_order_in_which_it_came(ledger: Ledger, tmp_path: Path) -> None:
    made = [batch("e", per_class={"a": 2, "b": 3}), batch("d"), batch("f", "rejected", reason="why")]
    for each in made:
        ledger.record(each)
    assert ledger.batches() == (made[1], made[0], made[2])
    assert models_in(FolderStore(tmp_path / "shared")) == ("parts",)
    assert (tmp_path / "shared" / "collections" / "parts" / f"{'e' * 64}.json").is_file()


def test_a_batch_is_recorded_once(ledger: Ledger) -> None:
    ledger.record(batch("a"))
    assert ledger.record(batch("a", taken=9)).taken == 5


def test_a_rejection_gives_way_to_samples_and_counts_again_once_it_was_settled(ledger: Ledger) -> None:
    ledger.record(batch("a", "rejected"))
    assert ledger.record(batch("a", "rejected", rejected=9)).rejected == 5
    ledger.refuse(["a" * 64], "why", "anna")
    assert not ledger.batches()[0].is_open
    assert ledger.record(batch("a", "rejected", rejected=9)).is_open
    assert ledger.record(batch("a")).status == "pending"


def test_what_was_built_with_is_in_use_since_the_first_build(ledger: Ledger) -> None:
    for each in (batch("a"), batch("b"), batch("c", "rejected")):
        ledger.record(each)
    for build in ("b1", "b2"):
        ledger.mark_in_use(["a" * 64, "c" * 64, "a" * 64], build)
    assert status_of(ledger) == {"a": "in_use", "b": "pending", "c": "rejected"}
    used, _, rejected = ledger.batches()
    assert used.build == "b1" and used.settled_at.startswith("2")
    assert not rejected.is_open, "what was looked at together is settled together"


def test_a_refusal_says_who_and_why_and_can_be_taken_back(ledger: Ledger) -> None:
    ledger.record(batch("a"))
    ledger.refuse(["a" * 64], "the wrong line", "anna")
    (refused,) = ledger.batches()
    assert (refused.status, refused.reason, refused.who) == ("refused", "the wrong line", "anna")
    with pytest.raises(DataError, match=r"was refused by anna \(the wrong line\)"):
        ledger.mark_in_use(["a" * 64], "b1")
    assert ledger.reopen("aaaaaa", "it was the right one", "ben").status == "pending"
    with pytest.raises(DataError, match="is pending, not refused"):
        ledger.reopen("aaaaaa", "again", "ben")


def test_what_is_in_use_cannot_be_refused(ledger: Ledger) -> None:
    ledger.record(batch("a"))
    ledger.mark_in_use(["a" * 64], "b1")
    with pytest.raises(DataError, match="is in use since build b1"):
        ledger.refuse(["a" * 64], "why", "anna")


@pytest.mark.parametrize("named", ["b" * 64, "a", "aaaaa"])
def test_an_unknown_batch_is_named_with_those_that_are_known(ledger: Ledger, named: str) -> None:
    ledger.record(batch("a"))
    with pytest.raises(DataError, match=f"no batch {named[:12]} was taken in; known are: aaaaaaaaaaaa"):
        ledger.reopen(named, "why", "anna")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"schema": "edgewright.batch/9"}', b'{"schema": "edgewright.batch/1", "sha256": "a"}'],
)
def test_a_damaged_record_is_named(ledger: Ledger, tmp_path: Path, content: bytes) -> None:
    ledger.record(batch("a"))
    FolderStore(tmp_path / "shared").write(f"collections/parts/{'a' * 64}.json", content)
    with pytest.raises(DataError, match="is no record of delivered samples"):
        ledger.batches()


def test_a_record_under_another_name_is_no_record(ledger: Ledger, tmp_path: Path) -> None:
    ledger.record(batch("a"))
    shared = FolderStore(tmp_path / "shared")
    content = shared.read(f"collections/parts/{'a' * 64}.json")
    assert content is not None
    shared.write(f"collections/parts/{'b' * 64}.json", content)
    with pytest.raises(DataError, match="it names another batch"):
        ledger.batches()


def test_of_two_who_decide_at_once_one_decides(ledger: Ledger) -> None:
    for _ in range(10):
        ledger.record(batch("a"))
        said: list[str] = []

        def decide(what: str, said: list[str] = said) -> None:
            try:
                if what == "use":
                    ledger.mark_in_use(["a" * 64], "b1")
                else:
                    ledger.refuse(["a" * 64], "no", "anna")
                said.append(what)
            except DataError:
                pass

        threads = [threading.Thread(target=decide, args=(what,)) for what in ("use", "refuse")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said == [{"in_use": "use", "refused": "refuse"}[ledger.batches()[0].status]]
        ledger.change("a" * 64, lambda each: batch("a"))
