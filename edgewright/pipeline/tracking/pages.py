"""Keeps what people read up to date: the marks of runs, the pages of versions, models and experiments.

All of it follows from tags and aliases, and nothing is decided by it. So a page that could not be written does not undo the
promotion that it would have told of: the next one, or a repair, writes it.
"""

from __future__ import annotations

import logging

from edgewright.errors import RegistryError
from edgewright.pipeline.tracking.client import Tracking, alias_lock, registry_errors
from edgewright.pipeline.tracking.experiment_page import write_head
from edgewright.pipeline.tracking.model_version import registered_name, versions
from edgewright.pipeline.tracking.standing import mend_standings
from edgewright.pipeline.tracking.version_page import is_out_of_date, write_model_page, write_version_page

_LOG = logging.getLogger(__name__)


def write_pages(tracking: Tracking, model: str, target: str, version: int | None = None) -> None:
    """Brings all pages about a target's releases up to date; what cannot be written is told in the log.

    Args:
        tracking: Where the registry is.
        model: The model's name.
        target: The target's name.
        version: The version whose page is drawn up anew in any case, since its run's files have changed.
    """
    try:
        with alias_lock(tracking, registered_name(model, target)):
            _write(tracking, model, target, version)
    except RegistryError as error:
        _LOG.warning("%s", error)


def refresh_pages(tracking: Tracking, model: str, target: str, version: int | None = None) -> None:
    """As ``write_pages``, for whoever holds the target's ``alias_lock``."""
    try:
        _write(tracking, model, target, version)
    except RegistryError as error:
        _LOG.warning("%s", error)


@registry_errors("writing the pages of a release")
def _write(tracking: Tracking, model: str, target: str, number: int | None) -> None:
    known = versions(tracking, model, target)
    mend_standings(tracking, model, target, next((version for version in known if version.is_champion), None))
    for version in known:
        if version.version == number or is_out_of_date(version):
            write_version_page(tracking, version)
    if known:
        write_model_page(tracking, model, target, known)
    write_head(tracking, model)
