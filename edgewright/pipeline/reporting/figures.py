"""Which figures a build has, and their files: what goes beside the build's runs as artifacts."""

from __future__ import annotations

from edgewright.pipeline.reporting import (
    anomaly_scores,
    calibration_ranges,
    class_drops,
    confusion,
    quality_against_cost,
    training_curves,
    value_answers,
)
from edgewright.pipeline.reporting.answers import AnomalyAnswers, ClassAnswers, ValueAnswers
from edgewright.pipeline.reporting.content import BuildReport, TargetReport, VariantReport
from edgewright.pipeline.reporting.drawing import Drawing


def build_drawings(report: BuildReport) -> tuple[Drawing, ...]:
    """The figures that belong to the build as a whole: its training curves."""
    return _present(training_curves.draw(report.model, report.curves))


def target_drawings(report: BuildReport, target: TargetReport) -> tuple[Drawing, ...]:
    """The figures of one target, in the order in which they are shown; those without values are left out."""
    return _present(
        quality_against_cost.draw(report.model, report.quality_word, target),
        class_drops.draw(report.model, target, _test_samples(report)),
        _answers(report, target),
    )


def calibration_drawing(report: BuildReport, variant: VariantReport) -> Drawing | None:
    """The ranges of one variant; None where it has no integer ranges."""
    if variant.calibration is None:
        return None
    return calibration_ranges.draw(f"{report.model} {variant.name}", variant.calibration)


def artifacts(report: BuildReport) -> dict[str, bytes]:
    """All figures as files.

    Returns:
        SVG bytes by path: ``training_curves.svg``, ``<target>/confusion.svg``, ``<target>/calibration_ranges-<variant>.svg``.
    """
    files = {f"{each.name}.svg": each.svg() for each in build_drawings(report)}
    for target in report.targets:
        files |= {f"{target.target}/{each.name}.svg": each.svg() for each in target_drawings(report, target)}
        for variant in target.variants:
            ranges = calibration_drawing(report, variant)
            if ranges is not None:
                files[f"{target.target}/{ranges.name}-{variant.name}.svg"] = ranges.svg()
    return {path: text.encode() for path, text in files.items()}


def _answers(report: BuildReport, target: TargetReport) -> Drawing | None:
    title, names = f"{report.model} on {target.target}", (target.reference.name, target.chosen)
    match target.reference_answers, target.chosen_answers:
        case ClassAnswers() as reference, ClassAnswers() as chosen:
            return confusion.draw(title, names, reference, chosen)
        case AnomalyAnswers() as reference, AnomalyAnswers() as chosen:
            return anomaly_scores.draw(title, names, reference, chosen)
        case ValueAnswers() as reference, ValueAnswers() as chosen:
            return value_answers.draw(title, names, reference, chosen)
    return None


def _test_samples(report: BuildReport) -> dict[str, int]:
    return {
        name: count
        for split in report.data.splits
        if split.name == "test"
        for name, count in split.class_samples.items()
    }


def _present(*drawings: Drawing | None) -> tuple[Drawing, ...]:
    return tuple(drawing for drawing in drawings if drawing is not None)
