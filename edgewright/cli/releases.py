"""``edgewright promote``, ``rollback`` and ``pin``: what people decide about releases, with a reason that is stored."""

from __future__ import annotations

import argparse
import getpass

from edgewright.pipeline.tracking import metadata, pin_baseline, promote, rollback
from edgewright.pipeline.workspace import open_workspace


def run(arguments: argparse.Namespace) -> int:
    """Does what the command's name says; one clear line on success."""
    tracking = metadata(open_workspace().home)
    model, target, reason, who = arguments.model, arguments.target, arguments.reason, getpass.getuser()
    if arguments.command == "pin":
        pin_baseline(tracking, model, target, arguments.version, reason=reason, who=who)
        print(f"{model}.{target}: version {arguments.version} is the baseline.")
        return 0
    if arguments.command == "rollback":
        done = rollback(tracking, model, target, reason=reason, who=who)
    else:
        done = promote(
            tracking,
            model,
            target,
            arguments.version,
            reason=reason,
            who=who,
            waiver=arguments.waiver,
            allow_withdrawn=True,
        )
    before = f", in place of version {done.replaced}" if done.replaced and done.changed else ""
    print(f"{done.name}: version {done.champion} is champion{before if done.changed else ' already'}.")
    return 0
