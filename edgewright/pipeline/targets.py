"""Targets: the classes of device that a release is built for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from edgewright.errors import Problem, RecipeError
from edgewright.pipeline.broken_rule import show_value
from edgewright.pipeline.document import parse_fields, read_document
from edgewright.pipeline.images.platform import why_not

# Registered model names are `<model>.<target>`; these characters are safe in them, in file names and in image tags.
NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Platform = Literal["linux/amd64", "linux/arm64", "linux/arm/v7"]
IntegerType = Literal["uint8", "int8"]
EngineName = Literal["onnxruntime", "litert"]


class Strict(BaseModel):
    """A frozen section of a document that knows no key but its own and converts no types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class BudgetSettings(Strict):
    """What a model may cost on the device; what is left out is not limited."""

    latency_p95_ms: float | None = Field(
        None, gt=0, le=60_000, description="95th percentile of the latency of one inference, in milliseconds"
    )
    size_kib: float | None = Field(None, gt=0, le=4 * 1024**2, description="size of the model file, in KiB")
    peak_memory_mib: float | None = Field(
        None, gt=0, le=1024**2, description="peak resident memory of a fresh process that serves the model, in MiB"
    )


class Target(Strict):
    """One class of device."""

    description: str = Field("", max_length=200, description="what this device is, for people")
    platform: Platform = Field(description="operating system and architecture")
    engines: list[EngineName] = Field(
        min_length=1,
        max_length=2,
        description="what can run a model there: onnxruntime runs ONNX files, litert TFLite files; with both, the best "
        "variant is chosen across both",
    )
    providers: list[str] = Field(
        ["CPUExecutionProvider"],
        min_length=1,
        max_length=8,
        description="ONNX Runtime execution providers in order of preference",
    )
    xnnpack: bool = Field(
        True,
        description="LiteRT runs operators with XNNPACK's kernels where it has some; false: with its built-in ones",
    )
    required_provider: str | None = Field(
        None,
        description="the provider (with LiteRT: XNNPACK or builtin) that must really run the model; a fall-back to another "
        "fails the gate; with both engines it is asked only of files that its own engine runs",
    )
    threads: int = Field(1, ge=1, le=64, description="intra-op threads of one inference")
    allow_spinning: bool = Field(False, description="threads spin while waiting; faster alone, harmful on shared cores")
    activation_type: IntegerType = Field(
        "uint8",
        description="integer type of INT8 activations (x86: uint8; other CPUs may prefer int8); with TFLite of the model's "
        "input and output",
    )
    weight_type: IntegerType = Field("int8", description="integer type of INT8 weights")
    budgets: BudgetSettings = Field(BudgetSettings(), description="what a model may cost on the device")
    pays: list[Literal["latency", "size"]] = Field(
        min_length=1, max_length=2, description="what compression must improve here, beyond noise"
    )

    @field_validator("providers")
    @classmethod
    def _providers_distinct(cls, providers: list[str]) -> list[str]:
        twice = [name for index, name in enumerate(providers) if name in providers[:index]]
        if twice:
            raise ValueError(f"names a provider twice: {twice[0]}. List each once, the preferred first.")
        unknown = [name for name in providers if not name.endswith("ExecutionProvider")]
        if unknown:
            raise ValueError(
                f"{show_value(unknown[0])} is not a provider's name: it ends in ExecutionProvider, e.g. CPUExecutionProvider."
            )
        return providers

    @field_validator("engines")
    @classmethod
    def _engines_distinct(cls, engines: list[EngineName]) -> list[EngineName]:
        if len(set(engines)) != len(engines):
            raise ValueError(f"names an engine twice: {engines[0]}. Name it once.")
        return engines

    @field_validator("pays")
    @classmethod
    def _pays_distinct(cls, pays: list[str]) -> list[str]:
        if len(set(pays)) != len(pays):
            raise ValueError(f"names a benefit twice: {pays[0]}. Name it once.")
        return pays


def load_targets(path: Path) -> dict[str, Target]:
    """Reads ``targets.yaml``.

    Returns:
        Targets by name, in the file's order.

    Raises:
        RecipeError: The file breaks rules; all problems at once.
    """
    targets: dict[str, Target] = {}
    problems: list[Problem] = []
    for name, value in read_document(path).items():
        target, found = parse_fields(Target, value, name)
        problems += _check_name(name) + found
        if target is not None:
            problems += _check_engines(name, target) + _check_providers(name, target) + _check_types(name, target)
            targets[name] = target
    if not (targets or problems):
        problems = [Problem("(file)", "names no target. Describe at least one.")]
    if problems:
        raise RecipeError(str(path), tuple(problems))
    return targets


def _check_name(name: str) -> list[Problem]:
    if re.fullmatch(NAME_PATTERN, name):
        return []
    rule = "lower-case letters, digits and hyphens between them, at most 40 characters"
    return [Problem(name[:40] or '""', f"{show_value(name)} cannot name a target: use {rule}.")]


def _check_engines(name: str, target: Target) -> list[Problem]:
    """Refuse before anything is built what no device of that platform could run, and no image could hold."""
    reasons = [why_not(target.platform, engine) for engine in target.engines]
    return [Problem(f"{name}.engines", reason) for reason in reasons if reason is not None]


def _check_providers(name: str, target: Target) -> list[Problem]:
    possible = target.providers if "onnxruntime" in target.engines else []
    possible = [*possible, *((("XNNPACK" if target.xnnpack else "builtin"),) if "litert" in target.engines else ())]
    if target.required_provider is None or target.required_provider in possible:
        return []
    known = ", ".join(possible)
    message = (
        f"{show_value(target.required_provider)} is not among the target's providers ({known}). Add it there, first."
    )
    return [Problem(f"{name}.required_provider", message)]


def _check_types(name: str, target: Target) -> list[Problem]:
    if target.weight_type == "int8":
        return []
    if target.activation_type == "int8":
        message = "uint8 does not go with int8 activations: no kernel takes that pair. Set weight_type: int8."
    elif "litert" in target.engines:
        message = "uint8 is no type of weights in TFLite files. Set weight_type: int8, or leave litert out of engines."
    else:
        return []
    return [Problem(f"{name}.weight_type", message)]
