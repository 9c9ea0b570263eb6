"""The comparison of builds as one HTML page that needs nothing beside itself: no script, no font, no address."""

from __future__ import annotations

from edgewright.pipeline.reporting import comparison_tables
from edgewright.pipeline.reporting.comparison_content import Comparison
from edgewright.pipeline.reporting.comparison_figures import drawings
from edgewright.pipeline.reporting.templates import Figure, render_page


def render(comparison: Comparison) -> str:
    """The page; equal comparisons give equal text."""
    figures = [
        [Figure(drawing, f"t{index}f{number}") for number, drawing in enumerate(drawings(comparison, target))]
        for index, target in enumerate(comparison.targets)
    ]
    return render_page("comparison.html.j2", comparison=comparison, tables=comparison_tables, figures=figures)
