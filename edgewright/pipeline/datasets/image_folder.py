"""Your own pictures: one folder per class, the folder's name is the label.

Every file must be a picture that can be taken as it is. What would need a guess (16 bits per channel, transparency, a
second frame, a nested folder, a text file) is an error that names the file: a guess here would be one that the device
does not make.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from edgewright.errors import DataError
from edgewright.pipeline.datasets.arrays import check_class_names
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.shipped import file_sha256

Mode = Literal["grey", "rgb"]

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# 50 million pixels are 150 MB as RGB; a 10 kB file can claim more, and means harm or a mistake.
MAX_PIXELS = 50_000_000

FILE = "file"  # the column that holds each picture's path

_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_PILLOW_MODES: dict[str, str] = {"grey": "L", "rgb": "RGB"}
_EIGHT_BIT_MODES = ("1", "L", "P", "RGB")
_SHOWN_FILES = 5


def load(
    folder: Path,
    mode: Mode,
    size_px: tuple[int, int] | None = None,
    group_pattern: str | None = None,
    name: str | None = None,
) -> Dataset:
    """Load a folder of class folders.

    Args:
        folder: Holds one folder per class, and those hold pictures, nothing else.
        mode: ``grey``: one channel, colours weighed 0.299 R + 0.587 G + 0.114 B. ``rgb``: three, grey ones repeated.
        size_px: Height and width that every picture is stretched to, bilinear over all pixels that a new one covers;
            None: all pictures must be of one size already.
        group_pattern: Regular expression that finds a picture's group (part, person, day) in its file name without
            suffix: the first parenthesis, e.g. ``^(part[0-9]+)_``. None: every picture stands alone.
        name: What the data set is called; None takes the folder's name.

    Returns:
        uint8 ``[N, H, W]`` (grey) or ``[N, H, W, 3]`` (rgb), turned upright as the camera noted it; sorted by class,
        then by file name. Column ``file`` holds each one's path below the folder.

    Raises:
        DataError: A file is odd, unreadable or of another size, fewer than two classes, or a class without pictures.
    """
    if mode not in _PILLOW_MODES:
        raise DataError(f'{folder}: mode is "{mode}", needs to be "grey" or "rgb".')
    if size_px is not None and (len(size_px) != 2 or min(size_px) < 1 or size_px[0] * size_px[1] > MAX_PIXELS):
        raise DataError(f"{folder}: size_px is {size_px}, needs a height and a width of at least 1 pixel each.")
    classes = _list_classes(folder)
    files = [file for pictures in classes.values() for file in pictures]
    groups = None if group_pattern is None else find_groups(files, group_pattern)
    return Dataset(
        name=name or folder.resolve().name,
        images=_stack(files, [read_picture(file, mode, size_px) for file in files]),
        labels=np.repeat(np.arange(len(classes)), [len(pictures) for pictures in classes.values()]),
        labels_names=tuple(classes),
        fixed_split=None,
        groups=groups,
        source=str(folder),
        columns={FILE: tuple(file.relative_to(folder).as_posix() for file in files)},
    )


def source_sha256(folder: Path) -> dict[str, str]:
    """Digest the files that ``load`` would read, without decoding them.

    Returns:
        sha256 (hex) by path below the folder.

    Raises:
        DataError: As ``load`` for what the folders hold.
    """
    files = [file for pictures in _list_classes(folder).values() for file in pictures]
    return {file.relative_to(folder).as_posix(): file_sha256(file) for file in files}


def _list_classes(folder: Path) -> dict[str, list[Path]]:
    """Give each class's pictures, sorted, by class name, sorted."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, needs one that holds a folder per class. Correct the path.")
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    _refuse(folder, [entry for entry in entries if not entry.is_dir()], "lies beside the class folders")
    classes: dict[str, list[Path]] = {}
    for entry in entries:
        files = sorted(entry.iterdir(), key=lambda file: file.name)
        _refuse(folder, [file for file in files if not file.is_file()], "is not a file")
        odd = [file for file in files if file.suffix.lower() not in SUFFIXES or file.name.startswith(".")]
        _refuse(folder, odd, f"is not a picture ({' '.join(SUFFIXES)})")
        if not files:
            raise DataError(f"{entry}: the class has no picture, needs at least one. Add some or remove the folder.")
        classes[entry.name] = files
    if len(classes) < 2:
        raise DataError(
            f"{folder}: holds {len(classes)} class folders, needs at least two. Sort the pictures by class."
        )
    check_class_names(str(folder), list(classes))
    return classes


