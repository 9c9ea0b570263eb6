"""``edgewright release sign`` and ``edgewright enrol``: what a person with an offline key does, and a device's beginning."""

from __future__ import annotations

import argparse
import getpass
import secrets
import sys
from urllib.parse import urlsplit

from edgewright.cli.console import say_error
from edgewright.cli.keys import ask, offline_folder
from edgewright.cli.promotion_lease import promotion_held
from edgewright.device.agent_config import describe_config, load_agent_config
from edgewright.errors import RegistryError, UsageError
from edgewright.pipeline.signing.enrolment import CONFIGURATION, FACTORY, ROOT, write_enrolment
from edgewright.pipeline.signing.publisher import Signing, say_development, sign_champion
from edgewright.pipeline.signing.repository import open_repository
from edgewright.pipeline.signing.vouching import vouch
from edgewright.pipeline.targets import load_targets
from edgewright.pipeline.tracking import Tracking, champion, metadata
from edgewright.pipeline.tracking.server import server_use
from edgewright.pipeline.workspace import Workspace, open_workspace

EXIT_UNSIGNED = 1


def run(arguments: argparse.Namespace) -> int:
    """Does what the command's name says."""
    return _enrol(arguments) if arguments.command == "enrol" else _sign(arguments)


def sign_after_decision(workspace: Workspace, tracking: Tracking, model: str, target: str) -> Signing:
    """Signs what a command made champion, as far as that needs no person with a key; says so where devices do not obey yet.

    Call it with the model's promotion lease held.
    """
    holder = f"edgewright of {getpass.getuser()}"
    done = sign_champion(open_repository(workspace), tracking, model, target, holder=holder, on_wait=say_error)
    if done.is_development:
        say_development(say_error)
    if done.note and not done.is_obeyed:
        say_error(done.note)
    return done


def _sign(arguments: argparse.Namespace) -> int:
    workspace, who = open_workspace(), getpass.getuser()
    tracking, model, target = metadata(workspace.home), arguments.model, arguments.target
    repository = open_repository(workspace, offline_folder(workspace, arguments.offline), ask())
    holder = f"edgewright release sign of {who}"
    with promotion_held(workspace, model, holder):
        version = champion(tracking, model, target)
        if version is None:
            raise RegistryError(f"{model}.{target} has no champion: promote a version first (`edgewright promote`).")
        if arguments.version not in (None, version.version):
            raise RegistryError(
                f"{model}.{target}: version {version.version} is champion, not {arguments.version}: nothing was signed."
            )
        if arguments.vouch is not None:
            known = load_targets(arguments.targets)
            if target not in known:
                raise UsageError(f"{arguments.targets} has no target {target!r}: {', '.join(known)}.")
            vouch(workspace.shared, tracking, version, known[target], arguments.vouch, who)
        done = sign_champion(repository, tracking, model, target, holder=holder, by_person=True, on_wait=say_error)
    if done.is_development:
        say_development(say_error)
    print(done.note, file=sys.stdout if done.is_obeyed else sys.stderr)
    return 0 if done.is_obeyed else EXIT_UNSIGNED


def _enrol(arguments: argparse.Namespace) -> int:
    workspace, folder = open_workspace(), arguments.into
    model, target = arguments.model, arguments.target
    tracking = metadata(workspace.home)
    url = arguments.registry or _address(workspace, tracking)
    device = arguments.id or f"{target}-{secrets.token_hex(3)}"
    text = _configuration(device, model, target, url)
    release = write_enrolment(open_repository(workspace), tracking, model, target, folder, text)
    load_agent_config(folder / CONFIGURATION, {})  # what the agent would refuse is found here, and not in the field
    asked = f"asks {url}" if url else "asks no registry until agent.toml names one"
    print(f"{folder}: device {device} begins with {release.name} version {release.version} and {asked}.")
    return 0


def _address(workspace: Workspace, tracking: Tracking) -> str:
    """The registry's address as this machine knows it, without credentials; empty where no server is up."""
    if not tracking.is_direct:
        parts = urlsplit(tracking.uri)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    server = server_use(workspace.home).server
    return server.uri if server is not None and server.is_alive() else ""


def _configuration(device: str, model: str, target: str, url: str) -> str:
    """The agent's configuration: what the workshop knows is filled in, everything else stands there with its default."""
    known = {
        "device": {"id": device, "model": model, "target": target, "state": "state", "factory": FACTORY, "root": ROOT},
        "registry": {"url": url},
    }
    lines, section = [], ""
    for line in describe_config().splitlines():
        key = line.partition(" = ")[0]
        if line.startswith("["):
            section = line.strip("[]")
            lines.append(line)
        elif key in known.get(section, {}):
            lines.append(f'{key} = "{known[section][key]}"  #{line.partition("  #")[2]}')
        else:
            lines.append(f"# {line}" if line else "")
    return "\n".join(lines) + "\n"
