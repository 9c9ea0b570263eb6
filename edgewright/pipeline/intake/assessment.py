"""Whether new samples are worth a retrain: every figure with its limit, and what follows, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError

from edgewright.errors import DataError

Decision = Literal["nothing_new", "too_little", "drifted", "retrain"]
FigureOutcome = Literal["within", "beyond", "undecided"]

_SCHEMA = "edgewright.assessment/1"
# Of a table with thousands of attributes the farthest are shown.
_MOST_FEATURES = 20
_WORDS: Mapping[Decision, str] = {
    "nothing_new": "nothing new",
    "too_little": "too few new samples",
    "drifted": "new samples are different",
    "retrain": "worth a retrain",
}


@dataclass(frozen=True)
class Figure:
    """One thing that was looked at.

    Attributes:
        name: What, e.g. ``brightness`` or ``class balance``.
        value: What was found, in ``unit``.
        limit: The most that is accepted; of ``new samples`` the least.
        unit: ``PSI``, ``points``, ``%`` or ``samples``.
        outcome: ``within`` its limit, ``beyond`` it, or ``undecided``: beyond it, but no farther than chance goes.
        chance: What chance alone reaches without any change; None where it plays no part.
        words: The same as a sentence.
    """

    name: str
    value: float
    limit: float
    unit: str
    outcome: FigureOutcome
    chance: float | None
    words: str


@dataclass(frozen=True)
class Assessment:
    """What is known of the samples that nothing was decided about yet.

    Attributes:
        model: Name of the model.
        outcome: ``nothing_new``: nothing to do. ``too_little``, ``drifted``: a person decides. ``retrain``: go on.
        said: What was found, in one line.
        batches: Digests of all that was looked at, rejections included: what a decision is about.
        new_samples: How many new samples there are.
        per_class: New samples by class; empty where labels are values.
        figures: Everything that was looked at, in this order: new samples, features, classes, labels, missing, rejected.
        collection_sha256: What the ledger said.
    """

    model: str
    outcome: Decision
    said: str
    batches: tuple[str, ...]
    new_samples: int
    per_class: Mapping[str, int]
    figures: tuple[Figure, ...]
    collection_sha256: str

    __pydantic_config__ = ConfigDict(extra="forbid")

    @property
    def beyond(self) -> tuple[Figure, ...]:
        """What is beyond its limit."""
        return tuple(figure for figure in self.figures if figure.outcome == "beyond")

    def figure(self, name: str) -> Figure:
        """The figure of that name.

        Raises:
            DataError: There is none.
        """
        for figure in self.figures:
            if figure.name == name:
                return figure
        known = ", ".join(figure.name for figure in self.figures)
        raise DataError(f"the assessment of {self.model} has no figure {name!r}; it has: {known}.")

    def to_json(self) -> dict[str, Any]:
        """A plain JSON value, from which `from_json` makes an equal assessment."""
        return {"schema": _SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Reads what `to_json` gave.

        Raises:
            DataError: It is something else.
        """
        try:
            content = dict(document)
            if content.pop("schema", None) != _SCHEMA:
                raise ValueError(f"its schema is not {_SCHEMA}")
            return TypeAdapter(cls).validate_python(content)
        except (ValueError, TypeError, ValidationError) as error:
            raise DataError(
                f"not an assessment of new samples ({str(error).splitlines()[0]}). Assess again."
            ) from error

    def to_markdown(self) -> str:
        """A line, the classes, and one table of all figures."""
        lines = [f"**{_WORDS[self.outcome]}** · {self.said}", ""]
        if self.new_samples and self.per_class:
            counts = ", ".join(f"{_cell(name)}: {count:,}" for name, count in self.per_class.items())
            lines += [f"New samples by class: {counts}.", ""]
        shown, hidden = _shown(self.figures)
        if shown:
            lines += ["| | found | limit | chance reaches | |", "| --- | --- | --- | --- | --- |"]
            lines += [
                f"| {_cell(figure.name)} | {_number(figure.value, figure.unit)} | {_number(figure.limit, figure.unit)} | "
                f"{'-' if figure.chance is None else _number(figure.chance, figure.unit)} | {_cell(figure.words)} |"
                for figure in shown
            ]
        if hidden:
            lines += ["", f"… and {hidden:,} more features, all of them nearer."]
        return "\n".join(lines).rstrip() + "\n"


def _shown(figures: tuple[Figure, ...]) -> tuple[list[Figure], int]:
    features = [figure for figure in figures if figure.unit == "PSI"]
    if len(features) <= _MOST_FEATURES:
        return list(figures), 0
    farthest = sorted(features, key=lambda figure: (figure.outcome != "beyond", -figure.value / figure.limit))
    near = {figure.name for figure in farthest[_MOST_FEATURES:]}
    return [figure for figure in figures if figure.unit != "PSI" or figure.name not in near], len(near)


def _number(value: float, unit: str) -> str:
    if unit == "samples":
        return f"{value:,.0f}"
    return f"{value:.2f}" if unit == "PSI" else f"{value:.1f} {unit}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split()) or "-"
