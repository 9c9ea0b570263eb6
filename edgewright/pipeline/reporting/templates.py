"""The pages' templates: whatever stands in a value is shown as text, and a name that nobody gave is an error."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from edgewright.pipeline.reporting.drawing import Drawing, printable
from edgewright.pipeline.reporting.inline_svg import inline
from edgewright.pipeline.reporting.palette import THEMED


class Figure:
    """A drawing as a part of a page.

    Attributes:
        svg: Its element; jinja's Markup: text that is not escaped again.
        caption: How to read it.
    """

    def __init__(self, drawing: Drawing, prefix: str) -> None:
        from markupsafe import Markup

        self.svg = Markup(inline(drawing.svg(), prefix, drawing.caption))
        self.caption = drawing.caption


def render_page(template: str, **values: Any) -> str:
    """Fills one of this folder's templates; equal values give equal text.

    Args:
        template: Name of the file.
        values: What it shows.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    def cleaned(value: Any) -> Any:
        return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    here = files("edgewright.pipeline.reporting")
    environment = Environment(
        loader=FunctionLoader(lambda name: here.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=cleaned,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = Markup(here.joinpath("page.css").read_text("utf-8"))
    return environment.get_template(template).render(themed=THEMED, css=css, **values)
