"""What a build came to: the exit status that scripts go by, and a summary file with the very figures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgewright.pipeline.summary import BuildSummary, MissingVariant, TargetSummary, VariantSummary
from edgewright.pipeline.verdict import Check, Outcome, Verdict

FIGURE = 97.12345678901234


def target(outcome: Outcome, measured_here: bool = True) -> TargetSummary:
    check = Check(name="accuracy", outcome=outcome, figure=FIGURE, reason="because")
    variant = VariantSummary("i8", "run1", {"accuracy_pct": FIGURE}, 96.0, 98.0, 0.4, "CPUExecutionProvider", outcome)
    fields: dict[str, Any] = {
        "target": "t",
        "platform": "linux/amd64",
        "measured_here": measured_here,
        "reference": "fp32",
        "chosen": "i8",
        "of_fold": ("i8",),
        "outcome": outcome,
        "verdict": Verdict("digits", "t", "i8", outcome, (check,)),
        "version": 1,
        "bundle_sha256": "0" * 64,
        "champion": None,
        "note": "digits.t version 1",
        "variants": (variant,),
    }
    return TargetSummary(**fields)


def summary(*targets: TargetSummary, missing: tuple[MissingVariant, ...] = ()) -> BuildSummary:
    return BuildSummary(
        "digits", "b1", "accuracy", "accuracy", "d" * 64, {"test": 10_000}, "http://127.0.0.1:1", targets, missing
    )


MISSING = (MissingVariant("p50", "pruning failed"),)


@pytest.mark.parametrize(
    ("targets", "missing", "status"),
    [
        ([target("pass")], (), 0),
        ([target("pass"), target("not_measurable", measured_here=False)], (), 0),
        ([target("pass"), target("fail")], (), 3),
        ([target("fail"), target("not_measurable")], MISSING, 3),
        ([target("pass"), target("fail", measured_here=False)], (), 3),
        ([target("not_measurable")], (), 4),
        ([target("pass"), target("not_measurable")], (), 4),
        ([target("not_measurable", measured_here=False)], (), 4),
        ([target("pass", measured_here=False)], (), 0),
        ([target("pass")], MISSING, 1),
        ([target("not_measurable")], MISSING, 1),
    ],
)
def test_the_exit_status_says_what_stood_in_the_way(
    targets: list[TargetSummary], missing: tuple[MissingVariant, ...], status: int
) -> None:
    assert summary(*targets, missing=missing).exit_code == status


def test_the_file_holds_the_very_figures_and_the_whole_verdict() -> None:
    built = summary(target("pass"), missing=MISSING)
    content = json.loads(built.to_json())
    assert content["exit_code"] == built.exit_code == 1
    assert content["missing"] == [{"variant": "p50", "error": "pruning failed", "log": "", "targets": []}]
    (entry,) = content["targets"]
    assert entry["variants"][0]["metrics"] == {"accuracy_pct": FIGURE}
    assert Verdict.from_json(json.dumps(entry["verdict"])) == built.targets[0].verdict
