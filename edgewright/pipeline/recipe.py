"""The recipe: one YAML file from which a release is built, parsed once into strict, frozen types.

Rules of single fields stand at the field; rules between fields, and between the recipe and its targets, stand in
``edgewright.pipeline.recipe_rules``. Both are reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from edgewright.errors import DataError, Problem, RecipeError
from edgewright.pipeline.architecture import ArchitectureSettings, EntryPointSettings
from edgewright.pipeline.data_settings import DataSettings
from edgewright.pipeline.document import parse_fields, read_document
from edgewright.pipeline.model_engine import runs
from edgewright.pipeline.nightly_settings import NightlySettings
from edgewright.pipeline.recipe_rules import Sections, check_sections
from edgewright.pipeline.robustness_settings import RobustnessSettings
from edgewright.pipeline.targets import Name, Strict, Target
from edgewright.pipeline.task_settings import ClassificationSettings, TaskSettings
from edgewright.pipeline.variant_settings import Framework, Variant


class TrainingSettings(Strict):
    """How the reference is trained."""

    epochs: int = Field(ge=1, le=1000, description="passes over the training samples")
    batch_size: int = Field(128, ge=2, le=4096, description="samples per step")
    learning_rate: float = Field(3e-3, gt=0, le=1, description="peak of the one-cycle schedule")
    fine_tune_learning_rate: float = Field(
        1e-3, gt=0, le=1, description="peak of the one-cycle schedule of fine-tuning"
    )
    weight_decay: float = Field(1e-3, ge=0, le=1, description="decoupled weight decay of AdamW")
    shift_steps: int = Field(
        2,
        ge=0,
        le=64,
        description="largest random shift of training images (pixels) or windows (time steps); rows are not shifted",
    )
    noise_share: float = Field(
        0,
        ge=0,
        le=1,
        description="largest standard deviation of white noise on training samples: share of an image's full scale, or of a "
        "channel's own standard deviation; each sample gets some strength from none to this",
    )
    patience_epochs: int = Field(
        3, ge=1, le=1000, description="stop after this many epochs without a better validation loss"
    )
    threads: int = Field(1, ge=1, le=64, description="CPU threads; the weights depend on it")
    deadline_s: float = Field(3600, gt=0, le=7 * 86_400, description="a training that runs longer is ended, in seconds")
    memory_mib: int = Field(
        8192,
        ge=1024,
        le=1024**2,
        description="private memory that a process of TensorFlow may take, in MiB (keras only)",
    )


class ExportSettings(Strict):
    """How the trained model becomes a file."""

    opset: int = Field(
        18, ge=13, le=21, description="ONNX operator set; 13 for older runtimes, and the oldest with per-channel INT8"
    )
    parity_tolerance: float = Field(
        1e-3,
        gt=0,
        le=0.1,
        description="largest allowed difference of a score between the framework and the exported file, on real samples",
    )


class ObjectiveSettings(Strict):
    """How the best variant of a target is chosen, on validation figures."""

    minimize: Literal["latency", "size"] = Field("latency", description="what to minimize where it can be measured")
    max_validation_drop_points: float = Field(
        0.5, ge=0, le=100, description="variants that lose more than this on validation are not chosen, in points"
    )


class SliceSettings(Strict):
    """Parts of the test samples that are judged by themselves."""

    by: str = Field(
        min_length=1, max_length=100, description="class, group, or the name of a column that the data carries"
    )
    margin_points: float = Field(gt=0, le=100, description="largest acceptable drop in any of the parts, in points")


class GateSettings(Strict):
    """What a release must show on the test split, all of it."""

    margin_points: float = Field(
        1.0, gt=0, le=50, description="largest acceptable drop of the task's figure, in points"
    )
    confidence: float = Field(0.95, ge=0.8, le=0.999, description="confidence of every bound, one-sided")
    floor_pct: float = Field(
        gt=0, lt=100, description="lowest acceptable accuracy, balanced accuracy, AUROC or skill, in percent"
    )
    candidates: int = Field(
        1, ge=1, le=10, description="variants per target that may be put to the gate; the risk is divided among them"
    )
    latency_processes: int = Field(7, ge=5, le=101, description="fresh processes per variant in a latency measurement")
    slices: list[SliceSettings] = Field(
        [], max_length=10, description="parts of the test samples that must not drop either, each with its own margin"
    )
    agreement_pct: float | None = Field(
        None, gt=0, lt=100, description="least share of decisions that must be the reference's own, in percent"
    )
    calibration_error_points: float | None = Field(
        None, gt=0, le=50, description="largest acceptable rise of the probabilities' calibration error, in points"
    )
    robustness: RobustnessSettings | None = Field(
        None, description="corruptions of the test samples under which the drop must stay within a margin"
    )


class Recipe(Strict):
    """What a release is built from."""

    model: Name = Field(description="name of the model in the registry")
    description: str = Field("", max_length=500, description="what the model does, for people")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of weights, order of samples and augmentation")
    data: DataSettings = Field(description="which samples, and how they are split")
    task: TaskSettings = Field(
        ClassificationSettings(kind="classification"),
        description="what the model is asked, and by which figure it is judged",
    )
    framework: Framework = Field("pytorch", description="which framework trains the variants that name none themselves")
    architecture: ArchitectureSettings = Field(description="which network")
    training: TrainingSettings = Field(description="how the reference is trained")
    export: ExportSettings = Field(ExportSettings(), description="how the trained model becomes a file")
    variants: list[Variant] = Field(
        min_length=1, max_length=20, description="the variants to build; at least one uncompressed: the reference"
    )
    targets: list[Name] = Field(min_length=1, max_length=20, description="names from targets.yaml")
    objective: ObjectiveSettings = Field(ObjectiveSettings(), description="how the best variant is chosen")
    gate: GateSettings = Field(description="what a release must show on the test split")
    nightly: NightlySettings = Field(NightlySettings(), description="what a retrain does that nobody watches")

    @model_validator(mode="before")
    @classmethod
    def _hand_framework_down(cls, document: Any) -> Any:
        return with_framework(document)

    @property
    def frameworks(self) -> tuple[Framework, ...]:
        """The frameworks that train, in the order in which variants name them."""
        return tuple(dict.fromkeys(variant.framework for variant in self.variants))

    def variants_for(self, target: Target) -> tuple[Variant, ...]:
        """The variants whose files the target has an engine for."""
        return tuple(variant for variant in self.variants if runs(target, variant.format))

    def reference_for(self, target: Target) -> Variant:
        """What compression is judged against on a target: the first uncompressed variant that it runs."""
        return next(variant for variant in self.variants_for(target) if variant.is_uncompressed)

    @property
    def fine_tune_epochs(self) -> int:
        """Epochs that the reference trains on while others fine-tune, so that no variant is flattered by more training."""
        return max(map(_epochs_of, self.variants))

    def float_epochs(self, variant: Variant) -> int:
        """Epochs of fine-tuning before a variant loses bits: those with rounding in place come on top, and count too."""
        if variant.prune:
            return variant.prune.fine_tune_epochs
        return self.fine_tune_epochs - _epochs_of(variant)


def _epochs_of(variant: Variant) -> int:
    """Epochs that a variant asks for beyond the base's."""
    aware = variant.quantize.aware if variant.quantize else None
    return (variant.prune.fine_tune_epochs if variant.prune else 0) + (aware.epochs if aware else 0)


