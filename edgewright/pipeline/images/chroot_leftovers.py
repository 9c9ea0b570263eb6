"""Folders that `ChrootRun` unpacks images into, and what killed runs left of it: such folders, control groups, processes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgewright.pipeline.images.control_group import ROOT, remove_abandoned_groups
from edgewright.pipeline.images.ownership import is_abandoned, owner_tag

_PREFIX = "edgewright-proof-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for this process's user alone, below ``TMPDIR``; removed on leaving, or by the next run after a kill."""
    folder = Path(tempfile.gettempdir()) / f"{_PREFIX}{owner_tag()}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def remove_chroot_leftovers(groups: Path = ROOT) -> list[Path]:
    """End and remove what processes of this machine left that are gone; processes first, which may still use the rest.

    Args:
        groups: Where the kernel shows its control groups.

    Returns:
        The control groups and folders.
    """
    if os.geteuid() != 0:  # only root makes any
        return []
    found = remove_abandoned_groups(groups)
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")):
        is_ours = not folder.is_symlink() and folder.is_dir() and folder.stat().st_uid == os.geteuid()
        if is_ours and is_abandoned(folder.name.removeprefix(_PREFIX)):
            shutil.rmtree(folder, ignore_errors=True)  # another run removes it just now; or the next one does
            found.append(folder)
    return found
