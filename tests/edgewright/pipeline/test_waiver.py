"""A waiver: a check, a person and a reason, or none."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.errors import GateError
from edgewright.pipeline.waiver import Waiver


def test_white_space_around_and_between_words_does_not_count() -> None:
    assert Waiver(" accuracy floor", "anna ", "the line\n stands   still") == Waiver(
        "accuracy floor", "anna", "the line stands still"
    )


@pytest.mark.parametrize("reason", ["ten chars!", "r" * 500])
def test_a_reason_of_ten_to_five_hundred_characters_is_one(reason: str) -> None:
    assert Waiver("provider", "anna", reason).reason == reason


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("check", "", "check has 0 characters, needs at least 1; name the check"),
        ("person", "  ", "person has 0 characters, needs 1 to 100; name the person"),
        ("person", "a" * 101, "person has 101 characters"),
        ("reason", "urgent", "reason has 6 characters, needs 10 to 500; say why in a sentence"),
        ("reason", "a   b   c   d", "reason has 7 characters"),
        ("reason", "r" * 501, "reason has 501 characters"),
        ("reason", "red \x1b[31m text on a terminal", "cannot be printed"),
        ("person", 7, "person is 7, not text"),
    ],
)
def test_what_says_too_little_or_too_much_is_refused(field: str, value: Any, message: str) -> None:
    sound = {"check": "provider", "person": "anna", "reason": "the line stands still"}
    with pytest.raises(GateError, match=message):
        Waiver(**{**sound, field: value})
