"""From plain arrays to a data set: what files and functions of your own hand over, checked before it is trusted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError
from edgewright.pipeline.datasets.dataset import Dataset, check_every_class_present
from edgewright.preprocessing import SampleKind

_SHOWN = 5


def dataset_from_arrays(
    name: str,
    source: str,
    kind: SampleKind,
    x: Any,
    y: Any,
    group: Any = None,
    labels_names: tuple[str, ...] | None = None,
    channel_names: tuple[str, ...] | None = None,
    values: bool = False,
) -> Dataset:
    """Make a data set of samples, labels and, where samples belong together, groups.

    Args:
        name: What the data set is called.
        source: Where the arrays came from; errors name it.
        kind: How to read ``x``; a shape alone cannot tell a grey image from a window.
        x: Images uint8 or float32 ``[N, H, W]`` or ``[N, H, W, C]``, windows float32 ``[N, T, C]``, rows float32
            ``[N, F]``.
        y: ``[N]``: integers 0 … K - 1 without a gap, or texts, which are sorted to become the classes;
            with ``values`` numbers, integers or floats.
        group: ``[N]`` texts or integers: samples with the same one stay in one split; None where samples stand alone.
        labels_names: One name per integer label; None takes the numbers themselves. Not with texts.
        channel_names: One name per channel; None where they have none.
        values: Whether ``y`` holds values to be answered, not classes.

    Raises:
        DataError: A wrong dtype, shape, count or value, or a class without a sample; the message names the place.
    """
    where = f"{name} ({source})"
    samples = _array(where, "x", x)
    answers = _array(where, "y", y)
    labels: npt.NDArray[Any]
    labels, names = _values(where, answers, labels_names) if values else _labels(where, answers, labels_names)
    groups = None if group is None else texts_of_samples(where, _array(where, "group", group))
    dataset = Dataset(
        name=name,
        images=samples,
        labels=labels,
        labels_names=names,
        fixed_split=None,
        groups=groups,
        source=source,
        kind=kind,
        channel_names=channel_names,
    )
    check_every_class_present(dataset)
    return dataset


def labels_from_texts(where: str, texts: list[str]) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Number class names in their sorted order.

    Args:
        where: What the texts belong to; errors start with it.
        texts: One class name per sample.

    Returns:
        int64 ``[N]``, and the names that the numbers are positions in.

    Raises:
        DataError: A name is empty, has space around it, or differs from another only in upper and lower case.
    """
    names = sorted(set(texts))
    check_class_names(where, names)
    position = {name: index for index, name in enumerate(names)}
    return np.array([position[text] for text in texts], dtype=np.int64), tuple(names)


def check_class_names(where: str, names: list[str]) -> None:
    """Refuse names that a person would read as one class and a program as two.

    Raises:
        DataError: A name is empty, has space around it, or differs from another only in upper and lower case.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not name.strip() or name != name.strip():
            raise DataError(f"{where}: a class is named {name!r}, needs a name without space around it. Rename it.")
        twin = seen.setdefault(name.casefold(), name)
        if twin != name:
            raise DataError(
                f'{where}: the classes "{twin}" and "{name}" differ only in upper and lower case. Give both one name, or '
                "tell them apart."
            )


def _array(where: str, word: str, value: Any) -> npt.NDArray[Any]:
    if not isinstance(value, np.ndarray):
        raise DataError(f"{where}: {word} is {type(value).__name__}, need a numpy array. Convert it with numpy.array.")
    if value.dtype.hasobject:
        raise DataError(f"{where}: {word} holds Python objects, need numbers or texts. Convert it with astype.")
    return value


def _labels(
    where: str, y: npt.NDArray[Any], names: tuple[str, ...] | None
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    if y.ndim != 1 or y.dtype.kind not in "iuU":
        raise DataError(
            f"{where}: y is {y.dtype} {list(y.shape)}, need integers or texts [N]. Store one class per sample"
            f"{', or set task.kind: regression if these are values to be answered' if y.dtype.kind == 'f' else ''}."
        )
    if y.dtype.kind == "U":
        if names is not None:
            raise DataError(f"{where}: y holds texts, which are the class names already. Leave labels_names out.")
        return labels_from_texts(where, y.tolist())
    if names is None:
        last = int(y.max(initial=0))
        if last >= len(y):  # before a name is made for each number up to it
            raise DataError(
                f"{where}: y goes up to {last} with {len(y)} samples, needs 0 … K - 1 without a gap. "
                "Number the classes anew, or store their names as texts."
            )
        names = tuple(str(label) for label in range(last + 1))
    check_class_names(where, list(names))
    return y.astype(np.int64), names


def _values(
    where: str, y: npt.NDArray[Any], names: tuple[str, ...] | None
) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    if y.ndim != 1 or y.dtype.kind not in "iuf":
        raise DataError(
            f"{where}: y is {y.dtype} {list(y.shape)}, need numbers [N]: task.kind is regression. Store one value per "
            "sample, or set task.kind: classification."
        )
    if names is not None:
        raise DataError(f"{where}: y holds values, which have no names: task.kind is regression. Remove labels_names.")
    return y.astype(np.float64), ()


def texts_of_samples(where: str, array: npt.NDArray[Any], word: str = "group") -> tuple[str, ...]:
    """Turn an array that names something of each sample into texts.

    Args:
        where: What the samples belong to; errors start with it.
        array: ``[N]`` texts or integers.
        word: What it names.

    Raises:
        DataError: It holds neither texts nor integers, or a text has space around it.
    """
    if array.ndim != 1 or array.dtype.kind not in "iuU":
        raise DataError(
            f"{where}: {word} is {array.dtype} {list(array.shape)}, need integers or texts [N]. "
            f"Store one {word} per sample."
        )
    texts = tuple(str(value) for value in array.tolist())
    bad = [index for index, text in enumerate(texts) if text != text.strip()]
    if bad:
        shown = ", ".join(str(index) for index in bad[:_SHOWN])
        raise DataError(
            f"{where}: the {word}s of samples {shown} have space around them (the first is {texts[bad[0]]!r}), so that one "
            f"{word} would count as two. Strip them."
        )
    return texts
