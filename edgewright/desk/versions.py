"""Combinations of versions that are known to break, told before anything starts.

The worst of them break in silence: a server that answers, shows every page, and never creates a scheduled run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata

from edgewright.errors import DeskError


@dataclass(frozen=True)
class VersionRule:
    """What works, of one distribution.

    Attributes:
        distribution: Its name.
        works: The versions that work, as pip writes them.
        otherwise: What happens with another version.
    """

    distribution: str
    works: str
    otherwise: str


# The same bounds stand in pyproject.toml; an installation that pip did not resolve for us may still break them.
RULES = (
    VersionRule("prefect", ">=3.8,<3.9", "nothing here was tested with it"),
    VersionRule("mlflow", ">=3.17,<3.18", "nothing here was tested with it"),
    VersionRule(
        "fastapi",
        "<0.151",
        "Prefect 3.8's server does not start: Body() got an unexpected keyword argument 'min_items'",
    ),
    VersionRule("sqlalchemy", "<2.1", "Prefect 3.8's server looks healthy and never creates a scheduled run"),
)


def check_versions(rules: Sequence[VersionRule] = RULES, version: Callable[[str], str] = metadata.version) -> None:
    """Refuses versions that do not work together.

    Args:
        rules: What works.
        version: Tells the installed version of a distribution.

    Raises:
        DeskError: Names all that is wrong, what it breaks, and the remedy.
    """
    from packaging.specifiers import SpecifierSet

    problems = []
    for rule in rules:
        try:
            found = version(rule.distribution)
        except metadata.PackageNotFoundError:
            problems.append((rule, "is not installed", "the desk needs it"))
            continue
        if not SpecifierSet(rule.works).contains(found, prereleases=True):
            problems.append((rule, f"{found} is installed", rule.otherwise))
    if not problems:
        return
    lines = [f"  {rule.distribution:<11} {found}, {rule.works} works: {breaks}." for rule, found, breaks in problems]
    wanted = " ".join(f"'{rule.distribution}{rule.works}'" for rule, _, _ in problems)
    raise DeskError(
        "\n".join(
            [
                f"these versions do not work together: {len(problems)} problem{'' if len(problems) == 1 else 's'}",
                *lines,
                f"Install what was tested: pip install {wanted}, or all of constraints.txt with `make setup`.",
            ]
        )
    )
