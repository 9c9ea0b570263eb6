"""The rules between a recipe's fields, and between a recipe and its targets.

They are checked on whatever sections of the recipe can be read, so that a slip in one section does not hide the problems
of the others: a person sees the whole list at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgewright.errors import Problem
from edgewright.pipeline.broken_rule import did_you_mean
from edgewright.pipeline.targets import Target

if TYPE_CHECKING:
    from edgewright.pipeline.architecture import Architecture, ArchitectureSettings
    from edgewright.pipeline.recipe import DataSettings, GateSettings, PruneSettings, Variant

# With less left to train on there is nothing to prune and quantize.
_MOST_SHARES = 0.95
# Samples of each class are split by their digests, like coin tosses: how many deviations below its mean we call hopeless.
_DEVIATIONS = 5


@dataclass(frozen=True)
class Sections:
    """What of a recipe could be read.

    Attributes:
        data: None where it breaks rules of its own; likewise ``architecture`` and ``gate``.
        architecture: See ``data``.
        gate: See ``data``.
        variants: The readable variants by their place in the list.
        all_variants: Whether that is all of them.
        targets: The readable names by their place in the list.
    """

    data: DataSettings | None
    architecture: ArchitectureSettings | None
    gate: GateSettings | None
    variants: Mapping[int, Variant]
    all_variants: bool
    targets: Mapping[int, str]


def check_sections(sections: Sections, targets: Mapping[str, Target] | None, targets_file: str) -> list[Problem]:
    """Every problem between fields.

    Args:
        sections: The recipe.
        targets: The known targets; None leaves out what depends on them.
        targets_file: Where they stand, for messages.
    """
    problems = _check_data(sections.data) if sections.data else []
    for index, variant in sections.variants.items():
        problems += _check_uniqueness(index, variant, sections.variants)
        problems += _check_pruning(index, variant.prune, sections.architecture) if variant.prune else []
        problems += _check_quantization(index, variant)
    if sections.all_variants:
        problems += _check_reference(sections.variants)
    if targets is not None:
        problems += _check_targets(sections, targets, targets_file)
    if sections.gate:
        problems += _check_gate(sections.gate, sections.variants if sections.all_variants else None)
    return problems


def _check_data(data: DataSettings) -> list[Problem]:
    problems = []
    share = data.validation_share + data.calibration_share
    if share >= _MOST_SHARES:
        message = (
            f"{data.validation_share:g} and calibration_share {data.calibration_share:g} take {share:.0%} of the pool and "
            f"leave too little to train on. Keep their sum below {_MOST_SHARES:.0%}."
        )
        problems.append(Problem("data.validation_share", message))
    if data.package_folder and data.source != "full":
        problems.append(
            Problem("data.package_folder", "is only used with source: full. Remove it, or set source: full.")
        )
    return problems


def check_calibration_split(data: DataSettings, pool_samples: int) -> list[Problem]:
    """Whether the calibration split of a pool this large can hold the samples asked for.

    Args:
        data: The recipe's section.
        pool_samples: Most samples that are split.
    """
    expected = pool_samples * data.calibration_share
    most = expected + _DEVIATIONS * math.sqrt(expected)
    if data.calibration_samples <= most:
        return []
    message = (
        f"{data.calibration_samples} are more than the about {expected:.0f} samples of the calibration split "
        f"({data.calibration_share:.1%} of {pool_samples}). Lower it, or raise data.calibration_share"
        f"{' or data.limit_per_class' if data.limit_per_class else ''}."
    )
    return [Problem("data.calibration_samples", message)]


def _check_uniqueness(index: int, variant: Variant, variants: Mapping[int, Variant]) -> list[Problem]:
    earlier = [other for place, other in variants.items() if place < index]
    problems = []
    if any(other.name == variant.name for other in earlier):
        problems.append(Problem(f"variants[{index}].name", f'"{variant.name}" is used twice. Names must differ.'))
    twins = [other.name for other in earlier if (other.prune, other.quantize) == (variant.prune, variant.quantize)]
    if twins and not variant.is_reference:
        message = f'"{variant.name}" is built exactly like "{twins[0]}". Remove one.'
        problems.append(Problem(f"variants[{index}]", message))
    return problems


def _check_pruning(index: int, prune: PruneSettings, architecture: Architecture | None) -> list[Problem]:
    key, problems = f"variants[{index}].prune", []
    if prune.schedule == "one_shot":
        problems += [
            Problem(f"{key}.{name}", "is only used with schedule: polynomial. Remove it, or set that schedule.")
            for name in ("steps", "power")
            if getattr(prune, name) != type(prune).model_fields[name].default
        ]
    elif prune.fine_tune_epochs < 2:
        message = (
            "1 leaves no whole epoch to recover in: a polynomial schedule prunes during the first half of fine-tuning. "
            "Set at least 2, or schedule: one_shot."
        )
        problems.append(Problem(f"{key}.fine_tune_epochs", message))
    nothing = architecture.nothing_to_prune(prune.sparsity) if architecture else None
    if nothing:
        problems.append(Problem(f"{key}.sparsity", nothing))
    return problems


def _check_quantization(index: int, variant: Variant) -> list[Problem]:
    if variant.quantize is None:
        return []
    methods, problems = variant.quantize.calibration, []
    if len(set(methods)) != len(methods):
        message = f"[{', '.join(methods)}] names a method twice. Name each once."
        problems.append(Problem(f"variants[{index}].quantize.calibration", message))
    default = type(variant.quantize).model_fields["percentile"].default
    if "percentile" not in methods and variant.quantize.percentile != default:
        message = "is only used with calibration: percentile. Remove it, or add that method."
        problems.append(Problem(f"variants[{index}].quantize.percentile", message))
    return problems


def _check_reference(variants: Mapping[int, Variant]) -> list[Problem]:
    references = [variant.name for variant in variants.values() if variant.is_reference]
    if not references:
        return [Problem("variants", "none is the reference. Add one without prune and quantize, e.g. `- name: fp32`.")]
    if len(references) > 1:
        message = f"{', '.join(references)} are all uncompressed. Keep one as the reference."
        return [Problem("variants", message)]
    return []


def _check_targets(sections: Sections, targets: Mapping[str, Target], targets_file: str) -> list[Problem]:
    problems = []
    for index, name in sections.targets.items():
        key = f"targets[{index}]"
        if any(name == other for place, other in sections.targets.items() if place < index):
            problems.append(Problem(key, f'"{name}" is named twice. Keep one.'))
            continue
        if name not in targets:
            problems.append(Problem(key, f'"{name}" is not in {targets_file}. {did_you_mean(name, list(targets))}'))
            continue
        if targets[name].engine != "onnxruntime":
            message = (
                f'"{name}" runs engine {targets[name].engine}, which no variant of this recipe is exported for '
                "(they export ONNX). Choose a target whose engine is onnxruntime."
            )
            problems.append(Problem(key, message))
    return problems


def _check_gate(gate: GateSettings, variants: Mapping[int, Variant] | None) -> list[Problem]:
    problems = []
    if variants is not None:
        compressed = sum(not variant.is_reference for variant in variants.values())
        if gate.candidates > max(1, compressed):
            message = (
                f"{gate.candidates} is more than the {compressed} compressed variant{'' if compressed == 1 else 's'} of "
                "this recipe. Lower it: the risk is divided by it."
            )
            problems.append(Problem("gate.candidates", message))
    # A median lies above the greatest of n values with probability 0.5**n: no bound can be surer than that.
    risk = (1 - gate.confidence) / gate.candidates
    needed = math.ceil(math.log2(1 / risk) - 1e-9)
    if gate.latency_processes < needed:
        message = (
            f"{gate.latency_processes} cannot bound a median latency with {gate.confidence:.4g} confidence"
            f"{f' for each of {gate.candidates} candidates' if gate.candidates > 1 else ''}: that takes at least "
            f"{needed}. Raise it, or lower gate.confidence."
        )
        problems.append(Problem("gate.latency_processes", message))
    return problems
