"""The authoritative copy changes as a whole: after a kill at any write it is the old generation or the new one."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.errors import SharedStoreError, TrustError
from edgewright.pipeline.object_store import FolderStore
from edgewright.pipeline.signing.own_copy import TIMESTAMP_FILE
from edgewright.pipeline.signing.publisher import sign_champion

PASSED, BETTER = 1, 2
Workshop = Any


class Killed(BaseException):
    """Stands for SIGKILL."""


class Dying(FolderStore):
    """A store whose user dies before its n-th change."""

    left = 0

    def _count(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    def write(self, key: str, content: bytes) -> None:
        if key.startswith("updates/"):
            self._count()
        super().write(key, content)

    def create(self, key: str, content: bytes) -> bool:
        if key.startswith("updates/"):
            self._count()
        return super().create(key, content)

    def delete(self, key: str) -> None:
        if key.startswith("updates/"):
            self._count()
        super().delete(key)


@pytest.mark.parametrize("change", range(8))
def test_a_kill_at_any_write_leaves_one_generation_and_no_version_in_two_forms(signed: Workshop, change: int) -> None:
    before = signed.repository().read()
    signed.point(BETTER)
    dying = Dying(signed.tracking.home / "shared")
    dying.left = change
    doomed = signed.repository()
    doomed.shared, doomed.copy._shared = dying, dying
    try:
        sign_champion(doomed, signed.tracking, "digits", "linux-x86")
        killed = False
    except Killed:
        killed = True
    assert killed == (change < 7), "the test reaches every write"
    found = signed.repository().read()
    assert found.release("digits.linux-x86").version in (PASSED, BETTER)
    sent = {path.name: path.read_bytes() for path in signed.mirror.iterdir()}
    assert signed.sign().is_obeyed
    after = signed.repository().read()
    for name, content in {**before.files, **found.files, **sent}.items():
        if name != TIMESTAMP_FILE:
            assert signed.repository().copy.read_placed(name) == content, "no version has two forms"
    assert after.release("digits.linux-x86").version == BETTER
    assert signed.enrol().version() == BETTER


def test_of_two_who_sign_upon_the_same_generation_one_is_told(signed: Workshop) -> None:
    before = signed.repository().read()
    for number, expected in ((1, None), (2, SharedStoreError)):
        mine = signed.repository()
        mine.now.pass_days(number)
        files = mine.draft(before).sign()
        if expected is None:
            mine.copy.commit(files, before.files[TIMESTAMP_FILE])
        else:
            with pytest.raises(expected, match="Try again"):
                mine.copy.commit(files, before.files[TIMESTAMP_FILE])
    assert signed.repository().read().timestamp.version == before.timestamp.version + 1


@pytest.mark.parametrize("name", ["1.root.json", "3.targets.json", "timestamp.json"])
def test_a_damaged_copy_signs_nothing(signed: Workshop, name: str) -> None:
    path = signed.tracking.home / "shared" / "updates" / "metadata" / name
    path.write_bytes(path.read_bytes().replace(b"sig", b"gis", 1))
    signed.point(BETTER)
    with pytest.raises(TrustError, match=name.split(".")[-2]):
        signed.sign()


def test_a_hand_in_the_copy_is_noticed(signed: Workshop) -> None:
    (signed.tracking.home / "shared" / "updates" / "metadata" / "2.digits.linux-x86.json").write_bytes(b"{}")
    signed.point(BETTER)
    with pytest.raises(SharedStoreError, match=r"2\.digits\.linux-x86\.json is there with other bytes"):
        signed.sign()
