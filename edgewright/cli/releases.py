"""``edgewright promote``, ``rollback`` and ``pin``: what people decide about releases, with a reason that is stored."""

from __future__ import annotations

import argparse
import getpass

from edgewright.cli.promotion_lease import promotion_held
from edgewright.cli.signing import sign_after_decision
from edgewright.pipeline.signing.deciding import promote_by_person, roll_back
from edgewright.pipeline.tracking import metadata, pin_baseline
from edgewright.pipeline.workspace import open_workspace


def run(arguments: argparse.Namespace) -> int:
    """Does what the command's name says; one clear line on success."""
    workspace = open_workspace()
    tracking = metadata(workspace.home)
    model, target, reason, who = arguments.model, arguments.target, arguments.reason, getpass.getuser()
    if arguments.command == "pin":
        pin_baseline(tracking, model, target, arguments.version, reason=reason, who=who)
        print(f"{model}.{target}: version {arguments.version} is the baseline.")
        return 0
    with promotion_held(workspace, model, f"edgewright {arguments.command} of {who}"):
        if arguments.command == "rollback":
            done = roll_back(tracking, model, target, reason=reason, who=who)
        else:
            done = promote_by_person(
                tracking, model, target, arguments.version, reason=reason, who=who, waiver=arguments.waiver
            )
        before = f", in place of version {done.replaced}" if done.replaced and done.changed else ""
        print(f"{done.name}: version {done.champion} is champion{before if done.changed else ' already'}.", flush=True)
        sign_after_decision(workspace, tracking, model, target)
    return 0
