"""The report of a build as one HTML page that needs nothing beside itself: no script, no font, no address.

Whatever stands in a value is shown as text: a class may be called ``<b>``. The page also tells the browser to load nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgewright.pipeline.calibration_audit import CalibrationAudit
from edgewright.pipeline.reporting import tables
from edgewright.pipeline.reporting.content import BuildReport, TargetReport
from edgewright.pipeline.reporting.drawing import Drawing
from edgewright.pipeline.reporting.figures import build_drawings, calibration_drawing, target_drawings
from edgewright.pipeline.reporting.templates import Figure, render_page


@dataclass(frozen=True)
class _Calibration:
    """One audit and where it holds: the same variant on several targets often has the same ranges."""

    title: str
    audit: CalibrationAudit
    figure: Figure | None


def render(report: BuildReport) -> str:
    """The page; equal reports give equal text."""
    return render_page(
        "page.html.j2",
        report=report,
        tables=tables,
        figures=[_figures(report, index, target) for index, target in enumerate(report.targets)],
        build_figures=[Figure(drawing, f"b{index}") for index, drawing in enumerate(build_drawings(report))],
        calibrations=_calibrations(report),
    )


def _figures(report: BuildReport, index: int, target: TargetReport) -> list[Figure]:
    drawings = target_drawings(report, target)
    return [Figure(drawing, f"t{index}f{number}") for number, drawing in enumerate(drawings)]


def _calibrations(report: BuildReport) -> list[_Calibration]:
    places: list[tuple[CalibrationAudit, list[str], Drawing | None]] = []
    for target in report.targets:
        for variant in target.variants:
            if variant.calibration is None:
                continue
            place = f"{variant.name} on {target.target}"
            same = next((names for audit, names, _ in places if audit == variant.calibration), None)
            if same is not None:
                same.append(place)
            else:
                places.append((variant.calibration, [place], calibration_drawing(report, variant)))
    return [
        _Calibration(", ".join(names), audit, None if drawing is None else Figure(drawing, f"c{index}"))
        for index, (audit, names, drawing) in enumerate(places)
    ]
