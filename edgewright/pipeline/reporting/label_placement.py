"""Puts names beside points so that they cover neither points nor each other, as far as there is room."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from edgewright.errors import StageError
from edgewright.pipeline.reporting.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FONT_PT = 9.0
# Width of a character of this font over its size: the mean of its letters, measured.
_CHARACTER = 0.62
_POINT_PT = 7.0
# Offsets in points (x, y) and alignment, the first being the most natural to read.
_PLACES = (
    (9, 5, "left"),
    (-9, 5, "right"),
    (9, -13, "left"),
    (-9, -13, "right"),
    (0, 11, "center"),
    (0, -19, "center"),
    (12, 18, "left"),
    (-12, 18, "right"),
    (12, -27, "left"),
    (-12, -27, "right"),
    (16, 32, "left"),
    (16, -40, "left"),
)

_Box = tuple[float, float, float, float]


def label_points(
    axes: Axes,
    xs: Sequence[float],
    ys: Sequence[float],
    names: Sequence[str],
    line: Sequence[tuple[float, float]] = (),
) -> None:
    """Write a name beside each point.

    The layout of the figure is settled first, because room is counted on paper, not in the data's units.

    Args:
        axes: Axes whose limits and scale are final.
        xs: The points' first coordinates.
        ys: Their second coordinates.
        names: What to write.
        line: Corners of a line of level and upright pieces that names should not cover.
    """
    figure = axes.get_figure(root=True)
    if figure is None:
        raise StageError("label_points: the axes belong to no figure; add them to one first")
    figure.draw_without_rendering()
    scale = 72 / figure.dpi

    def on_paper(each: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(float(x) * scale, float(y) * scale) for x, y in axes.transData.transform(each)] if each else []

    points = on_paper(list(zip(xs, ys, strict=True)))
    window = axes.get_window_extent()
    frame = (window.x0 * scale, window.y0 * scale, window.x1 * scale, window.y1 * scale)
    taken: list[_Box] = [(x - _POINT_PT, y - _POINT_PT, x + _POINT_PT, y + _POINT_PT) for x, y in points]
    pieces = [
        (min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1)
        for (x0, y0), (x1, y1) in pairwise(on_paper(line))
    ]
    for index, (point, name) in enumerate(zip(points, names, strict=True)):
        others = taken[:index] + taken[index + 1 :] + pieces
        place = min(_PLACES, key=lambda each: _cost(_box(point, name, each), others, frame))
        taken.append(_box(point, name, place))
        axes.annotate(
            name,
            (xs[index], ys[index]),
            xytext=place[:2],
            textcoords="offset points",
            ha=place[2],
            va="bottom",
            fontsize=_FONT_PT,
            color=INK,
            zorder=4,
        ).set_in_layout(False)


def _box(point: tuple[float, float], name: str, place: tuple[float, float, str]) -> _Box:
    width, height = len(name) * _FONT_PT * _CHARACTER, _FONT_PT * 1.25
    left = {"left": 0.0, "center": width / 2, "right": width}[place[2]]
    x, y = point[0] + place[0] - left, point[1] + place[1]
    return x, y, x + width, y + height


def _cost(box: _Box, others: Sequence[_Box], frame: _Box) -> float:
    """Area that the name would cover, and what of it would lie outside of the axes, in square points."""
    inside = _overlap(box, frame)
    area = (box[2] - box[0]) * (box[3] - box[1])
    return sum(_overlap(box, other) for other in others) + 2 * (area - inside)


def _overlap(one: _Box, other: _Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