def with_framework(document: Any) -> Any:
    """Gives every variant that names no framework the recipe's; leaves what is no recipe as it is."""
    if not isinstance(document, Mapping) or not isinstance(document.get("variants"), list):
        return document
    framework = document.get("framework")
    if framework not in get_args(Framework):  # said once, at its own key
        return document
    variants = [
        {"framework": framework} | dict(entry) if isinstance(entry, Mapping) else entry
        for entry in document["variants"]
    ]
    return {**document, "variants": variants}


class _Data(Strict):
    """The section by itself: a choice among several models is no model that could be parsed alone."""

    data: DataSettings


class _Task(Strict):
    task: TaskSettings


class _Architecture(Strict):
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
    problems += _check_own_network(sections, problems)
    if problems or recipe is None:
        raise RecipeError(str(path), tuple(problems))
    return recipe


def check_recipe(recipe: Recipe, targets: Mapping[str, Target], targets_file: str) -> list[Problem]:
    """Checks the rules between fields, and between the recipe and its targets."""
    return check_sections(_sections(recipe), targets, targets_file)


def _sections(recipe: Recipe) -> Sections:
    return Sections(
        data=recipe.data,
        task=recipe.task,
        architecture=recipe.architecture,
        gate=recipe.gate,
        variants=dict(enumerate(recipe.variants)),
        all_variants=True,
        targets=dict(enumerate(recipe.targets)),
    )


def _readable_sections(document: Mapping[str, Any]) -> Sections:
    """What can be read of a recipe that breaks rules somewhere."""
    document = with_framework(document)
    entries, names = document.get("variants"), document.get("targets")
    entries, names = entries if isinstance(entries, list) else [], names if isinstance(names, list) else []
    variants = {index: parse_fields(Variant, entry)[0] for index, entry in enumerate(entries)}
    readable = {index: variant for index, variant in variants.items() if variant}

    data = parse_fields(_Data, {"data": document.get("data")})[0]
    task = parse_fields(_Task, {"task": document.get("task", {"kind": "classification"})})[0]
    architecture = parse_fields(_Architecture, {"architecture": document.get("architecture")})[0]
    return Sections(
        data=data.data if data else None,
        task=task.task if task else None,
        architecture=architecture.architecture if architecture else None,
        gate=parse_fields(GateSettings, document.get("gate"))[0],
        variants=readable,
        all_variants=bool(entries) and len(readable) == len(entries),
        targets={index: name for index, name in enumerate(names) if isinstance(name, str)},
    )


def _check_own_network(sections: Sections, found: Sequence[Problem]) -> list[Problem]:
    """Builds a network of your own on trial, where the data can be loaded.

    The networks that ship need no trial: their settings are checked field by field.
    """
    if not isinstance(sections.architecture, EntryPointSettings) or sections.data is None or sections.task is None:
        return []
    if any(problem.key.startswith(("data", "architecture", "framework")) for problem in found):
        return []
    from edgewright.pipeline.data_rules import source_facts

    try:
        facts = source_facts(sections.data, sections.task)
    except DataError as error:
        return [Problem("data", str(error))]
    variants, task = sections.variants, sections.task.kind
    if any(variant.framework == "keras" for variant in variants.values()):
        from edgewright.pipeline.keras_trial import try_network

        return try_network(sections.architecture, facts.input_shape, facts.outputs, task, variants)
    from edgewright.pipeline.models.checks import check_network  # imports PyTorch

    sparsities = {
        f"variants[{index}].prune": variant.prune.sparsity
        for index, variant in variants.items()
        if variant.prune and variant.prune.method == "channels"
    }
    return check_network(sections.architecture, facts.input_shape, facts.outputs, sparsities, task)
