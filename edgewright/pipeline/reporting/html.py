"""The report of a build as one HTML page that needs nothing beside itself: no script, no font, no address.

Whatever stands in a value is shown as text: a class may be called ``<b>``. The page also tells the browser to load nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from edgewright.pipeline.calibration_audit import CalibrationAudit
from edgewright.pipeline.reporting import tables
from edgewright.pipeline.reporting.content import BuildReport, TargetReport
from edgewright.pipeline.reporting.drawing import Drawing, printable
from edgewright.pipeline.reporting.figures import build_drawings, calibration_drawing, target_drawings
from edgewright.pipeline.reporting.inline_svg import inline
from edgewright.pipeline.reporting.palette import THEMED


@dataclass(frozen=True)
class _Figure:
    svg: Any  # jinja's Markup: text that is not escaped again
    caption: str


@dataclass(frozen=True)
class _Calibration:
    """One audit and where it holds: the same variant on several targets often has the same ranges."""

    title: str
    audit: CalibrationAudit
    figure: _Figure | None


def render(report: BuildReport) -> str:
    """The page; equal reports give equal text."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def cleaned(value: Any) -> Any:
        return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    here = files("edgewright.pipeline.reporting")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=cleaned, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(here.joinpath("page.html.j2").read_text("utf-8"))
    return template.render(
        report=report,
        tables=tables,
        themed=THEMED,
        css=Markup(here.joinpath("page.css").read_text("utf-8")),
        figures=[_figures(report, index, target) for index, target in enumerate(report.targets)],
        build_figures=[_figure(drawing, f"b{index}") for index, drawing in enumerate(build_drawings(report))],
        calibrations=_calibrations(report),
    )


def _figures(report: BuildReport, index: int, target: TargetReport) -> list[_Figure]:
    drawings = target_drawings(report, target)
    return [_figure(drawing, f"t{index}f{number}") for number, drawing in enumerate(drawings)]


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
        _Calibration(", ".join(names), audit, None if drawing is None else _figure(drawing, f"c{index}"))
        for index, (audit, names, drawing) in enumerate(places)
    ]


def _figure(drawing: Drawing, prefix: str) -> _Figure:
    from markupsafe import Markup

    return _Figure(Markup(inline(drawing.svg(), prefix, drawing.caption)), drawing.caption)
