"""When a trial ends, and how: a pure decision on a few figures."""

from __future__ import annotations

from dataclasses import dataclass

from edgewright.device.agent_config import HealthSection


@dataclass(frozen=True)
class TrialFigures:
    """How a trial stands.

    Attributes:
        running_s: Seconds since it began in this agent's life.
        ready_s: Seconds since its worker has proved the bundle; None while it has not.
        compared: Live samples that both models answered.
        agreeing: Those of them that were decided alike.
        alone: Nothing else serves, or will.
    """

    running_s: float
    ready_s: float | None
    compared: int
    agreeing: int
    alone: bool


@dataclass(frozen=True)
class Verdict:
    """What to do with a trial.

    Attributes:
        commit: Let it serve.
        rejection: Why it must go; None where it need not.
    """

    commit: bool = False
    rejection: str | None = None


GO_ON = Verdict()


def judge_trial(figures: TrialFigures, health: HealthSection) -> Verdict:
    """Decide on a trial whose worker has not failed."""
    longest_s = health.window_s + health.shadow_s
    missed = figures.running_s >= longest_s
    if figures.ready_s is None:
        if missed:
            return Verdict(rejection=f"it missed its window: it was not ready within {longest_s:g} s.")
        return GO_ON
    if figures.alone:
        return Verdict(commit=True)
    if figures.ready_s < health.shadow_s:
        return GO_ON
    if figures.compared < health.shadow_minimum:
        if missed:
            return Verdict(
                rejection=f"it missed its window: {figures.compared} live samples were compared within {longest_s:g} s, "
                f"{health.shadow_minimum:g} are needed."
            )
        return GO_ON
    if figures.compared and figures.agreeing < health.shadow_agreement * figures.compared:
        return Verdict(
            rejection=f"it decided {figures.agreeing} of {figures.compared} live samples as the running model did, "
            f"at least {100 * health.shadow_agreement:g} % must agree."
        )
    return Verdict(commit=True)
