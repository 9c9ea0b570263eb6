"""What the experiment's page in the registry says of a build: its recipe in short, and how to read the runs below."""

from __future__ import annotations

from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.summary import BuildSummary
from edgewright.pipeline.tracking import BODY_BEGINS, NEWEST_BUILD, Tracking, experiment_link, write_experiment
from edgewright.pipeline.tracking.words import plain, table
from edgewright.pipeline.variant_settings import Variant

_KEYS = (
    ("size_kib", "size of the model file"),
    ("latency_p95_ms, latency_p95_us", "95th percentile of the latency of one inference, median over fresh processes"),
    ("speedup_x", "times as fast as the reference, measured side by side"),
    ("peak_memory_mib", "highest memory of a process that serves the model"),
    ("sparsity_pct", "share of weights that are gone or zero"),
    ("export_parity", "largest difference of a score between the framework and the exported file"),
    ("epoch_…", "training curves, over epochs"),
)
_TAGS = (
    ("edgewright.verdict", "the gate's answer: `pass`, `fail`, `not_measurable` (something is still to be measured, or "
     "the samples are too few to tell), or `not put to the gate` (another variant was chosen)"),
    ("edgewright.standing", "`champion`: devices run it; `newest build`: what was built last; all others are history"),
    ("edgewright.build", "runs of one build belong together: filter by it, select, press Compare"),
    ("edgewright.git_commit, edgewright.data_sha256", "the code and the data that made it"),
)  # fmt: skip


def describe_experiment(tracking: Tracking, recipe: Recipe, summary: BuildSummary) -> str | None:
    """Brings the experiment's description, its tags and its saved views up to date with a build that has ended.

    Args:
        tracking: Where the registry is.
        recipe: What was built.
        summary: What it came to; its runs are logged.

    Returns:
        The address of the page, with the champions and the newest build first; None where no server shows it.

    Raises:
        RegistryError: The registry refused or cannot be reached.
    """
    targets = [each.target for each in summary.targets]
    tags = {
        "edgewright.task": recipe.task.kind,
        "edgewright.quality": summary.quality_key,
        "edgewright.data": recipe.data.dataset,
        "edgewright.data_sha256": summary.data_sha256,
        "edgewright.network": recipe.architecture.name,
        "edgewright.variants": " ".join(each.name for each in recipe.variants),
        "edgewright.targets": " ".join(targets),
        NEWEST_BUILD: summary.build,
    }
    write_experiment(tracking, recipe.model, body(recipe, summary), tags, summary.quality_key, targets)
    return experiment_link(tracking.uri, recipe.model)


def body(recipe: Recipe, summary: BuildSummary) -> str:
    """The Markdown below the page's head."""
    quality = summary.quality
    figures = (
        (f"{summary.quality_key}_pct", f"{quality} on the test split, the figure that the model is judged by"),
        (f"{summary.quality_key}_drop_points", "what the variant loses against the reference of its own build"),
        *_KEYS,
    )
    parts = [
        BODY_BEGINS,
        "One run is one variant of a build on one target: `<variant>@<target>`. Figures carry their unit in their name. What "
        "was not measured is absent, never 0. *Views*, above the runs, holds ready-made tables and charts.",
        table(("figure", "meaning"), [(_code(key), meaning) for key, meaning in figures]),
        table(("tag", "meaning"), [(_code(key), meaning) for key, meaning in _TAGS]),
        f"## What build `{summary.build}` was asked for",
        plain(recipe.description),
        table(("what", "which"), _recipe(recipe, summary)),
        table(("variant", "how it is made"), [(f"`{each.name}`", _how(each)) for each in recipe.variants]),
        f"*Written anew by every build of `{recipe.model}`.*",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _recipe(recipe: Recipe, summary: BuildSummary) -> list[tuple[str, str]]:
    gate, splits = recipe.gate, summary.samples
    limits = [
        f"drop at most {gate.margin_points:g} points",
        f"{summary.quality} at least {gate.floor_pct:g} %",
        *(f"drop by {plain(each.by)} at most {each.margin_points:g} points" for each in gate.slices),
        *([f"agreement at least {gate.agreement_pct:g} %"] if gate.agreement_pct is not None else []),
        *(
            [f"calibration error up at most {gate.calibration_error_points:g} points"]
            if gate.calibration_error_points is not None
            else []
        ),
        *([f"under {', '.join(gate.robustness.corruptions)} too"] if gate.robustness is not None else []),
        f"each with {100 * gate.confidence:g} % confidence",
    ]
    settings = {key: value for key, value in recipe.architecture.described().items() if key != "name"}
    network = ", ".join([recipe.architecture.name, *(f"{key} {value}" for key, value in settings.items())])
    return [
        ("data", f"{recipe.data.dataset} ({', '.join(f'{name} {count:,}' for name, count in splits.items())})"),
        ("task", f"{recipe.task.kind.replace('_', ' ')}, judged by {summary.quality}"),
        ("network", plain(network)),
        ("training", f"{', '.join(recipe.frameworks)}, {recipe.training.epochs} epochs, seed {recipe.seed}"),
        ("targets", ", ".join(f"{each.target} ({each.platform})" for each in summary.targets)),
        ("gate", "; ".join(limits)),
        ("chosen by", f"least {recipe.objective.minimize}"
         f", at most {recipe.objective.max_validation_drop_points:g} points of drop on validation"),
    ]  # fmt: skip


def _how(variant: Variant) -> str:
    steps: list[str] = [variant.framework]
    if variant.prune is not None:
        steps.append(f"{100 * variant.prune.sparsity:g} % of {variant.prune.method} pruned")
    if variant.quantize is not None:
        aware = ", trained on with rounding" if variant.quantize.aware is not None else ""
        steps.append("float16" if variant.quantize.method == "float16" else f"INT8, {variant.quantize.method}{aware}")
    if variant.is_uncompressed:
        steps.append("uncompressed")
    return ", ".join([*steps, variant.format])


def _code(keys: str) -> str:
    return ", ".join(f"`{key}`" for key in keys.split(", "))
