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
        problems += _check_pruning(index, variant.prune, sections.architecture) if variant.prune else []
        if variant.quantize:
            problems += check_quantization(index, variant.quantize, sections.architecture)
    if sections.all_variants:
        problems += _check_reference(sections.variants)
    if targets is not None:
        problems += _check_targets(sections, targets, targets_file)
    if sections.gate:
        problems += _check_gate(sections.gate, sections.variants if sections.all_variants else None)
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
    twins = [other.name for other in earlier if (other.prune, other.quantize) == (variant.prune, variant.quantize)]
    if twins and not variant.is_reference:
        message = f'"{variant.name}" is built exactly like "{twins[0]}". Remove one.'
        problems.append(Problem(f"variants[{index}]", message))
    return problems


def _check_pruning(index: int, prune: PruneSettings, architecture: ArchitectureSettings | None) -> list[Problem]:
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
    channels = prune.method == "channels"
    nothing = architecture.nothing_to_prune(prune.sparsity) if architecture and channels else None
    if nothing:
        problems.append(Problem(f"{key}.sparsity", nothing))
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
        dynamic = [
            each.name for each in sections.variants.values() if each.quantize and each.quantize.method == "dynamic"
        ]
        if dynamic and targets[name].activation_type != "uint8":
            message = (
                f'"{name}" asks for {targets[name].activation_type} activations; dynamic INT8 ({", ".join(dynamic)}) finds '
                "uint8 ones. Leave the target or the variant out."
            )
            problems.append(Problem(key, message))
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
