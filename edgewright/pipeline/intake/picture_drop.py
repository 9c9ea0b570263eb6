"""Reads a delivered picture: its folder says the class, its name the group, as in the model's own folder of pictures."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from edgewright.errors import DataError
from edgewright.pipeline.data_settings import ImageFolderSettings
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.image_folder import FILE, SUFFIXES, find_groups, read_picture
from edgewright.pipeline.intake.drop import Drop, RejectedError, check_like, class_positions


def read_delivered_picture(name: str, content: bytes, base: Dataset, data: ImageFolderSettings) -> Drop:
    """Reads a delivered file.

    Args:
        name: Its path: the class's folder and the file.
        content: Its bytes.
        base: The model's own data, whose form it must have.
        data: How pictures are read.

    Raises:
        RejectedError: It cannot be taken.
    """
    place = PurePosixPath(name)
    if len(place.parts) != 2:
        raise RejectedError("lies beside the class folders. Put it into the folder of its class.")
    if place.suffix.lower() not in SUFFIXES:
        raise RejectedError(f"is not a picture ({' '.join(SUFFIXES)}). Convert it.")
    try:
        labels = class_positions(base, [place.parts[0]])
        groups = find_groups([Path(name)], data.group_pattern) if data.group_pattern else None
        size_px = (data.size_px[0], data.size_px[1]) if data.size_px else None
        picture = read_picture(Path(name), data.mode, size_px, content)[np.newaxis]
        check_like(base, picture)
        dataset = Dataset(
            name=base.name,
            images=picture,
            labels=np.array(labels, dtype=np.int64),
            labels_names=base.labels_names,
            fixed_split=None,
            groups=groups,
            source=name,
            columns={FILE: (name,)},
        )
    except RejectedError:
        raise
    except DataError as error:
        raise RejectedError(str(error)) from error
    return Drop(dataset, 1, 0)
