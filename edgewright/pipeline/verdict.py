"""The gate's answer as a value: every check with its figure, its limit, its bounds and its reason.

JSON is what machines keep (canonical, exact round trip), Markdown what Prefect and MLflow show, plain lines what a
terminal shows. A verdict cannot be built that contradicts its checks.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal, Self

from edgewright.errors import GateError

Outcome = Literal["pass", "fail", "not_measurable"]
OUTCOMES: tuple[Outcome, ...] = ("pass", "fail", "not_measurable")
SCHEMA = "edgewright.verdict/1"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question of the gate and its answer.

    Attributes:
        name: What was asked, e.g. ``accuracy against reference``.
        outcome: ``pass``, ``fail`` or ``not_measurable``.
        figure: What was measured, in ``unit``; None when nothing was, or nothing needed to be.
        limit: What the figure is held against, in ``unit``; None when there is no limit.
        unit: ``points``, ``%``, ``ms``, ``KiB``, ``MiB``, ``x`` or empty.
        low: Lower bound of the figure, in ``unit``.
        high: Upper bound of the figure, in ``unit``.
        confidence: Confidence of each bound by itself, between 0 and 1.
        samples: Number of samples (or processes) behind the figure.
        samples_needed: About how many would decide; only where ``not_measurable`` for want of them.
        reason: Why the outcome is what it is, one sentence.
        remedy: What one could do; empty when the check passes.

    Raises:
        GateError: A number is not finite, or the outcome is not one of the three.
    """

    name: str
    outcome: Outcome
    figure: float | None = None
    limit: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    samples: int | None = None
    samples_needed: int | None = None
    reason: str
    remedy: str = ""

    def __post_init__(self) -> None:
        """Make numbers plain Python numbers (JSON knows no others) and refuse those that are not finite."""
        if self.outcome not in OUTCOMES:
            raise GateError(f"check {self.name!r}: outcome {self.outcome!r} is none of {', '.join(OUTCOMES)}")
        for field in ("figure", "limit", "low", "high", "confidence"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, _finite(value, f"check {self.name!r}: {field}"))
        for field in ("samples", "samples_needed"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, int(value))


def outcome_of(checks: tuple[Check, ...]) -> Outcome:
    """Combine checks: one failure fails, else one gap is ``not_measurable``; without checks nothing passes."""
    outcomes = {check.outcome for check in checks}
    if "fail" in outcomes:
        return "fail"
    return "pass" if outcomes == {"pass"} else "not_measurable"


