"""The verdict: cannot contradict its checks, round trips exactly, reads well."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import GateError
from edgewright.pipeline.verdict import OUTCOMES, Check, Verdict, outcome_of
from edgewright.pipeline.waiver import Waiver

NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.none() | st.integers(0, 2**40)
# A waiver's person and reason are words; who writes them, and in which script, is not for the verdict to say.
WORDS = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=10, max_size=100)
UNWAIVED_CHECKS = st.builds(
    Check,
    name=st.text(),
    outcome=st.sampled_from(OUTCOMES),
    figure=NUMBERS,
    limit=NUMBERS,
    unit=st.text(max_size=6),
    low=NUMBERS,
    high=NUMBERS,
    confidence=NUMBERS,
    samples=COUNTS,
    groups=COUNTS,
    samples_needed=COUNTS,
    groups_needed=COUNTS,
    method=st.text(),
    reason=st.text(),
    remedy=st.text(),
)


@st.composite
def checks_of_all_kinds(draw: st.DrawFn) -> Check:
    check = draw(UNWAIVED_CHECKS)
    if check.outcome == "pass" or draw(st.booleans()):
        return check
    check = dataclasses.replace(check, name=draw(WORDS))
    return dataclasses.replace(check, waiver=Waiver(check.name, draw(WORDS), draw(WORDS)))


CHECKS = checks_of_all_kinds()


def verdict(*checks: Check) -> Verdict:
    return Verdict("digits", "linux-x86", "p50-i8", outcome_of(checks), checks)


FAILED = Check(
    name="accuracy against reference",
    outcome="fail",
    figure=2.4,
    limit=1.0,
    unit="points",
    low=1.6,
    high=3.21,
    confidence=0.95,
    samples=10_000,
    reason="drop 2.40 points, at least 1.60 with 95 % confidence; the margin is 1.00",
    remedy="less sparsity",
)
PASSED = Check(name="provider", outcome="pass", reason="ran on CPUExecutionProvider")
WAIVED = dataclasses.replace(FAILED, waiver=Waiver(FAILED.name, "anna", "the customer accepts it until May"))
OPEN = Check(name="latency budget", outcome="not_measurable", limit=3, unit="ms", reason="not measured", remedy="bench")


class TestOutcome:
    """What checks say together."""

    def test_one_failure_fails(self) -> None:
        assert outcome_of((PASSED, OPEN, FAILED)) == "fail"

    def test_one_gap_is_not_a_pass(self) -> None:
        assert outcome_of((PASSED, OPEN)) == "not_measurable"

    def test_nothing_asked_is_never_a_pass(self) -> None:
        assert outcome_of(()) == "not_measurable"

    @given(st.lists(CHECKS, max_size=5))
    @settings(deadline=None)
    def test_a_pass_means_that_every_check_passed_or_was_waived(self, checks: list[Check]) -> None:
        fine = all(c.outcome == "pass" or c.waiver for c in checks)
        assert (outcome_of(tuple(checks)) == "pass") == (bool(checks) and fine)

    def test_a_verdict_cannot_contradict_its_checks(self) -> None:
        with pytest.raises(GateError, match="verdict says 'pass', its 1 checks say 'fail'"):
            Verdict("digits", "linux-x86", "i8", "pass", (FAILED,))

    def test_an_unknown_outcome_is_refused(self) -> None:
        with pytest.raises(GateError, match="'fine' is none of pass, fail, not_measurable"):
            Check(name="x", outcome="fine", reason="")  # type: ignore[arg-type]

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float64("nan"), 10**400])
    @pytest.mark.parametrize("field", ["figure", "limit", "low", "high", "confidence"])
    def test_numbers_that_are_not_finite_are_refused(self, field: str, bad: float) -> None:
        with pytest.raises(GateError, match=f"check 'x': {field} is"):
            Check(name="x", outcome="pass", reason="", **{field: bad})  # type: ignore[arg-type]


class TestWaivers:
    """A waived check keeps what it found; the verdict passes over it and says so."""

    def test_the_verdict_passes_over_it(self) -> None:
        assert outcome_of((PASSED, WAIVED)) == "pass"
        assert outcome_of((OPEN, WAIVED)) == "not_measurable"
        assert outcome_of((dataclasses.replace(FAILED, name="accuracy floor"), WAIVED)) == "fail"

    def test_the_outcome_is_never_said_without_it(self) -> None:
        assert verdict(PASSED).said == "pass"
        assert verdict(PASSED, WAIVED).said == "pass (1 check waived by anna)"
        also = dataclasses.replace(OPEN, waiver=Waiver(OPEN.name, "ben", "measured by hand last week"))
        assert verdict(WAIVED, also).said == "pass (2 checks waived by anna, ben)"
        assert verdict(WAIVED, OPEN).said == "not_measurable (1 check waived by anna)"

    def test_are_listed(self) -> None:
        assert verdict(PASSED, WAIVED).waivers == (WAIVED.waiver,)
        assert verdict(PASSED, FAILED).waivers == ()

    def test_a_check_that_passed_has_nothing_to_waive(self) -> None:
        with pytest.raises(GateError, match="only a check that did not pass is waived"):
            dataclasses.replace(PASSED, waiver=Waiver(PASSED.name, "anna", "to be on the safe side"))

    def test_a_waiver_is_for_one_check(self) -> None:
        with pytest.raises(GateError, match="cannot carry a waiver for 'accuracy against reference'"):
            dataclasses.replace(OPEN, waiver=WAIVED.waiver)


WRITTEN_BEFORE_WAIVERS = (
    '{"checks":[{"confidence":0.95,"figure":2.4,"high":3.21,"limit":1.0,"low":1.6,"name":"accuracy against reference",'
    '"outcome":"fail","reason":"drop 2.40 points, at least 1.60 with 95 % confidence; the margin is 1.00",'
    '"remedy":"less sparsity","samples":10000,"samples_needed":null,"unit":"points"}],"model":"digits",'
    '"outcome":"fail","schema":"edgewright.verdict/1","target":"linux-x86","variant":"p50-i8"}'
)


class TestEarlierSchema:
    """Registries hold verdicts from before there were waivers."""

    def test_is_read_without_a_waiver(self) -> None:
        assert Verdict.from_json(WRITTEN_BEFORE_WAIVERS) == verdict(FAILED)

    def test_is_written_anew_in_the_schema_of_today(self) -> None:
        assert '"schema":"edgewright.verdict/2"' in Verdict.from_json(WRITTEN_BEFORE_WAIVERS).to_json()

    def test_cannot_hold_what_it_does_not_know(self) -> None:
        with pytest.raises(GateError, match=r"unknown \['waiver'\]"):
            Verdict.from_json(WRITTEN_BEFORE_WAIVERS.replace('"unit":', '"waiver":null,"unit":'))


class TestJson:
    """What machines keep."""

    @given(st.lists(CHECKS, max_size=4), st.text(), st.text(), st.text())
    @settings(deadline=None)
    def test_round_trip_is_exact(self, checks: list[Check], model: str, target: str, variant: str) -> None:
        value = Verdict(model, target, variant, outcome_of(tuple(checks)), tuple(checks))
        assert Verdict.from_json(value.to_json()) == value
        assert Verdict.from_json(value.to_json()).to_json() == value.to_json()

    def test_numpy_numbers_become_plain_ones(self) -> None:
        check = Check(name="x", outcome="pass", figure=np.float32(0.5), samples=np.int64(7), reason="")  # type: ignore[arg-type]
        assert json.loads(verdict(check).to_json())["checks"][0]["samples"] == 7

    def test_is_one_line_with_sorted_keys(self) -> None:
        text = verdict(FAILED, PASSED).to_json()
        assert "\n" not in text
        assert list(json.loads(text)) == ["checks", "model", "outcome", "schema", "target", "variant"]

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ('"outcome":"fail","schema"', '"outcome":"pass","schema"', "verdict says 'pass'"),
            ("edgewright.verdict/2", "edgewright.verdict/9", "not of schema"),
            ('"model":"digits"', '"model":"digits","waived":true', r"unknown \['waived'\]"),
            ('"model":"digits",', "", r"lacks \['model'\]"),
            ('"model":"digits"', '"model":3', "model is 3, not str"),
            ('"figure":2.4', '"figure":"2.4"', r"checks\[0\].figure is '2.4', not float"),
            ('"figure":2.4', '"figure":NaN', "figure is nan"),
            ('"figure":2.4', '"figure":true', "figure is True"),
            ('"samples":10000', '"samples":1.5', "samples is 1.5, not int"),
            ('"unit":"points"', '"units":"points"', r"lacks \['unit'\] and has unknown \['units'\]"),
            ('"waiver":null', '"waiver":"anna"', r"checks\[0\].waiver is not an object"),
            ('"waiver":null', '"waiver":{"person":"anna"}', r"checks\[0\].waiver lacks \['check', 'reason'\]"),
            ('{"checks"', '["checks"', "not JSON"),
        ],
    )
    def test_what_was_not_written_here_is_refused(self, old: str, new: str, message: str) -> None:
        text = verdict(FAILED).to_json()
        assert old in text
        with pytest.raises(GateError, match=message):
            Verdict.from_json(text.replace(old, new))

    @pytest.mark.parametrize("text", ["", "[]", "null", '{"schema":"edgewright.verdict/2"}'])
    def test_other_documents_are_refused(self, text: str) -> None:
        with pytest.raises(GateError, match="verdict"):
            Verdict.from_json(text)

    @pytest.mark.parametrize("checks", ["{}", "[3]", "null"])
    def test_checks_of_another_shape_are_refused(self, checks: str) -> None:
        names = '"model":"m","target":"t","variant":"v","outcome":"fail"'
        text = f'{{"schema":"edgewright.verdict/2",{names},"checks":{checks}}}'
        with pytest.raises(GateError, match="checks"):
            Verdict.from_json(text)


class TestReading:
    """What people see."""

    def test_markdown_is_one_row_per_check(self) -> None:
        lines = verdict(FAILED, OPEN, PASSED).to_markdown().splitlines()
        assert lines[0] == "**fail** · `p50-i8` on `linux-x86` · digits"
        assert lines[4] == (
            "| accuracy against reference | fail | 2.40 points | 1.00 points | 1.60 to 3.21 (95 % each) | "
            "drop 2.40 points, at least 1.60 with 95 % confidence; the margin is 1.00 | less sparsity |"
        )
        assert lines[5] == "| latency budget | not_measurable | - | 3.00 ms | - | not measured | bench |"
        assert lines[6] == "| provider | pass | - | - | - | ran on CPUExecutionProvider | - |"

    @given(st.lists(CHECKS, max_size=3))
    @settings(deadline=None)
    def test_no_text_breaks_the_table(self, checks: list[Check]) -> None:
        rows = verdict(*checks).to_markdown().rstrip("\n").split("\n")[4:]
        assert len(rows) == len(checks)
        assert all(row.replace("\\|", "").count("|") == 8 for row in rows)

    def test_plain_lines_are_aligned_and_end_with_what_to_try(self) -> None:
        short = dataclasses.replace(FAILED, reason="drop 2.40 points, at least 1.60")
        assert verdict(short, PASSED, OPEN).summary_lines("digits.linux-x86 keeps version 3") == [
            "verdict: fail (digits.linux-x86 keeps version 3)",
            "  accuracy against reference   drop 2.40 points, at least 1.60   fail",
            "  provider                     ran on CPUExecutionProvider       pass",
            "  latency budget               not measured                      not_measurable",
            "  Try: less sparsity (accuracy against reference).",
            "  Try: bench (latency budget).",
        ]

    def test_markdown_names_person_and_reason_of_a_waiver(self) -> None:
        lines = verdict(WAIVED, PASSED).to_markdown().splitlines()
        assert lines[0] == "**pass (1 check waived by anna)** · `p50-i8` on `linux-x86` · digits"
        assert lines[4].startswith("| accuracy against reference | fail, waived | 2.40 points |")
        assert "the margin is 1.00 (waived by anna: the customer accepts it until May)" in lines[4]

    def test_so_do_plain_lines_and_nothing_is_tried_against_it(self) -> None:
        short = dataclasses.replace(WAIVED, reason="drop 2.40 points")
        assert verdict(short, PASSED).summary_lines("digits.linux-x86 runs version 4") == [
            "verdict: pass (1 check waived by anna; digits.linux-x86 runs version 4)",
            "  accuracy against reference   drop 2.40 points              fail, waived",
            "  provider                     ran on CPUExecutionProvider   pass",
            "  Waived: accuracy against reference, by anna: the customer accepts it until May",
        ]

    def test_plain_lines_name_the_variant_by_default(self) -> None:
        assert verdict(PASSED).summary_lines()[0] == "verdict: pass (p50-i8 on digits.linux-x86)"

    def test_a_check_is_found_by_its_name(self) -> None:
        assert verdict(FAILED, PASSED).check("provider") is PASSED
        with pytest.raises(GateError, match="no check 'colour'; it has: accuracy against reference, provider"):
            verdict(FAILED, PASSED).check("colour")
