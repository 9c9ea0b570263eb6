"""How flow runs end: the name of the state says what happened, its message says it in a sentence.

A run that ends ``Released``, ``Candidate`` or ``Nothing new`` is completed; one that ends ``Refused`` is failed, so that
whoever watches for failures hears of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from edgewright.pipeline.summary import EXIT_ERROR, EXIT_PASSED, EXIT_REFUSED, BuildSummary

RELEASED, CANDIDATE, REFUSED, INCOMPLETE = "Released", "Candidate", "Refused", "Incomplete"


def state_of_build(summary: BuildSummary) -> State[BuildSummary]:
    """The state that a finished build ends in; its result is the summary."""
    said = "; ".join(target.note for target in summary.targets)
    if summary.exit_code == EXIT_REFUSED:
        return _state(Failed(name=REFUSED, message=f"the gate refused: {said}", data=summary))
    if summary.exit_code == EXIT_ERROR:
        missing = "; ".join(f"{each.place}: {each.error}" for each in summary.missing)
        return _state(Failed(name=INCOMPLETE, message=f"{said}. Missing: {missing}", data=summary))
    promoted = summary.exit_code == EXIT_PASSED and any(target.champion == target.version for target in summary.targets)
    return _state(Completed(name=RELEASED if promoted else CANDIDATE, message=said, data=summary))


def _state(state: Any) -> State[BuildSummary]:
    result: State[BuildSummary] = state
    return result


@dataclass(frozen=True)
class Candidacy:
    """One target's release, as far as a person decides about it.

    Attributes:
        target: The target.
        version: The model version.
        outcome: The gate's word.
        champion: The version in office when it was judged; 0 for none.
        note: What happened, in words.
        open_checks: What did not pass, one sentence per check; waived ones included.
        checks: How many checks there were.
    """

    target: str
    version: int
    outcome: str
    champion: int
    note: str
    open_checks: tuple[str, ...]
    checks: int


@dataclass(frozen=True)
class Built:
    """What a build came to, as far as a run needs to remember it that goes on in another process.

    Attributes:
        model: Name of the model.
        build: Identity of the build.
        name: Name of the state that it ends in.
        message: Its message.
        failed: Whether that state is a failed one.
        targets: One entry per target.
    """

    model: str
    build: str
    name: str
    message: str
    failed: bool
    targets: tuple[Candidacy, ...]

    @classmethod
    def of(cls, summary: BuildSummary) -> Self:
        """What to remember of a build."""
        state = state_of_build(summary)
        targets = (
            Candidacy(
                each.target,
                each.version,
                each.outcome,
                each.champion or 0,
                f"{each.chosen}, {each.verdict.said}: {each.note}",
                tuple(
                    f"{check.name}: {check.reason} ({check.shown_outcome})"
                    for check in each.verdict.checks
                    if check.outcome != "pass"
                ),
                len(each.verdict.checks),
            )
            for each in summary.targets
        )
        return cls(
            summary.model, summary.build, state.name or "", state.message or "", state.is_failed(), tuple(targets)
        )

    @property
    def promotable(self) -> tuple[Candidacy, ...]:
        """The releases that a person may promote: none where nothing passed that is not in office already."""
        open_ = tuple(each for each in self.targets if each.outcome != "fail" and each.champion != each.version)
        return open_ if any(each.outcome == "pass" for each in open_) else ()

    def state(self) -> State[Any]:
        """The state to end in where nobody is asked."""
        state: Any = (Failed if self.failed else Completed)(name=self.name, message=self.message)
        ended: State[Any] = state
        return ended

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Reads what ``to_json`` made."""
        targets = (Candidacy(**{**each, "open_checks": tuple(each["open_checks"])}) for each in value["targets"])
        return cls(**{**value, "targets": tuple(targets)})