def _refuse(folder: Path, odd: list[Path], what: str) -> None:
    if odd:
        more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
        names = ", ".join(path.relative_to(folder).as_posix() for path in odd[1:_SHOWN_FILES])
        raise DataError(f"{odd[0]}: {what}{more}{': ' + names if names else ''}. Move or delete it.")


def find_groups(files: list[Path], pattern: str) -> tuple[str, ...]:
    """Find each picture's group in its file name.

    Raises:
        DataError: The pattern is none, or finds nothing in a name.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(f'group_pattern "{pattern}" is not a regular expression ({error}). Correct it.') from error
    if not compiled.groups:
        raise DataError(f'group_pattern "{pattern}" has no parenthesis. Put one around what names the group.')
    groups = []
    for file in files:
        found = compiled.search(file.stem)
        if not found or not found.group(1):
            raise DataError(
                f'{file}: group_pattern "{pattern}" finds no group in its name. Rename it or widen the pattern.'
            )
        groups.append(found.group(1))
    return tuple(groups)


def read_picture(
    file: Path, mode: Mode, size_px: tuple[int, int] | None, content: bytes | None = None
) -> npt.NDArray[np.uint8]:
    """Read one picture.

    Args:
        file: The picture.
        mode: As in ``load``.
        size_px: As in ``load``; None leaves its size.
        content: The file's bytes where they were read already.

    Returns:
        uint8 ``[H, W]`` or ``[H, W, 3]``.

    Raises:
        DataError: It is no picture that can be taken as it is.
    """
    source = file if content is None else io.BytesIO(content)
    try:
        with _warnings_as_errors(), Image.open(source, formats=_FORMATS) as picture:
            _check_picture(file, picture)
            upright = ImageOps.exif_transpose(picture).convert(_PILLOW_MODES[mode])
    except DataError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise nearly anything, TypeError and KeyError too
        said = str(error).replace(repr(source), "these bytes")
        raise DataError(
            f"{file}: not a readable picture ({type(error).__name__}: {said}). Replace or remove it."
        ) from error
    if size_px is not None and upright.size != (size_px[1], size_px[0]):
        upright = upright.resize((size_px[1], size_px[0]), Image.Resampling.BILINEAR)
    return np.asarray(upright, dtype=np.uint8)


@contextmanager
def _warnings_as_errors() -> Iterator[None]:
    """Pillow warns of damage that it reads around; nobody would see that, and a device need not read around it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module=r"PIL\.")
        yield


def _check_picture(file: Path, picture: Image.Image) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise DataError(
            f"{file}: {picture.height} x {picture.width} pixels, may be {MAX_PIXELS} in all at most. Scale it down."
        )
    frames = getattr(picture, "n_frames", 1)
    if frames != 1:
        raise DataError(f"{file}: holds {frames} frames, needs to be one picture. Save the one that is meant.")
    if picture.mode not in _EIGHT_BIT_MODES or "transparency" in picture.info:
        raise DataError(
            f"{file}: its pixels are {picture.mode}{' with transparency' if 'transparency' in picture.info else ''}, need "
            "8 bits per channel, grey or RGB, without transparency. Save it so: only you know how to scale or flatten it."
        )


def _stack(files: list[Path], pictures: list[npt.NDArray[np.uint8]]) -> npt.NDArray[Any]:
    shape = pictures[0].shape
    for file, picture in zip(files, pictures, strict=True):
        if picture.shape != shape:
            raise DataError(
                f"{file}: {picture.shape[0]} x {picture.shape[1]} pixels, but {files[0]} has {shape[0]} x {shape[1]}: all "
                "need to be of one size. Give size_px (height, width) to have them stretched."
            )
    return np.stack(pictures)
