"""``edgewright images``: the images of releases; builds, proves and pushes them, and writes a device's compose file."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgewright.cli import images_lock
from edgewright.errors import UsageError
from edgewright.pipeline.deployment_files import TARGETS_FILE

LOCK = "lock"


def add_words(parser: argparse.ArgumentParser) -> None:
    """The words of the command."""
    parser.add_argument("model", help=f"name of the model, e.g. digits; or `{LOCK}`: write the lock files anew")
    parser.add_argument("--target", metavar="T", help="name of a target, e.g. linux-x86 (default: list all)")
    parser.add_argument("--version", type=int, metavar="N", help="number of the model version (default: the champion)")
    parser.add_argument("--build", action="store_true", help="build and prove the release's images, one per platform")
    parser.add_argument(
        "--push", metavar="REGISTRY", help="with --build: bring them there, e.g. registry.example:5000/team"
    )
    parser.add_argument(
        "--base",
        default="",
        metavar="IMAGE",
        help="with --build: what they stand on, by digest: python@sha256:…, or oci:FOLDER@sha256:… of a layout "
        "(default: what docker/base.sh made)",
    )
    parser.add_argument(
        "--without-bundle",
        action="store_true",
        help="with --build: runtime and agent alone, without the release's bundle",
    )
    parser.add_argument(
        "--builder",
        choices=["auto", "engine", "layout"],
        default="auto",
        help="with --build: a container engine where one answers (auto), for certain, or none; same digests",
    )
    parser.add_argument("--compose", type=Path, metavar="FILE", help="write a device's compose file for the target")
    parser.add_argument(
        "--device", action="append", default=[], metavar="PATH", help="with --compose: e.g. /dev/video0"
    )
    parser.add_argument(
        "--cpus",
        type=float,
        metavar="N",
        help="with --compose: processors, where the board has fewer than two",
    )
    parser.add_argument(
        "--group", action="append", default=[], metavar="ID", help="with --compose: group that may open it, e.g. 44"
    )
    parser.add_argument(
        "--targets",
        type=Path,
        default=Path(TARGETS_FILE),
        metavar="FILE",
        help="targets, for releases that do not say theirs (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="list as JSON")
    images_lock.add_words(parser.add_argument_group(f"with `{LOCK}`"))  # type: ignore[arg-type]


def run(arguments: argparse.Namespace) -> int:
    """Does what the words say.

    Raises:
        UsageError: Words do not fit together.
        RegistryError: There is no such release, or the registry cannot be reached.
        ImageError: Something cannot be built, proven or pushed.
    """
    if arguments.model == LOCK:
        return images_lock.run(arguments)
    if arguments.compose and not arguments.compose.parent.is_dir():
        raise UsageError(
            f"--compose {arguments.compose}: there is no folder {arguments.compose.parent}. Make it first."
        )
    if (arguments.build or arguments.compose) and not arguments.target:
        raise UsageError("--build and --compose are about one target: name it with --target.")
    if arguments.cpus is not None and not 0.01 <= arguments.cpus <= 1024:
        raise UsageError(f"--cpus {arguments.cpus:g}: from 0.01 to 1024, as engines count processors.")
    if arguments.push and not arguments.build:
        raise UsageError("--push goes with --build: the images are built, which gives the same again, and then pushed.")
    status = _build(arguments) if arguments.build else 0
    if arguments.compose:
        _write_compose(arguments)
    if not arguments.build and not arguments.compose:
        _list(arguments)
    return status


def _build(arguments: argparse.Namespace) -> int:
    from edgewright.cli.console import StageBoard, open_console
    from edgewright.cli.prefect_settings import settle_prefect
    from edgewright.pipeline.workspace import open_workspace

    console = open_console()
    server = settle_prefect(open_workspace())
    with console.status(" starting Prefect and the registry"):
        from prefect import tags

        from edgewright.pipeline.live_process import process_tag
        from flows.release_images import BUILT, release_images
        from tasks.progress import listening

        if server is not None:
            server.wait()
    with StageBoard(console) as board, listening(board), tags(process_tag()):
        state = release_images(
            arguments.model,
            arguments.target,
            arguments.version,
            arguments.push,
            arguments.base,
            arguments.builder,
            not arguments.without_bundle,
            str(arguments.targets),
            return_state=True,
        )
    if state.is_failed() and state.name == "Failed":  # an error: say it as every command does
        state.result()
    print(f"{state.name}: {state.message}", file=sys.stdout if state.name == BUILT else sys.stderr)
    return 0 if state.name == BUILT else 1


def _list(arguments: argparse.Namespace) -> None:
    found = _recorded(arguments)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    if not found:
        print(
            f"no image of {arguments.model} is recorded. Build: edgewright images {arguments.model} --target T --build"
        )
    for each in found:
        marks = f" ({', '.join(each['aliases'])})" if each["aliases"] else ""
        print(f"{each['name']} version {each['version']}{marks}: {each['pull'] or each['layout']}")
        print(f"  index         {each['index']}")
        for image in each["platforms"]:
            print(f"  {image['platform']:<13} {image['digest']}\n{'':<16}{image['proof']}")


def _recorded(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from edgewright.pipeline.tracking import get_version, metadata, registered_names, versions
    from edgewright.pipeline.tracking.image_tags import recorded_images
    from edgewright.pipeline.workspace import open_workspace

    tracking, found = metadata(open_workspace().home), []
    for name in registered_names(tracking, arguments.model):
        target = name.partition(".")[2]
        if arguments.target not in (None, target):
            continue
        for version in versions(tracking, arguments.model, target):
            images = recorded_images(version.tags)
            if images is not None and arguments.version in (None, version.version):
                aliases = get_version(tracking, arguments.model, target, version.version).aliases
                found.append({"name": name, "version": version.version, **asdict(images), "aliases": list(aliases)})
    return found


def _write_compose(arguments: argparse.Namespace) -> None:
    from edgewright.durable import replace_file
    from edgewright.errors import ImageError
    from edgewright.pipeline.images.edge_compose import EdgeOptions, render_compose
    from edgewright.pipeline.images.release_images import plan_images
    from edgewright.pipeline.tracking import metadata
    from edgewright.pipeline.tracking.image_tags import recorded_images
    from edgewright.pipeline.workspace import open_workspace

    model, target = arguments.model, arguments.target
    tracking = metadata(open_workspace().home)
    member = plan_images(tracking, model, target, arguments.version, str(arguments.targets)).members[0]
    images = recorded_images(member.version.tags)
    if images is None or images.pull is None:
        raise ImageError(
            f"{model}.{target} version {member.version.version} has no image in a registry: edgewright images {model} "
            f"--target {target} --build --push REGISTRY."
        )
    options = EdgeOptions(
        model,
        target,
        f"version {member.version.version}",
        images.pull,
        member.platform.name,
        member.limits if arguments.cpus is None else replace(member.limits, cpus=arguments.cpus),
        tuple(arguments.device),
        tuple(arguments.group),
        command=f"edgewright images {model} --target {target} --compose {arguments.compose.name}",
    )
    replace_file(arguments.compose, render_compose(options).encode())
    print(f"{arguments.compose}: {options.image}")
