"""An SVG file as a part of a page: names that are unique there, and colours that follow the reader's setting."""

from __future__ import annotations

import re
from html import escape

from edgewright.errors import StageError
from edgewright.pipeline.reporting.palette import THEMED

_LEFT_OUT = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", re.DOTALL)
_OPENING = re.compile(r"<svg\b[^>]*>")
_SIZE = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
_FONT_FAMILY = re.compile(r" font-family: [^;\"]*;")
_REFERENCE = re.compile(r'href="#([^"]+)"|url\(#([^)]+)\)')
_NAME = re.compile(r' id="([^"]+)"')
_TAG = re.compile(r"<[^>]+>")
# Narrower than this, words in a figure cannot be read; the page scrolls it sideways instead.
_LEAST_WIDTH_PT = 400.0


def inline(svg: str, prefix: str, label: str) -> str:
    """The drawing as an element of an HTML page; font and line joins are left to the page's style sheet.

    Args:
        svg: Text of the file, as ``Drawing.svg`` writes it: ``<`` and ``>`` stand nowhere but around tags.
        prefix: Goes before every name; unique in the page.
        label: What screen readers say.
    """
    body = _LEFT_OUT.sub("", svg).replace("xlink:href=", "href=")
    size = _SIZE.search(body)
    if size is None:
        raise StageError(f"figure {label!r}: its SVG states no size; write it by Drawing.svg")
    referenced = dict.fromkeys(first or second for first, second in _REFERENCE.findall(body))
    names = {name: f"{prefix}-{index}" for index, name in enumerate(referenced)}
    body = _TAG.sub(lambda tag: _adapted(tag.group(), names), body)
    least = min(float(size[1]), _LEAST_WIDTH_PT)
    opening = (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {size[1]} {size[2]}" '
        f'style="max-width: {size[1]}pt; min-width: {least:g}pt">'
    )
    return _OPENING.sub(lambda _: opening, body, count=1).strip()


def _adapted(tag: str, names: dict[str, str]) -> str:
    """A tag with the page's colours and names; a name that nothing refers to is left out."""
    tag = _NAME.sub(lambda found: f' id="{names[found[1]]}"' if found[1] in names else "", tag)
    tag = _FONT_FAMILY.sub("", tag)
    tag = re.sub(r'href="#([^"]+)"', lambda found: f'href="#{names[found[1]]}"', tag)
    tag = re.sub(r"url\(#([^)]+)\)", lambda found: f"url(#{names[found[1]]})", tag)
    for variable, light, _ in THEMED:
        tag = tag.replace(light, f"var({variable})")
    return tag