@dataclass(frozen=True)
class Verdict:
    """What the gate says about one variant on one target.

    Attributes:
        model: Name of the model, e.g. ``digits``.
        target: Name of the target, e.g. ``linux-x86``.
        variant: Name of the variant, e.g. ``p50-i8``.
        outcome: ``pass``, ``fail`` or ``not_measurable``; always what the checks say together.
        checks: Every check, in the order in which it is shown.

    Raises:
        GateError: The outcome contradicts the checks.
    """

    model: str
    target: str
    variant: str
    outcome: Outcome
    checks: tuple[Check, ...]

    def __post_init__(self) -> None:
        """Refuse an outcome that the checks do not carry."""
        object.__setattr__(self, "checks", tuple(self.checks))
        if self.outcome != outcome_of(self.checks):
            raise GateError(
                f"verdict says {self.outcome!r}, its {len(self.checks)} checks say {outcome_of(self.checks)!r}"
            )

    def check(self, name: str) -> Check:
        """The check of that name.

        Raises:
            GateError: There is none.
        """
        for check in self.checks:
            if check.name == name:
                return check
        raise GateError(f"verdict has no check {name!r}; it has: {', '.join(check.name for check in self.checks)}")

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, one line, only finite numbers; equal verdicts give equal bytes."""
        document = {"schema": SCHEMA, **dataclasses.asdict(self)}
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote; the result equals the verdict that was written.

        Raises:
            GateError: The text is not JSON, of another schema, has missing or unknown keys, or contradicts itself.
        """
        try:
            document = json.loads(text)
        except ValueError as error:
            raise GateError(f"verdict is not JSON ({error})") from error
        if not isinstance(document, dict) or document.pop("schema", None) != SCHEMA:
            raise GateError(f"verdict is not of schema {SCHEMA!r}; judge again with this version")
        _check_keys(document, cls, "verdict")
        if not isinstance(document["checks"], list):
            raise GateError("verdict: checks is not a list")
        checks = tuple(_check_from(entry, f"checks[{index}]") for index, entry in enumerate(document.pop("checks")))
        for name, value in document.items():
            _check_type(value, "str", f"verdict: {name}")
        return cls(checks=checks, **document)

    def to_markdown(self) -> str:
        """A heading and a table, one row per check; figures with two decimals, bounds as ``low to high``."""
        lines = [
            f"**{self.outcome}** · `{_cell(self.variant)}` on `{_cell(self.target)}` · {_cell(self.model)}",
            "",
            "| check | outcome | figure | limit | interval | reason | remedy |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for check in self.checks:
            figure, limit = (_number(value, check.unit) for value in (check.figure, check.limit))
            cells = (check.name, check.outcome, figure, limit, _interval(check), check.reason, check.remedy)
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
        return "\n".join(lines) + "\n"

    def summary_lines(self, consequence: str = "") -> list[str]:
        """Plain lines for a terminal: the outcome, every check, and what one could try.

        Args:
            consequence: What follows, e.g. ``digits.linux-x86 keeps version 3``; model, target and variant if empty.
        """
        consequence = consequence or f"{self.variant} on {self.model}.{self.target}"
        names = max((len(check.name) for check in self.checks), default=0)
        reasons = max((len(check.reason) for check in self.checks), default=0)
        lines = [f"verdict: {self.outcome} ({consequence})"]
        lines += [f"  {c.name:<{names}}   {c.reason:<{reasons}}   {c.outcome}" for c in self.checks]
        remedies = dict.fromkeys(check.remedy for check in self.checks if check.outcome != "pass" and check.remedy)
        return lines + [f"  Try: {remedy}." for remedy in remedies]


def _check_from(entry: Any, place: str) -> Check:
    if not isinstance(entry, dict):
        raise GateError(f"verdict: {place} is not an object")
    _check_keys(entry, Check, place)
    for field in dataclasses.fields(Check):
        _check_type(entry[field.name], str(field.type), f"verdict: {place}.{field.name}")
    return Check(**entry)


def _check_keys(document: dict[str, Any], kind: type[Check] | type[Verdict], place: str) -> None:
    expected = {field.name for field in dataclasses.fields(kind)}
    if document.keys() != expected:
        missing, unknown = sorted(expected - document.keys()), sorted(document.keys() - expected)
        raise GateError(f"verdict: {place} lacks {missing} and has unknown {unknown}; judge again with this version")


def _check_type(value: Any, kind: str, place: str) -> None:
    fits = {
        "float | None": value is None or (isinstance(value, int | float) and not isinstance(value, bool)),
        "int | None": value is None or (isinstance(value, int) and not isinstance(value, bool)),
    }
    if not fits.get(kind, isinstance(value, str)):
        raise GateError(f"{place} is {value!r}, not {kind}")


def _finite(value: float, place: str) -> float:
    try:
        number = float(value)
    except OverflowError as error:
        raise GateError(f"{place} is beyond the range of a float; only finite numbers are judged") from error
    if not math.isfinite(number):
        raise GateError(f"{place} is {number}; only finite numbers are judged")
    return number


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.2f} {unit}".rstrip()


def _interval(check: Check) -> str:
    if check.low is None and check.high is None:
        return "-"
    low, high = ("…" if bound is None else f"{bound:.2f}" for bound in (check.low, check.high))
    sure = "" if check.confidence is None else f" ({100 * check.confidence:.4g} % each)"
    return f"{low} to {high}{sure}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split()) or "-"
