"""``edgewright backup``, ``restore`` and ``prepare-team``: what keeps a desk, or a team's servers, from being lost."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path

from edgewright.cli.backup_words import BUCKET_VARIABLE, DATABASES_VARIABLE
from edgewright.cli.console import open_console, say
from edgewright.desk.accounts import Accounts
from edgewright.desk.backup import (
    Source,
    desk_source,
    restore_desk,
    restore_team,
    take_backup,
    team_source,
    verify,
)
from edgewright.desk.backup.bucket import BucketTree
from edgewright.errors import UsageError
from edgewright.pipeline.workspace import VARIABLE, open_workspace

_MIB = 1 << 20


def run(arguments: argparse.Namespace) -> int:
    """Does what the command's name says."""
    console, started = open_console(), time.monotonic()

    def show(said: str) -> None:
        say(console, f" {said}")

    if arguments.command == "prepare-team":
        for said in _prepare(arguments.bucket, arguments.account, arguments.administrator, os.environ):
            show(f"✓ {said}")
        return 0
    team = _team(arguments, os.environ)
    home, folder = open_workspace().home, arguments.folder
    if arguments.command == "backup":
        done = take_backup(team or desk_source(home), folder, show)
        say(console, f" backup      ✓ {folder}: {done.size_bytes / _MIB:.1f} MiB in {time.monotonic() - started:.1f} s")
    elif not arguments.yes:
        done = verify(folder)
        where = "the servers that the environment names" if done.kind == "team" else home
        say(console, f" backup      ✓ {folder} of {done.began} is whole: {done.size_bytes / _MIB:.1f} MiB")
        say(console, f"             To restore it into {where}: the same command with --yes")
    else:
        done = restore_team(folder, team, show) if team else restore_desk(folder, home, show)
        say(console, f" restored    ✓ {done.size_bytes / _MIB:.1f} MiB in {time.monotonic() - started:.1f} s")
    return 0


def _team(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Source | None:
    """The team's servers, where they are named; None means this machine's desk."""
    databases = arguments.databases or environment.get(DATABASES_VARIABLE, "")
    bucket = arguments.bucket or environment.get(BUCKET_VARIABLE, "")
    if not databases and not bucket:
        return None
    if not (databases and bucket):
        raise UsageError("a team's servers are databases and a bucket: name both, or neither for this machine's desk.")
    home = Path(environment[VARIABLE]).resolve() if environment.get(VARIABLE) else None
    return team_source([name.strip() for name in databases.split(",")], bucket, home)


def _prepare(
    bucket: str | None, accounts: list[str], administrators: list[str], environment: Mapping[str, str]
) -> list[str]:
    words = [*((word, False) for word in accounts), *((word, True) for word in administrators)]
    wanted = [(*word.partition("=")[::2], is_administrator) for word, is_administrator in words]
    for name, variable, _ in wanted:
        if not name or not environment.get(variable):
            raise UsageError(f"{name}={variable}: the environment variable {variable!r} holds no password.")
    done = []
    if bucket:
        BucketTree(bucket).make()
        done.append(f"bucket {bucket}")
    if wanted:
        needed = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
        if missing := [name for name in needed if not environment.get(name)]:
            raise UsageError(f"accounts need the registry's address and its administrator: set {', '.join(missing)}.")
        registry = Accounts(*(environment[name] for name in needed))
        for name, variable, is_administrator in wanted:
            made = registry.ensure(name, environment[variable], is_administrator=is_administrator)
            done.append(f"account {name} {'made' if made else 'has its password'}")
    return done
