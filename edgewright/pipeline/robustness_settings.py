"""The gate's section ``robustness``: under which corruptions a variant is compared with its reference."""

from __future__ import annotations

from pydantic import Field, field_validator

from edgewright.errors import Problem
from edgewright.pipeline.broken_rule import did_you_mean, show_value
from edgewright.pipeline.corruptions import CORRUPTIONS, corruptions_for
from edgewright.pipeline.targets import Strict
from edgewright.preprocessing import SampleKind


class RobustnessSettings(Strict):
    """What a variant may lose against the reference where both see corrupted samples."""

    corruptions: list[str] = Field(
        min_length=1, max_length=len(CORRUPTIONS), description="names of corruptions of raw test samples"
    )
    margin_points: float = Field(
        3.0, gt=0, le=50, description="largest acceptable drop against the reference under each corruption, in points"
    )
    samples: int = Field(
        2000, ge=100, le=100_000, description="test samples to corrupt; of more, those with the smallest digests"
    )

    @field_validator("corruptions")
    @classmethod
    def _known_and_distinct(cls, names: list[str]) -> list[str]:
        for index, name in enumerate(names):
            if name not in CORRUPTIONS:
                raise ValueError(f"{show_value(name)} is not a corruption. {did_you_mean(name, tuple(CORRUPTIONS))}")
            if name in names[:index]:
                raise ValueError(f"names a corruption twice: {name}. List each once.")
        return names


def check_robustness(settings: RobustnessSettings, kind: SampleKind, channels: int | None = None) -> list[Problem]:
    """Find the corruptions that do not apply to the data.

    Args:
        settings: The section.
        kind: What a sample of the data is.
        channels: How many channels or attributes a sample has, where that is known.

    Returns:
        Problems with keys that start at the section, e.g. ``corruptions[1]``.
    """
    problems = []
    for index, name in enumerate(settings.corruptions):
        corruption, key = CORRUPTIONS[name], f"corruptions[{index}]"
        if kind not in corruption.kinds:
            known = ", ".join(corruptions_for(kind))
            problems.append(
                Problem(key, f'"{name}" does not apply to samples of the kind {kind}. Use one of: {known}.')
            )
        elif channels is not None and channels < corruption.least_channels:
            least = corruption.least_channels
            problems.append(
                Problem(key, f'"{name}" needs at least {least} channels, a sample has {channels}. Remove it.')
            )
    return problems
