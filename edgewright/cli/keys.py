"""``edgewright keys``: make, exchange, revoke and look at the keys that sign releases."""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import json
import os
import sys
from pathlib import Path

from rich.table import Table

from edgewright.cli.console import open_console, say, say_error
from edgewright.errors import EdgewrightError, KeyringError
from edgewright.pipeline.signing.ceremony import Exchanged, init_keys, revoke_key, rotate_key
from edgewright.pipeline.signing.expiry import RoleStatus, alarms, describe
from edgewright.pipeline.signing.generation import Generation
from edgewright.pipeline.signing.keyring import online_folder
from edgewright.pipeline.signing.mirror import mend_mirror, refuse_foreign_mirror
from edgewright.pipeline.signing.passphrases import Ask
from edgewright.pipeline.signing.publisher import DEVELOPMENT
from edgewright.pipeline.signing.repository import Repository, open_repository
from edgewright.pipeline.tracking import metadata
from edgewright.pipeline.workspace import Workspace, open_workspace

OFFLINE_FOLDER = "EDGEWRIGHT_OFFLINE_KEYS"
EXIT_ALARM = 1


def run(arguments: argparse.Namespace) -> int:
    """Does what the action's name says."""
    workspace = open_workspace()
    offline = offline_folder(workspace, arguments.offline)
    repository = open_repository(workspace, offline, ask())
    if arguments.action == "status":
        return _status(repository, arguments.json)
    with repository.locked(f"edgewright keys {arguments.action} of {getpass.getuser()}", say_error) as lease:
        if arguments.action == "init":
            _check_mirror(workspace, repository)
            done = init_keys(repository, lease)
        else:
            done = (rotate_key if arguments.action == "rotate" else revoke_key)(repository, arguments.name, lease)
        sent = _send(workspace, done.generation)
    _tell(arguments.action, getattr(arguments, "name", ""), done, repository.keyring.online, offline, workspace)
    print(sent)
    return 0


def offline_folder(workspace: Workspace, named: Path | None) -> Path:
    """The folder of the offline keys: as named, else ``$EDGEWRIGHT_OFFLINE_KEYS``, else beside the online ones."""
    return named or Path(os.environ.get(OFFLINE_FOLDER) or online_folder(workspace) / "offline")


def ask() -> Ask | None:
    """Asks whoever sits at the terminal for a passphrase; None where nobody does."""
    return getpass.getpass if sys.stdin.isatty() else None


def _check_mirror(workspace: Workspace, repository: Repository) -> None:
    """Refuses to begin where the registry carries another workshop's metadata; no registry yet is fine."""
    if repository.read() is None:
        try:
            tracking = metadata(workspace.home)
        except EdgewrightError:
            return  # nothing was released from here yet: the first release brings the metadata along
        refuse_foreign_mirror(tracking)


def _send(workspace: Workspace, generation: Generation) -> str:
    """Sends what was signed; where the registry cannot be reached it counts all the same, and goes with the next release."""
    try:
        mend_mirror(metadata(workspace.home), generation)
    except EdgewrightError as reason:
        return f"Not sent to the registry yet ({reason}). The next release, refresh or reconcile does."
    return "Sent to the registry."


def _tell(action: str, name: str, done: Exchanged, online: Path, offline: Path, workspace: Workspace) -> None:
    if action == "init":
        print(f"Keys made: root-1, root-2, root-3 and targets in {offline}; snapshot and timestamp in {online}.")
        if _same_disk(offline, online) or _same_disk(offline, workspace.home):
            print(
                f"{offline} IS ON THE WORKSHOP'S OWN DISK: whoever reads it has every key. Move that folder to a stick, "
                f"name it with --offline when it is needed, and keep a second copy elsewhere.",
                file=sys.stderr,
            )
    elif action == "rotate":
        print(f"{name} has a new key.")
    else:
        print(f"{name}: its key signs nothing any more; devices stay on what they run.")
    for path in done.useless:
        print(f"{path} was a key, and names nothing any more{': destroy it' if path.exists() else ': deleted'}.")


def _same_disk(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_dev == other.stat().st_dev
    except OSError:
        return False


def _status(repository: Repository, as_json: bool) -> int:
    generation = repository.read()
    if generation is None:
        raise KeyringError("this workshop has no keys yet: edgewright keys init --offline DIR makes them.")
    roles = describe(generation, repository.keyring, repository.now())
    found = alarms(roles)
    if as_json:
        print(
            json.dumps(
                {
                    "development": generation.is_development,
                    "roles": [dataclasses.asdict(role) for role in roles],
                    "revoked": generation.revoked,
                    "alarms": found,
                },
                indent=2,
            )
        )
        return EXIT_ALARM if found else 0
    console = open_console()
    console.print(_table(roles))
    for name in generation.revoked:
        say(console, f"{name}: revoked; `edgewright release sign` delegates to a new key.")
    for path in repository.keyring.unnamed(key.keyid for role in roles for key in role.keys):
        say(console, f"{path} was a key, and names nothing any more: destroy it.")
    for alarm in found:
        say(console, f"ALARM: {alarm}.")
    if generation.is_development:
        say(console, DEVELOPMENT)
    return EXIT_ALARM if found else 0


def _table(roles: tuple[RoleStatus, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("role", "version", "expires in", "key", "id", "kept", "lies in", "names"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("version", "expires in") else "left")
    for role in roles:
        for number, key in enumerate(role.keys):
            first = (role.role, str(role.version), f"{role.days_left:.0f} d") if number == 0 else ("", "", "")
            place = str(Path(key.place).parent) if key.place else "not on this machine"
            table.add_row(*first, key.name, key.keyid[:12], key.kept, place, role.release if number == 0 else "")
    return table
