"""From built variants to a verdict: which variant of a target is chosen, and what the gate says about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgewright.bench_report import BenchReport
from edgewright.errors import GateError
from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.built import Fold, TargetBuild, pool, pooled_answers
from edgewright.pipeline.evidence import (
    Answered,
    Budgets,
    Corrupted,
    Evidence,
    GateLimits,
    Measured,
    NoneYet,
    SliceLimit,
    Unavailable,
)
from edgewright.pipeline.gate import judge
from edgewright.pipeline.model_engine import required_provider
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.recipe import GateSettings, Recipe
from edgewright.pipeline.selection import Contender, rank
from edgewright.pipeline.stages import measure, robustness
from edgewright.pipeline.stages.measure import MeasureResult
from edgewright.pipeline.stages.robustness import RobustnessResult
from edgewright.pipeline.targets import Target
from edgewright.pipeline.verdict import Verdict
from edgewright.pipeline.waiver import Waiver

Incumbent = Predictions | NoneYet | Unavailable
# By number of the fold and name of the variant.
Robustness = Mapping[tuple[int, str], RobustnessResult]


@dataclass(frozen=True)
class Choice:
    """What is put to the gate together: what each fold chose by its own validation samples; the first is released.

    Attributes:
        of_fold: Name of the variant, by fold.
    """

    of_fold: tuple[str, ...]

    @property
    def released(self) -> str:
        """The variant that may be released."""
        return self.of_fold[0]


@dataclass(frozen=True)
class Tested:
    """What the gate said of one choice.

    Attributes:
        choice: What was put to the gate.
        verdict: What it said.
        evidence: What it looked at.
    """

    choice: Choice
    verdict: Verdict
    evidence: Evidence


@dataclass(frozen=True)
class Decision:
    """What was decided for one target.

    Attributes:
        tested: What was put to the gate, in order of preference.
        answered: Releases that were run again for it, since they had been judged on other samples.
    """

    tested: tuple[Tested, ...]
    answered: tuple[Answered, ...] = ()

    @property
    def best(self) -> Tested:
        """The first that passed; else the first that was not measurable; else the first."""
        return min(self.tested, key=lambda each: ("pass", "not_measurable", "fail").index(each.verdict.outcome))

    @property
    def chosen(self) -> str:
        """Name of the variant that is released."""
        return self.best.choice.released

    @property
    def verdict(self) -> Verdict:
        """The gate's verdict on it."""
        return self.best.verdict


def gate_limits(settings: GateSettings) -> GateLimits:
    """The recipe's limits as the gate takes them."""
    return GateLimits(
        floor_pct=settings.floor_pct,
        margin_points=settings.margin_points,
        confidence=settings.confidence,
        candidates=settings.candidates,
        slices=tuple(SliceLimit(each.by, each.margin_points) for each in settings.slices),
        agreement_pct=settings.agreement_pct,
        calibration_error_points=settings.calibration_error_points,
        robustness_margin_points=settings.robustness.margin_points if settings.robustness else None,
    )


def gate_budgets(target: Target) -> Budgets:
    """The target's budgets as the gate takes them."""
    budgets = target.budgets
    return Budgets(
        latency_p95_ms=budgets.latency_p95_ms, size_kib=budgets.size_kib, peak_memory_mib=budgets.peak_memory_mib
    )


def choose(recipe: Recipe, target: Target, folds: Sequence[Fold], measured: MeasureResult | None) -> tuple[Choice, ...]:
    """What is put to the gate, the best first: as many as the recipe allows.

    Every fold chooses by its own validation samples: one that looked at all of them would have looked at every other
    fold's test samples. Latency is the first fold's: the same variant is the same network in every fold.
    """
    reference = recipe.reference_for(target).name
    ranked = [
        rank(
            [_contender(fold, name, reference, measured) for name in fold.variants],
            recipe.objective.minimize,
            recipe.objective.max_validation_drop_points,
        )
        for fold in folds
    ]
    return tuple(
        Choice(tuple(names[min(place, len(names) - 1)] for names in ranked))
        for place in range(min(recipe.gate.candidates, len(ranked[0])))
    )


