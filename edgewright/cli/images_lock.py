"""``edgewright images lock``: write the lock files of images anew, by pip's index and constraints.txt."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgewright.errors import UsageError


def add_words(parser: argparse.ArgumentParser) -> None:
    """The words of the command."""
    from edgewright.pipeline.images.platform import PLATFORMS
    from edgewright.pipeline.images.wheel_lock import LOCKS

    parser.add_argument(
        "--locks", type=Path, default=LOCKS, metavar="DIR", help="folder of the files (default: %(default)s)"
    )
    parser.add_argument(
        "--constraints",
        type=Path,
        default=Path("constraints.txt"),
        metavar="FILE",
        help="versions that images share with the workshop (default: %(default)s)",
    )
    parser.add_argument("--platform", choices=sorted(PLATFORMS), help="of this platform alone (default: of all)")


def run(options: argparse.Namespace) -> int:
    """Write the files, and say what they pin.

    Raises:
        ImageError: A wheel cannot be had.
        UsageError: There is no file of constraints.
    """
    from edgewright.pipeline.images.lock_renewal import renew_lock
    from edgewright.pipeline.images.platform import PLATFORMS
    from edgewright.pipeline.images.wheel_lock import read_constraints

    if not options.constraints.is_file():
        raise UsageError(f"{options.constraints} is missing: call this in a checkout, or name --constraints FILE.")
    constraints = read_constraints(options.constraints)
    for platform in PLATFORMS.values():
        if options.platform not in (None, platform.name):
            continue
        for engine in platform.engines:
            path, wheels = renew_lock(options.locks, platform, engine, constraints)
            print(f" lock        ✓ {path}: {', '.join(f'{wheel.name} {wheel.version}' for wheel in wheels)}")
    return 0
