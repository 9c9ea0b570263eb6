"""``edgewright promote``, ``rollback``, ``pin``: what people decide, with a reason that is stored."""

from __future__ import annotations

import getpass
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewright.pipeline.tracking import baseline, champion
from edgewright.pipeline.tracking.model_version import get_version

ROOT = Path(__file__).parents[3]
HERE = ("digits", "--target", "here")


def in_office(empty_registry: Any) -> int | None:
    version = champion(empty_registry, "digits", "here")
    return version.version if version else None


def test_a_promotion_and_its_reason(
    release: Callable[..., Any], edgewright: Callable[..., Any], empty_registry: Any
) -> None:
    release("b1")
    release("b2")
    said = edgewright("promote", *HERE, "--version", "1", "--reason", "field trial went well")
    assert said.status == 0
    assert said.out == "digits.here: version 1 is champion, in place of version 2.\n"
    assert said.err.startswith("DEVELOPMENT KEYS sign releases here") and said.err.count("\n") == 1
    tags = get_version(empty_registry, "digits", "here", 1).tags
    assert tags["edgewright.reason"] == "field trial went well"
    assert tags["edgewright.promoted_by"] == getpass.getuser()
    said = edgewright("promote", *HERE, "--version", "1", "--reason", "again")
    assert (said.status, said.out) == (0, "digits.here: version 1 is champion already.\n")


def test_a_rollback_goes_back_and_marks_what_it_left(
    release: Callable[..., Any], edgewright: Callable[..., Any], empty_registry: Any
) -> None:
    release("b1")
    release("b2")
    said = edgewright("rollback", *HERE, "--reason", "misreads sevens")
    assert (said.status, said.out) == (0, "digits.here: version 1 is champion, in place of version 2.\n")
    assert get_version(empty_registry, "digits", "here", 2).withdrawn == "misreads sevens"
    said = edgewright("rollback", *HERE, "--reason", "still bad")
    assert said.status == 1
    assert "nothing to go back to" in said.err
    said = edgewright("promote", *HERE, "--version", "2", "--reason", "it was the camera")
    assert (said.status, in_office(empty_registry)) == (0, 2)


@pytest.mark.parametrize("verdict", ["fail", "not_measurable"])
def test_what_did_not_pass_needs_a_waiver(
    verdict: str, release: Callable[..., Any], edgewright: Callable[..., Any], empty_registry: Any
) -> None:
    release("b1")
    release("b2", verdict)
    said = edgewright("promote", *HERE, "--version", "2", "--reason", "I want it")
    assert (said.status, said.out) == (1, "")
    assert f"has the verdict '{verdict}', only 'pass' is promoted" in said.err
    assert "waiver" in said.err
    assert in_office(empty_registry) == 1
    words = ("--reason", "I want it", "--waiver", "only one board in the cellar")
    said = edgewright("promote", *HERE, "--version", "2", *words)
    assert (said.status, in_office(empty_registry)) == (0, 2)
    assert get_version(empty_registry, "digits", "here", 2).waiver == "only one board in the cellar"


def test_a_pin_names_the_baseline(
    release: Callable[..., Any], edgewright: Callable[..., Any], empty_registry: Any
) -> None:
    release("b1")
    release("b2")
    said = edgewright("pin", *HERE, "--version", "2", "--reason", "the best so far")
    assert (said.status, said.out) == (0, "digits.here: version 2 is the baseline.\n")
    pinned = baseline(empty_registry, "digits", "here")
    assert pinned is not None
    assert pinned.version == 2
    assert "the best so far" in pinned.tags["edgewright.baseline_pinned"]


@pytest.mark.parametrize(
    ("words", "said_words"),
    [
        (("promote", *HERE, "--version", "9", "--reason", "r"), "digits.here has no version 9"),
        (
            ("promote", "letters", "--target", "here", "--version", "1", "--reason", "r"),
            "letters.here has no version 1",
        ),
        (("promote", *HERE, "--version", "1", "--reason", " "), "reason is empty"),
        (("rollback", "letters", "--target", "here", "--reason", "r"), "letters.here has no champion"),
        (("pin", *HERE, "--version", "9", "--reason", "r"), "digits.here has no version 9"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: tuple[str, ...], said_words: str, release: Callable[..., Any], edgewright: Callable[..., Any]
) -> None:
    release("b1")
    said = edgewright(*words)
    assert (said.status, said.out) == (1, "")
    assert said_words in said.err
    assert said.err.count("\n") == 1


def test_two_promotions_at_once_follow_one_another(release: Callable[..., Any], empty_registry: Any) -> None:
    for build in ("b1", "b2", "b3"):
        release(build)

    def promotion(version: int) -> subprocess.Popen[str]:
        words = ["promote", *HERE, "--version", str(version), "--reason", f"choice {version}"]
        command = [sys.executable, "-m", "edgewright.cli.main", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)

    both = [promotion(version) for version in (1, 2)]
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    last = champion(empty_registry, "digits", "here")
    assert last is not None
    first = 3 - last.version
    assert last.version in (1, 2)
    assert last.replaced == first, "the second one saw what the first one did"
    assert get_version(empty_registry, "digits", "here", first).replaced == 3
    assert get_version(empty_registry, "digits", "here", first).aliases[-1] == "previous"
