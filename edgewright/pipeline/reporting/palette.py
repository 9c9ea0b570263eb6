"""Colours: one set for light and one for dark surroundings, told apart by the colour-blind.

A figure is drawn in the light colours. The page replaces each of them by a CSS variable, so that figures follow the
reader's light or dark setting; every colour here must therefore be distinct, and used for nothing else.
"""

from __future__ import annotations

INK, MUTED, GRID, SURFACE = "#1b1f24", "#5f6875", "#dde1e6", "#fefefe"
RIGHT, WRONG = "#0072b2", "#d55e00"
# Okabe and Ito, "Color Universal Design" (2008), without its yellow, which is unreadable on white; brown and slate added.
SERIES = (RIGHT, WRONG, "#009e73", "#b75d94", "#3ba3dc", "#d18f00", "#8c6d46", "#7f8ea3")

_ON_DARK = {
    INK: "#e6e9ed",
    MUTED: "#a3acb8",
    GRID: "#3a424d",
    SURFACE: "#1c2127",
    SERIES[0]: "#4aa8e0",
    SERIES[1]: "#f08a3c",
    SERIES[2]: "#2cc79b",
    SERIES[3]: "#dd8fbf",
    SERIES[4]: "#8fd0f5",
    SERIES[5]: "#f0b93a",
    SERIES[6]: "#c9a777",
    SERIES[7]: "#b4c0d0",
}
# (CSS variable, light colour, dark colour) of everything that follows the reader's setting.
THEMED = tuple((f"--fig-{index}", light, dark) for index, (light, dark) in enumerate(_ON_DARK.items()))
