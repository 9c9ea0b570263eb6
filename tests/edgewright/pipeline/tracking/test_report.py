"""What `edgewright compare` shows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgewright.errors import RegistryError
from edgewright.pipeline.tracking import (
    ModelVersion,
    RunRecord,
    Tracking,
    comparison,
    log_run,
    promote,
    update_run,
)
from edgewright.pipeline.tracking.client import open_client

Release = Callable[..., ModelVersion]


def test_the_newest_build_comes_first_and_the_champions_build_after_it(
    tracking: Tracking, release: Release, record: Callable[..., RunRecord]
) -> None:
    log_run(tracking, record("b1", variant="fp32", metrics={"accuracy_pct": 98.4}))
    first = release("b1")
    promote(tracking, "digits", "linux-x86", first.version, reason="passed", who="test")
    release("b2", verdict="fail")
    log_run(tracking, record("b3", variant="fp32"))
    release("b3", verdict="fail")

    rows = comparison(tracking, "digits")

    shown = [(row.build, row.variant, row.verdict, row.version, row.is_champion) for row in rows]
    assert shown == [
        ("b3", "fp32", "", None, False),
        ("b3", "p50-i8", "fail", 3, False),
        ("b1", "fp32", "", None, False),
        ("b1", "p50-i8", "pass", 1, True),
    ]
    assert rows[2].metrics == {"accuracy_pct": 98.4}
    assert rows[3].aliases == ("baseline", "champion")


def test_a_build_can_be_named(tracking: Tracking, release: Release) -> None:
    release("b1")
    release("b2")
    assert {row.build for row in comparison(tracking, "digits", build="b1")} == {"b1"}


def test_rows_stand_by_target(tracking: Tracking, release: Release) -> None:
    for target in ("pi5-arm64", "linux-x86"):
        release("b1", target=target, verdict="not_measurable")
    assert [row.target for row in comparison(tracking, "digits")] == ["linux-x86", "pi5-arm64"]


def test_figures_are_those_that_were_logged_or_added(tracking: Tracking, release: Release) -> None:
    version = release("b1")
    update_run(tracking, version.run_id, metrics={"latency_p95_ms": 1 / 3})

    (row,) = comparison(tracking, "digits")
    assert row.metrics == {"accuracy_pct": 98.75, "latency_p95_ms": 1 / 3}


def test_a_half_logged_run_is_not_shown(tracking: Tracking, release: Release) -> None:
    version = release("b1")
    release("b0")
    open_client(tracking).delete_tag(version.run_id, "edgewright.complete")
    assert {row.build for row in comparison(tracking, "digits")} == {"b0"}


def test_an_unknown_model_or_build_is_answered_with_the_known_ones(tracking: Tracking, release: Release) -> None:
    release("b1")
    release("b2")
    with pytest.raises(RegistryError, match="no model 'digit' was built here; known: digits"):
        comparison(tracking, "digit")
    for build in ("b9", "b'9"):
        with pytest.raises(RegistryError, match=r"digits has no build .*; the latest: b2, b1"):
            comparison(tracking, "digits", build=build)
