"""What is known of a source without loading it: its classes by name, and how many samples of each are split."""

from __future__ import annotations

import os
from pathlib import Path

from edgewright.pipeline.data_settings import (
    DataSettings,
    DigitsSettings,
    ImageFolderSettings,
    MotionSettings,
    NpzSettings,
    ShuttleSettings,
    SolarCellsSettings,
)
from edgewright.pipeline.datasets import digits, motion, shuttle, solar_cells

# Samples that are split, by source and class, where they are known without loading.
_DIGITS_PER_CLASS = {
    "shipped": (1_900,) * 10,
    "full": (5_923, 6_742, 5_958, 6_131, 5_842, 5_421, 5_918, 6_265, 5_851, 5_949),
}
_SHUTTLE_PER_CLASS = (45_586, 3_511)
_SOLAR_CELLS_PER_CLASS = (1_803, 821)


def known_classes(data: DataSettings) -> tuple[str, ...]:
    """The classes' names where they are known without loading; none otherwise."""
    match data:
        case DigitsSettings():
            return digits.LABELS_NAMES
        case MotionSettings():
            return motion.LABELS_NAMES
        case ShuttleSettings():
            return shuttle.LABELS_NAMES
        case SolarCellsSettings():
            return solar_cells.LABELS_NAMES
        case ImageFolderSettings() if os.path.isdir(data.path):  # False too where the system refuses the very name
            return tuple(sorted(entry.name for entry in Path(data.path).iterdir() if entry.is_dir()))
        case NpzSettings() if data.labels_names:
            return tuple(data.labels_names)
    return ()


def known_samples(data: DataSettings) -> dict[str, int] | None:
    """Samples that are split, by class, within the limit; None where only loading can tell."""
    known = {
        "digits": _DIGITS_PER_CLASS[data.source] if isinstance(data, DigitsSettings) else (),
        "shuttle": _SHUTTLE_PER_CLASS,
        "solar_cells": _SOLAR_CELLS_PER_CLASS,
    }.get(data.dataset)
    if known is None:
        return None
    most = data.limit_per_class or max(known)
    return {name: min(most, count) for name, count in zip(known_classes(data), known, strict=True)}
