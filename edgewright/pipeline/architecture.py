"""The networks that a recipe can choose, each with its own settings, told apart by ``name``.

The networks themselves stand in ``edgewright.pipeline.models``. Nothing here imports a framework: a recipe is checked in
milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from edgewright.errors import StageError
from edgewright.pipeline.broken_rule import show_value
from edgewright.pipeline.entry_points import check_form, entry_point_sha256
from edgewright.pipeline.pruning.channels import CHANNEL_MULTIPLE, kept_channels, kept_heads, scaled_width
from edgewright.pipeline.targets import Strict
from edgewright.preprocessing import SampleKind

# The tracking server keeps parameters up to 6,000 characters; nobody reads that many in a table.
_TEXT_CHARACTERS = 200
_WIDEST_OF_MOBILENET = 1024
_WIDEST_DENSE = 4096

TaskKind = Literal["classification", "anomaly", "regression"]


class Architecture(Strict):
    """What all architectures have in common."""

    def network_settings(self) -> dict[str, Any]:
        """What ``build_model`` passes to the network, as plain JSON values."""
        return self.model_dump(mode="json", exclude={"name"})

    def identity(self) -> dict[str, Any]:
        """What the network is, as plain JSON values: another identity is another training.

        Raises:
            StageError: The sources of a network of your own cannot be found.
        """
        return self.model_dump(mode="json")

    def described(self) -> dict[str, str]:
        """The settings as short texts, for tracking."""
        return {key: _text(value) for key, value in self.network_settings().items()}

    def nothing_to_prune(self, sparsity: float) -> str | None:
        """Why this share of channels would remove nothing; None where it removes some, or where only a trial can tell."""
        return None

    def refuses(self, kind: SampleKind) -> str | None:
        """Why the network does not suit samples of this kind, and what does; None where it suits them."""
        return None

    def refuses_task(self, task: TaskKind) -> str | None:
        """Why the network cannot answer this kind of question, and what can; None where it can."""
        return None


class _OverPlaces(Architecture):
    """A network that looks for the same patterns at every place of a sample, and averages over the places."""

    name: str

    def refuses(self, kind: SampleKind) -> str | None:
        """See the base class."""
        if kind != "row":
            return None
        return (
            f"{self.name} looks for patterns among neighbours, which the attributes of a row are not. Choose mlp, "
            "autoencoder (task anomaly), or a network of your own."
        )

    def refuses_task(self, task: TaskKind) -> str | None:
        """See the base class."""
        if task != "anomaly":
            return None
        return (
            f"{self.name} averages over the places of a sample and cannot reproduce it. Choose autoencoder, or a network of "
            "your own."
        )


class ResNet8Settings(_OverPlaces):
    """ResNet-8 of MLPerf Tiny, in any width: the sound choice for small images."""

    name: Literal["resnet8"] = Field(description="architecture")
    widths: list[int] = Field([32, 64, 128], min_length=3, max_length=3, description="channels of the three stages")

    @field_validator("widths")
    @classmethod
    def _widths_are_multiples(cls, widths: list[int]) -> list[int]:
        _refuse_odd(widths, 1024)
        return widths

    def nothing_to_prune(self, sparsity: float) -> str | None:
        """See the base class."""
        return _removes_nothing(self.widths, sparsity, "widen architecture.widths")


class MobileNetV1Settings(_OverPlaces):
    """MobileNetV1: depthwise-separable and small; on CPUs it gains less from INT8 than its size promises."""

    name: Literal["mobilenet_v1"] = Field(description="architecture")
    width_factor: float = Field(
        0.25, ge=0.125, le=2, description="channels as a share of the original's, rounded to multiples of 8"
    )

    def nothing_to_prune(self, sparsity: float) -> str | None:
        """See the base class."""
        widest = scaled_width(_WIDEST_OF_MOBILENET, self.width_factor)
        return _removes_nothing([widest], sparsity, "raise architecture.width_factor")


class DsCnnSettings(_OverPlaces):
    """DS-CNN: depthwise-separable blocks of one width, for small images and sensor windows."""

    name: Literal["ds_cnn"] = Field(description="architecture")
    channels: int = Field(64, ge=8, le=1024, multiple_of=8, description="channels of every layer")
    blocks: int = Field(4, ge=1, le=32, description="depthwise-separable blocks")
    kernel: Literal[3, 5, 7, 9] = Field(3, description="side of the filters, in pixels or samples")

    def nothing_to_prune(self, sparsity: float) -> str | None:
        """See the base class."""
        return _removes_nothing([self.channels], sparsity, "raise architecture.channels")


class VitSettings(_OverPlaces):
    """A small vision transformer; pruning removes attention heads and hidden channels, the width of a token stays."""

    name: Literal["vit"] = Field(description="architecture")
    patch: int = Field(4, ge=1, le=64, description="side of a patch, in pixels or samples")
    embedding: int = Field(64, ge=8, le=1024, multiple_of=8, description="width of a token")
    depth: int = Field(4, ge=1, le=24, description="encoder blocks")
    heads: int = Field(4, ge=1, le=32, description="attention heads of a block")
    mlp_width: int = Field(128, ge=8, le=4096, multiple_of=8, description="hidden channels of a block")

    @model_validator(mode="after")
    def _heads_are_wide_enough(self) -> VitSettings:
        if self.embedding % (CHANNEL_MULTIPLE * self.heads):
            raise ValueError(
                f"embedding {self.embedding} over {self.heads} heads does not give each a multiple of {CHANNEL_MULTIPLE} "
                f"channels. Set embedding to a multiple of {CHANNEL_MULTIPLE * self.heads}, or change heads."
            )
        return self

    def nothing_to_prune(self, sparsity: float) -> str | None:
        """See the base class."""
        if kept_heads(self.heads, sparsity) < self.heads:
            return None
        return _removes_nothing([self.mlp_width], sparsity, "raise architecture.mlp_width or architecture.heads")


class MlpSettings(Architecture):
    """A multilayer perceptron: the sound choice for rows of attributes."""

    name: Literal["mlp"] = Field(description="architecture")
    widths: list[int] = Field([64, 32], min_length=1, max_length=8, description="hidden channels of each layer")

    @field_validator("widths")
    @classmethod
    def _widths_are_multiples(cls, widths: list[int]) -> list[int]:
        _refuse_odd(widths, _WIDEST_DENSE)
        return widths

    def nothing_to_prune(self, sparsity: float) -> str | None:
        """See the base class."""
        return _removes_nothing(self.widths, sparsity, "widen architecture.widths")

    def refuses_task(self, task: TaskKind) -> str | None:
        """See the base class."""
        if task != "anomaly":
            return None
        return (
            "mlp has no narrow place, and would copy anomalies as well. Choose autoencoder, or a network of your own."
        )


class AutoencoderSettings(Architecture):
    """A fully connected autoencoder for task anomaly: it learns to reproduce what is normal; pruning leaves its code."""

    name: Literal["autoencoder"] = Field(description="architecture")
    widths: list[int] = Field(
        [64, 32, 8],
        min_length=2,
        max_length=8,
        description="channels of the encoder, mirrored by the decoder; the last is the code, which may have any width",
    )

    @field_validator("widths")
    @classmethod
    def _widths_are_multiples(cls, widths: list[int]) -> list[int]:
        _refuse_odd(widths[:-1], _WIDEST_DENSE)
        if not 1 <= widths[-1] <= _WIDEST_DENSE:
            raise ValueError(
                f"a code of {show_value(widths[-1])} (the last width) is not between 1 and {_WIDEST_DENSE}."
            )
        return widths

    def nothing_to_prune(self, sparsity: float) -> str | None:
        """See the base class."""
        return _removes_nothing(self.widths[:-1], sparsity, "widen architecture.widths")

    def refuses_task(self, task: TaskKind) -> str | None:
        """See the base class."""
        if task == "anomaly":
            return None
        return "autoencoder reproduces its input, which answers task anomaly alone. Choose another network, e.g. mlp."


class EntryPointSettings(Architecture):
    """A network of your own: a ``torch.nn.Module`` class, or with framework keras what gives a ``tf_keras.Model``."""

    name: Literal["entry_point"] = Field(description="architecture")
    entry_point: str = Field(
        max_length=200, description="package.module:name of the class; with framework keras of a class or function"
    )
    arguments: dict[str, JsonValue] = Field({}, description="its keyword arguments")

    @field_validator("entry_point")
    @classmethod
    def _names_a_class(cls, entry_point: str) -> str:
        try:
            check_form(entry_point)
        except StageError as error:
            raise ValueError(str(error)) from error
        return entry_point

    def identity(self) -> dict[str, Any]:
        """See the base class."""
        return super().identity() | {"source_sha256": entry_point_sha256(self.entry_point)}


ArchitectureSettings = Annotated[
    ResNet8Settings
    | MobileNetV1Settings
    | DsCnnSettings
    | VitSettings
    | MlpSettings
    | AutoencoderSettings
    | EntryPointSettings,
    Field(discriminator="name"),
]


def _refuse_odd(widths: Sequence[int], most: int) -> None:
    bad = [width for width in widths if width < CHANNEL_MULTIPLE or width > most or width % CHANNEL_MULTIPLE]
    if bad:
        raise ValueError(
            f"{show_value(bad[0])} is not a multiple of {CHANNEL_MULTIPLE} from {CHANNEL_MULTIPLE} to {most}: other widths "
            "run slower on CPUs."
        )


def _removes_nothing(widths: Sequence[int], sparsity: float, remedy: str) -> str | None:
    if any(kept_channels(width, sparsity) < width for width in widths):
        return None
    return (
        f"{sparsity:g} removes no channel of widths {list(widths)}, of which multiples of {CHANNEL_MULTIPLE} are kept. "
        f"Raise it, or {remedy}."
    )


def _text(value: Any) -> str:
    text = "/".join(str(part) for part in value) if isinstance(value, list) else value
    text = text if isinstance(text, str) else json.dumps(text)
    return text if len(text) <= _TEXT_CHARACTERS else text[:_TEXT_CHARACTERS] + "…"
