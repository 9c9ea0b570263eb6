"""The pages that people read: every link leads somewhere, and the README leads to every page and every command."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from edgewright.cli.main import build_parser

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted([README, ROOT / "mlflow" / "README.md", *ROOT.glob("data/*/README.md"), *ROOT.glob("docs/**/*.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCED = re.compile(r"(?ms)^ *```.*?^ *```$")


def prose(page: Path) -> str:
    """A page without its code."""
    return _FENCED.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The names by which a page's headings are linked."""
    headings = re.findall(r"(?m)^#+ (.+)$", prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.relative_to(ROOT)} links to {link}, which is not there"
        if anchor:
            assert anchor in anchors(target), f"{page.relative_to(ROOT)} links to {link}: no heading of that name"


def test_the_readme_leads_to_every_page() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in _LINK.findall(README.read_text())}
    pages = [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/guides/*.md"), *ROOT.glob("data/*/README.md")]
    assert [str(page.relative_to(ROOT)) for page in pages if page not in linked] == []


def test_the_readme_names_every_command() -> None:
    (commands,) = (each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    table = README.read_text().partition("## Commands")[2].partition("## ")[0]
    named = " | ".join(re.findall(r"(?m)^edgewright (.+?)(?:  |$)", table))
    missing = [name for name in commands.choices if not re.search(rf"(?<![\w-]){name}(?![\w-])", named)]
    assert missing == []