def decide(
    store: ArtifactStore,
    built: TargetBuild,
    choices: Sequence[Choice],
    stressed: Robustness,
    champion: Incumbent | Answered,
    baseline: Incumbent | Answered,
    waivers: Sequence[Waiver] = (),
) -> Decision:
    """Lets the gate judge what was chosen, on test samples.

    Args:
        store: Where predictions lie.
        built: What was built for the target.
        choices: From `choose`.
        stressed: What the choices and the reference answer on corrupted samples.
        champion: The champion's answers on the same test samples, and where they are new, which of them are not.
        baseline: The pinned baseline's.
        waivers: Checks that a person lets pass.
    """
    limits = gate_limits(built.recipe.gate)
    reference = pooled_answers(store, built.folds, built.of_every_fold(built.reference))
    tested = []
    for choice in choices:
        evidence = Evidence(
            quality=built.quality,
            candidate=pooled_answers(store, built.folds, choice.of_fold),
            reference=reference,
            champion=_answers(champion),
            baseline=_answers(baseline),
            judged_on=champion.judged_on if isinstance(champion, Answered) else None,
            measured=_measured(built, choice.released, limits.confidence_of_each),
            groups=built.facts.groups,
            slices=built.facts.slices,
            corrupted=_corrupted(store, built, choice, stressed),
        )
        verdict = judge_with_waivers(
            evidence, limits, built.target, waivers, built.recipe.model, built.target_name, choice.released
        )
        tested.append(Tested(choice, verdict, evidence))
    anew = {each.bundle_sha256: each for each in (champion, baseline) if isinstance(each, Answered)}
    return Decision(tuple(tested), tuple(anew.values()))


def judge_with_waivers(
    evidence: Evidence,
    limits: GateLimits,
    target: Target,
    waivers: Sequence[Waiver],
    model: str,
    target_name: str,
    variant: str,
) -> Verdict:
    """Judges, with those waivers whose check stands in the way; one whose check passes is not needed here.

    Raises:
        GateError: A waiver names no check.
    """

    def ask(applied: tuple[Waiver, ...]) -> Verdict:
        pays = frozenset(target.pays)
        return judge(
            evidence, limits, gate_budgets(target), pays,
            model=model, target=target_name, variant=variant, waivers=applied,
        )  # fmt: skip

    verdict = ask(())
    unknown = [waiver.check for waiver in waivers if waiver.check not in {check.name for check in verdict.checks}]
    if unknown:
        names = ", ".join(check.name for check in verdict.checks if check.outcome != "pass") or "none"
        raise GateError(f"waiver: the gate asks no {unknown[0]!r}. Checks that did not pass on {target_name}: {names}.")
    needed = tuple(waiver for waiver in waivers if verdict.check(waiver.check).outcome != "pass")
    return ask(needed) if needed else verdict


def _answers(incumbent: Incumbent | Answered) -> Incumbent:
    return incumbent.answers if isinstance(incumbent, Answered) else incumbent


def _contender(fold: Fold, name: str, reference: str, measured: MeasureResult | None) -> Contender:
    built = fold.variants[name]
    return Contender(
        variant=name,
        is_reference=name == reference,
        validation_drop_points=fold.variants[reference].evaluation.validation_pct - built.evaluation.validation_pct,
        size_bytes=built.evaluation.size_bytes,
        latency_p50_ms=measured.measurements[name].latency_p50_ms if measured else None,
    )


def _corrupted(store: ArtifactStore, built: TargetBuild, choice: Choice, stressed: Robustness) -> dict[str, Corrupted]:
    """Answers on corrupted samples, pooled over folds, by corruption."""
    if built.recipe.gate.robustness is None:
        return {}
    test = pooled_answers(store, built.folds, built.of_every_fold(built.reference))
    group_of = dict(zip(test.sample_sha256, built.facts.groups, strict=True)) if built.facts.groups else None

    def pooled(name: str, variants: Sequence[str]) -> Predictions:
        results = [stressed[index, variant] for index, variant in enumerate(variants)]
        return pool([robustness.load(store, result)[name] for result in results])

    corrupted = {}
    for name in built.recipe.gate.robustness.corruptions:
        candidate = pooled(name, choice.of_fold)
        groups = tuple(group_of[digest] for digest in candidate.sample_sha256) if group_of else None
        corrupted[name] = Corrupted(
            candidate=candidate, reference=pooled(name, built.of_every_fold(built.reference)), groups=groups
        )
    return corrupted


def _measured(built: TargetBuild, name: str, confidence: float) -> Measured:
    variant, reference = built.variants[name], built.variants[built.reference]
    report: BenchReport | None = built.reports.get(name)
    figures, providers = measure.NOT_MEASURED, variant.evaluation.providers_in_use
    if built.measured is not None:
        own = built.measured.measurements[name]
        figures = measure.figures(own, built.measured.measurements[built.reference], confidence)
        providers = own.providers_in_use
    elif report is not None:
        figures = measure.figures(report.measurement, report.reference, confidence)
        providers = report.measurement.providers_in_use
    return Measured(
        size_kib=variant.evaluation.size_bytes / 1024,
        reference_size_kib=reference.evaluation.size_bytes / 1024,
        latency_p95_ms=figures.latency_p95_ms,
        speedup=figures.speedup,
        peak_memory_mib=figures.peak_memory_mib,
        providers_in_use=providers,
        required_provider=required_provider(built.target, variant.variant.format),
        is_reference=name == built.reference,
    )
