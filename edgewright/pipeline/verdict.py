"""The gate's answer as a value: every check with its figure, its limit, its bounds and its reason.

JSON is what machines keep (canonical, exact round trip), Markdown what Prefect and MLflow show, plain lines what a
terminal shows. A verdict cannot be built that contradicts its checks. A waived check keeps what it found; only the
verdict as a whole passes over it, and says so in all three.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal, Self

from edgewright.errors import GateError
from edgewright.pipeline.waiver import Waiver

Outcome = Literal["pass", "fail", "not_measurable"]
OUTCOMES: tuple[Outcome, ...] = ("pass", "fail", "not_measurable")
SCHEMA = "edgewright.verdict/2"
# Registries hold verdicts of this schema; its checks know neither groups nor waivers.
_SCHEMA_1 = "edgewright.verdict/1"
_SINCE_2: dict[str, Any] = {"groups": None, "groups_needed": None, "method": "", "waiver": None}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question of the gate and its answer.

    Attributes:
        name: What was asked, e.g. ``accuracy against reference``.
        outcome: ``pass``, ``fail`` or ``not_measurable``; a waiver does not change it.
        figure: What was measured, in ``unit``; None when nothing was, or nothing needed to be.
        limit: What the figure is held against, in ``unit``; None when there is no limit.
        unit: ``points``, ``%``, ``ms``, ``KiB``, ``MiB``, ``x`` or empty.
        low: Lower bound of the figure, in ``unit``.
        high: Upper bound of the figure, in ``unit``.
        confidence: Confidence of each bound by itself, between 0 and 1.
        samples: Number of samples (or processes) behind the figure.
        groups: Number of groups (people, recordings) that these samples come from; None where samples stand alone.
        samples_needed: About how many samples (or processes) would decide; only where it is ``not_measurable`` for want
            of them.
        groups_needed: About how many groups would decide; only where it is ``not_measurable`` for want of groups.
        method: How the bounds were found, for people; empty where there are none.
        reason: Why the outcome is what it is, one sentence.
        remedy: What one could do; empty when the check passes.
        waiver: Who lets the verdict pass in spite of this check, and why.

    Raises:
        GateError: A number is not finite, the outcome is not one of the three, or the waiver is for another check or
            for one that passed.
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
    groups: int | None = None
    samples_needed: int | None = None
    groups_needed: int | None = None
    method: str = ""
    reason: str
    remedy: str = ""
    waiver: Waiver | None = None

    def __post_init__(self) -> None:
        """Make numbers plain Python numbers (JSON knows no others) and refuse what contradicts itself."""
        if self.outcome not in OUTCOMES:
            raise GateError(f"check {self.name!r}: outcome {self.outcome!r} is none of {', '.join(OUTCOMES)}")
        for field in ("figure", "limit", "low", "high", "confidence"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, _finite(value, f"check {self.name!r}: {field}"))
        for field in ("samples", "groups", "samples_needed", "groups_needed"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, int(value))
        if self.waiver is not None and (self.waiver.check != self.name or self.outcome == "pass"):
            raise GateError(
                f"check {self.name!r} ({self.outcome}) cannot carry a waiver for {self.waiver.check!r}: "
                "only a check that did not pass is waived, under its own name"
            )

    @property
    def stands_in_the_way(self) -> bool:
        """Whether the verdict cannot pass because of this check."""
        return self.outcome != "pass" and self.waiver is None

    @property
    def shown_outcome(self) -> str:
        """The outcome for people: a waived one says so."""
        return f"{self.outcome}, waived" if self.waiver else self.outcome


def outcome_of(checks: tuple[Check, ...]) -> Outcome:
    """Combine checks, passing over waived ones: one failure fails, else one gap is ``not_measurable``.

    Without checks nothing passes.
    """
    in_the_way = {check.outcome for check in checks if check.stands_in_the_way}
    if "fail" in in_the_way:
        return "fail"
    return "not_measurable" if in_the_way or not checks else "pass"


@dataclass(frozen=True)
class Verdict:
    """What the gate says about one variant on one target.

    Attributes:
        model: Name of the model, e.g. ``digits``.
        target: Name of the target, e.g. ``linux-x86``.
        variant: Name of the variant, e.g. ``p50-i8``.
        outcome: ``pass``, ``fail`` or ``not_measurable``; always what the checks that nobody waived say together.
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

    @property
    def waivers(self) -> tuple[Waiver, ...]:
        """Every waiver, in the order of the checks."""
        return tuple(check.waiver for check in self.checks if check.waiver)

    @property
    def said(self) -> str:
        """The outcome in words for people, e.g. ``pass (1 check waived by anna)``."""
        return f"{self.outcome} ({self._waived})" if self.waivers else self.outcome

    @property
    def _waived(self) -> str:
        count, people = len(self.waivers), dict.fromkeys(waiver.person for waiver in self.waivers)
        return f"{count} check{'s' if count > 1 else ''} waived by {', '.join(people)}"

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
        """Read what ``to_json`` wrote, or what it wrote before there were waivers.

        What this version wrote is equal to the verdict that was written.

        Raises:
            GateError: The text is not JSON, of another schema, has missing or unknown keys, or contradicts itself.
        """
        try:
            document = json.loads(text)
        except ValueError as error:
            raise GateError(f"verdict is not JSON ({error})") from error
        schema = document.pop("schema", None) if isinstance(document, dict) else None
        if schema not in (SCHEMA, _SCHEMA_1):
            raise GateError(f"verdict is not of schema {SCHEMA!r}; judge again with this version")
        _check_keys(document, _names_of(cls), "verdict")
        if not isinstance(document["checks"], list):
            raise GateError("verdict: checks is not a list")
        entries, later = document.pop("checks"), _SINCE_2 if schema == _SCHEMA_1 else {}
        checks = tuple(_check_from(entry, f"checks[{index}]", later) for index, entry in enumerate(entries))
        for name, value in document.items():
            _check_type(value, "str", f"verdict: {name}")
        return cls(checks=checks, **document)

    def to_markdown(self) -> str:
        """A heading and a table, one row per check; figures with two decimals, bounds as ``low to high``.

        A waived check names the person and the reason in its row.
        """
        lines = [
            f"**{_cell(self.said)}** · `{_cell(self.variant)}` on `{_cell(self.target)}` · {_cell(self.model)}",
            "",
            "| check | outcome | figure | limit | interval | reason | remedy |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for check in self.checks:
            figure, limit = (_number(value, check.unit) for value in (check.figure, check.limit))
            waived = f" (waived by {check.waiver.person}: {check.waiver.reason})" if check.waiver else ""
            reason = check.reason + waived
            cells = (check.name, check.shown_outcome, figure, limit, _interval(check), reason, check.remedy)
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
        return "\n".join(lines) + "\n"

    def summary_lines(self, consequence: str = "") -> list[str]:
        """Plain lines for a terminal: the outcome, every check, who waived what and why, and what one could try.

        Args:
            consequence: What follows, e.g. ``digits.linux-x86 keeps version 3``; model, target and variant if empty.
        """
        consequence = consequence or f"{self.variant} on {self.model}.{self.target}"
        if self.waivers:
            consequence = f"{self._waived}; {consequence}"
        names = max((len(check.name) for check in self.checks), default=0)
        reasons = max((len(check.reason) for check in self.checks), default=0)
        lines = [f"verdict: {self.outcome} ({consequence})"]
        lines += [f"  {c.name:<{names}}   {c.reason:<{reasons}}   {c.shown_outcome}" for c in self.checks]
        lines += [f"  Waived: {waiver.check}, by {waiver.person}: {waiver.reason}" for waiver in self.waivers]
        return lines + [f"  Try: {line}." for line in self._remedies()]

    def _remedies(self) -> list[str]:
        """What one could try, each with the checks that it is for, where there are several."""
        checks_of: dict[str, list[str]] = {}
        for check in self.checks:
            if check.stands_in_the_way and check.remedy:
                checks_of.setdefault(check.remedy, []).append(check.name)
        if len(checks_of) == 1:
            return list(checks_of)
        return [f"{remedy} ({', '.join(names)})" for remedy, names in checks_of.items()]


def _check_from(entry: Any, place: str, later: dict[str, Any]) -> Check:
    """One check of a document; ``later`` are the fields that its schema does not know yet."""
    if not isinstance(entry, dict):
        raise GateError(f"verdict: {place} is not an object")
    _check_keys(entry, _names_of(Check) - later.keys(), place)
    values = {**entry, **later}
    for field in dataclasses.fields(Check):
        if field.name != "waiver":
            _check_type(values[field.name], str(field.type), f"verdict: {place}.{field.name}")
    if values["waiver"] is not None:
        values["waiver"] = _waiver_from(values["waiver"], f"{place}.waiver")
    return Check(**values)


def _waiver_from(entry: Any, place: str) -> Waiver:
    if not isinstance(entry, dict):
        raise GateError(f"verdict: {place} is not an object")
    _check_keys(entry, _names_of(Waiver), place)
    return Waiver(**entry)


def _names_of(kind: type[Check] | type[Verdict] | type[Waiver]) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def _check_keys(document: dict[str, Any], expected: set[str], place: str) -> None:
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
