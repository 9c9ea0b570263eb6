"""A figure with its name and caption, and how it becomes bytes: the same bytes whenever its values are the same.

Figures are made by matplotlib's object interface, never by pyplot, whose global state leaks between threads. In an SVG,
words stay words: they can be searched and copied, and the reader's fonts cover scripts that the build machine's do not.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgewright.pipeline.reporting.palette import GRID, INK, MUTED, SURFACE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Place = Literal["lower right", "lower left", "upper center", "outside lower center", "outside lower left"]
PNG_DPI = 144
# The second family has nearly the metrics of the first, the others are narrower: nothing outgrows its place.
_FONTS = "'DejaVu Sans', Verdana, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
_FONT_STYLE = re.compile(r"(font(?:-family)?:[^;\"']*?)'DejaVu Sans'[^;\"]*")
# matplotlib's settings are global: one figure at a time sets and restores them.
_SETTINGS = threading.Lock()


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure that is ready to be shown.

    Attributes:
        name: Name of its file without an ending, e.g. ``confusion``.
        caption: How to read it, one or two sentences.
        figure: The figure.
    """

    name: str
    caption: str
    figure: Figure

    def __post_init__(self) -> None:
        """Settle the layout for good: what is drawn moves it a little, so that a second drawing would differ."""
        for _ in range(2):
            self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    def svg(self) -> str:
        """As SVG text; needs nothing beside itself."""
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        buffer = io.StringIO()
        settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "edgewright"}
        with _SETTINGS, matplotlib.rc_context(settings), warnings.catch_warnings():
            # The reader's fonts draw the words: what this machine's font lacks does not matter.
            warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
            canvas: Any = FigureCanvasSVG(self.figure)  # its printing is not typed
            canvas.print_figure(buffer, format="svg", dpi=72, metadata={"Date": None, "Creator": None})
        return _FONT_STYLE.sub(rf"\g<1>{_FONTS}", buffer.getvalue())

    def png(self) -> bytes:
        """As PNG, 144 pixels to the inch."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        buffer = io.BytesIO()
        with _SETTINGS:
            canvas: Any = FigureCanvasAgg(self.figure)
            canvas.print_figure(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
        return buffer.getvalue()


def new_figure(title: str, width_in: float = 8.0, height_in: float = 4.2) -> Figure:
    """An empty figure with a title; its layout keeps labels from overlapping.

    Args:
        title: Says what is drawn, of what.
        width_in: Width in inches.
        height_in: Height in inches.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)  # inches; words must not touch the edge
    figure = Figure(figsize=(width_in, height_in), layout=engine, facecolor=SURFACE)
    figure.suptitle(plain(title), x=0.012, ha="left", fontsize=11, fontweight="bold", color=INK)
    return figure


def style(axes: Axes, x_label: str, y_label: str, grid: str = "both") -> None:
    """Quiet axes: labels with units, thin grid behind the data, no box.

    Args:
        axes: What to style.
        x_label: With its unit.
        y_label: With its unit.
        grid: ``x``, ``y``, ``both`` or ``none``.
    """
    axes.set_facecolor(SURFACE)
    axes.set_xlabel(plain(x_label), color=INK, fontsize=9.5)
    axes.set_ylabel(plain(y_label), color=INK, fontsize=9.5)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.set_axisbelow(True)
    if grid in ("x", "both"):
        axes.xaxis.grid(True, color=GRID, linewidth=0.8)
    if grid in ("y", "both"):
        axes.yaxis.grid(True, color=GRID, linewidth=0.8)


def legend(axes: Axes, where: Place) -> None:
    """A legend inside of the axes, without a frame."""
    axes.legend(loc=where, frameon=False, fontsize=9, labelcolor=INK)


def legend_below(figure: Figure, axes: Axes, columns: int = 4, where: Place = "outside lower center") -> None:
    """A legend below the figure, of what one of its axes shows: there it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc=where, ncols=columns, frameon=False, fontsize=9, labelcolor=INK)


def whole_numbers(axis: Axis) -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def plain(text: str) -> str:
    """Text that is shown as it is: on one line, and a dollar sign in somebody's class name starts no formula."""
    return " ".join(printable(text).replace("$", r"\$").split())


def printable(text: str) -> str:
    """Text without characters that cannot be shown, or that turn what follows around; a mark stands in for them."""
    return "".join(each if each.isprintable() or each.isspace() else "\ufffd" for each in text)


def shortened(text: str, length: int = 24) -> str:
    """Text of at most ``length`` characters, the middle left out: names often differ at their ends."""
    words = " ".join(text.split())
    if len(words) <= length:
        return plain(words)
    tail = (length - 1) // 2
    return plain(f"{words[: length - 1 - tail]}…{words[-tail:]}")
