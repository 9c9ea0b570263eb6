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
from edgewright.pipeline.closer_rules import check_closer_gate, check_quantization
from edgewright.pipeline.data_rules import check_data, kind_of
from edgewright.pipeline.framework_rules import OF_POLYNOMIAL_DECAY, check_framework, check_frameworks
from edgewright.pipeline.model_engine import runs
from edgewright.pipeline.targets import Target

if TYPE_CHECKING:
    from edgewright.pipeline.architecture import ArchitectureSettings
    from edgewright.pipeline.data_settings import DataSettings
    from edgewright.pipeline.recipe import GateSettings
    from edgewright.pipeline.task_settings import TaskSettings
    from edgewright.pipeline.variant_settings import PruneSettings, Variant


@dataclass(frozen=True)
class Sections:
    """What of a recipe could be read.

    Attributes:
        data: None where it breaks rules of its own; likewise ``task``, ``architecture`` and ``gate``.
        task: See ``data``.
        architecture: See ``data``.
        gate: See ``data``.
        variants: The readable variants by their place in the list.
        all_variants: Whether that is all of them.
        targets: The readable names by their place in the list.
    """

    data: DataSettings | None
    task: TaskSettings | None
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
    problems = check_data(sections.data, sections.task) if sections.data and sections.task else []
    if sections.task and sections.architecture:
        problems += _check_network(sections.task, sections.architecture, sections.data)
    for index, variant in sections.variants.items():
        problems += _check_uniqueness(index, variant, sections.variants)
        problems += check_framework(index, variant, sections.architecture)
        problems += _check_pruning(index, variant.prune, sections.architecture) if variant.prune else []
        if variant.quantize:
            problems += check_quantization(index, variant.quantize, variant.format, sections.architecture)
    problems += check_frameworks(sections.variants, sections.architecture)
    if sections.all_variants:
        problems += _check_reference(sections.variants)
    if targets is not None:
        problems += _check_targets(sections, targets, targets_file)
    if sections.gate:
        problems += _check_candidates(sections.gate, sections, targets or {}) if sections.all_variants else []
        problems += _check_processes(sections.gate)
        problems += check_closer_gate(sections.gate, sections.task, sections.data)
    return problems


def _check_network(task: TaskSettings, architecture: ArchitectureSettings, data: DataSettings | None) -> list[Problem]:
    """Whether a network of this kind can answer such a question about such samples."""
    refusals = (architecture.refuses_task(task.kind), architecture.refuses(kind_of(data)) if data else None)
    return [Problem("architecture.name", refusal) for refusal in dict.fromkeys(refusals) if refusal]


def _check_uniqueness(index: int, variant: Variant, variants: Mapping[int, Variant]) -> list[Problem]:
    earlier = [other for place, other in variants.items() if place < index]
    problems = []
    if any(other.name == variant.name for other in earlier):
        problems.append(Problem(f"variants[{index}].name", f'"{variant.name}" is used twice. Names must differ.'))
    how = variant.model_dump(exclude={"name"})
    twins = [other.name for other in earlier if other.model_dump(exclude={"name"}) == how]
    if twins and not variant.is_uncompressed:
        message = f'"{variant.name}" is built exactly like "{twins[0]}". Remove one.'
        problems.append(Problem(f"variants[{index}]", message))
    return problems


def _check_pruning(index: int, prune: PruneSettings, architecture: ArchitectureSettings | None) -> list[Problem]:
    key, problems = f"variants[{index}].prune", []
    if prune.schedule == "one_shot":
        problems += [
            Problem(f"{key}.{name}", "is only used with schedule: polynomial. Remove it, or set that schedule.")
            for name in ("steps", "power", *OF_POLYNOMIAL_DECAY)
            if getattr(prune, name) != type(prune).model_fields[name].default
        ]
    elif prune.fine_tune_epochs < 2:
        message = (
            "1 leaves no whole epoch to recover in: a polynomial schedule prunes during the first half of fine-tuning. "
            "Set at least 2, or schedule: one_shot."
        )
        problems.append(Problem(f"{key}.fine_tune_epochs", message))
    channels = prune.method == "channels"
    nothing = architecture.nothing_to_prune(prune.sparsity) if architecture and channels else None
    if nothing:
        problems.append(Problem(f"{key}.sparsity", nothing))
    return problems


def _check_reference(variants: Mapping[int, Variant]) -> list[Problem]:
    uncompressed = [variant for variant in variants.values() if variant.is_uncompressed]
    if not uncompressed:
        return [Problem("variants", "none is the reference. Add one without prune and quantize, e.g. `- name: fp32`.")]
    problems = []
    for framework, model_format in dict.fromkeys((each.framework, each.format) for each in uncompressed):
        alike = [each.name for each in uncompressed if (each.framework, each.format) == (framework, model_format)]
        if len(alike) > 1:
            message = f"{', '.join(alike)} are all uncompressed. Keep one as the reference."
            problems.append(Problem("variants", message))
    return problems


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
        problems += _check_engines(key, name, targets[name], sections)
    return problems


def _check_engines(key: str, name: str, target: Target, sections: Sections) -> list[Problem]:
    """Whether what this recipe makes can run on a target."""
    served = [variant for variant in sections.variants.values() if runs(target, variant.format)]
    dynamic = [
        each.name for each in served if each.format == "onnx" and each.quantize and each.quantize.method == "dynamic"
    ]
    problems = []
    if dynamic and target.activation_type != "uint8":
        message = (
            f'"{name}" asks for {target.activation_type} activations; dynamic INT8 ({", ".join(dynamic)}) finds uint8 ones. '
            "Leave the target or the variant out."
        )
        problems.append(Problem(key, message))
    references = any(variant.is_uncompressed for variant in sections.variants.values())
    if sections.all_variants and references and not any(variant.is_uncompressed for variant in served):
        example = "- {name: tfl-fp32, framework: keras}" if target.engines == ["litert"] else "- name: fp32"
        message = (
            f'"{name}" runs {" and ".join(target.engines)}, for which this recipe makes no uncompressed variant to judge the '
            f"others against. Add one, e.g. `{example}`, or choose another target."
        )
        problems.append(Problem(key, message))
    return problems


def _check_candidates(gate: GateSettings, sections: Sections, targets: Mapping[str, Target]) -> list[Problem]:
    """Whether every target runs as many variants beside its reference as may be put to the gate."""
    variants = sections.variants.values()
    others = {"this recipe": len(variants) - 1}
    for name in sections.targets.values():
        served = sum(runs(targets[name], each.format) for each in variants) if name in targets else len(variants)
        if 0 < served < len(variants):  # a target that runs nothing is told of by itself
            others[f'this recipe that "{name}" runs'] = served - 1
    where, least = min(others.items(), key=lambda entry: entry[1])
    if gate.candidates <= max(1, least):
        return []
    message = (
        f"{gate.candidates} is more than the {least} compressed variant{'' if least == 1 else 's'} of {where}. Lower it: "
        "the risk is divided by it."
    )
    return [Problem("gate.candidates", message)]


def _check_processes(gate: GateSettings) -> list[Problem]:
    """Whether so many processes can bound a median at all."""
    problems = []
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
