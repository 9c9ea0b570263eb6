"""The words of ``edgewright keys``, ``release`` and ``enrol``; imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgewright.pipeline.deployment_files import TARGETS_FILE

_KEYS = """\
examples:
  edgewright keys init --offline /media/usb/edgewright   # root and targets keys on the stick, the others in the workspace
  edgewright keys status
  edgewright keys rotate timestamp --offline /media/usb/edgewright
  edgewright keys rotate digits.linux-x86 --offline /media/usb/edgewright
  edgewright keys revoke digits.linux-x86 --offline /media/usb/edgewright

passphrases: online keys EDGEWRIGHT_KEYS_PASSPHRASE or EDGEWRIGHT_KEYS_PASSPHRASE_FILE (else one is generated beside them);
offline keys EDGEWRIGHT_OFFLINE_PASSPHRASE or EDGEWRIGHT_OFFLINE_PASSPHRASE_FILE, else you are asked.
"""
_RELEASE = """\
example:
  edgewright release sign digits --target linux-x86 --offline /media/usb/edgewright
"""
_ENROL = """\
example:
  edgewright enrol digits --target linux-x86 --into /tmp/device-7 --registry https://mlflow.example.org --id device-7
  then copy the folder to the device and start it there: edgewright-agent run --config agent.toml
"""
_OFFLINE = (
    "folder of the offline keys, e.g. on a stick (default: $EDGEWRIGHT_OFFLINE_KEYS, else offline/ beside the others)"
)


def add_words(name: str, parser: argparse.ArgumentParser) -> None:
    """Add a command's words."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    {"keys": _add_keys, "release": _add_release, "enrol": _add_enrol}[name](parser)


def _add_keys(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _KEYS
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    init = actions.add_parser("init", help="make the keys, or let them take the place of development keys")
    rotate = actions.add_parser("rotate", help="let a new key take the place of one")
    rotate.add_argument("name", help="root-1, root-2, root-3, targets, snapshot, timestamp, or MODEL.TARGET")
    revoke = actions.add_parser("revoke", help="take a release key's right back, after a theft")
    revoke.add_argument("name", metavar="MODEL.TARGET", help="whose releases it signs, e.g. digits.linux-x86")
    for each in (init, rotate, revoke):
        each.add_argument("--offline", type=Path, metavar="DIR", help=_OFFLINE)
    status = actions.add_parser(
        "status", help="roles, keys, where they lie, what expires when; exits with 1 on an alarm"
    )
    status.add_argument("--json", action="store_true", help="as JSON")
    status.add_argument("--offline", type=Path, metavar="DIR", help=_OFFLINE)


def _add_release(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _RELEASE
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    sign = actions.add_parser(
        "sign",
        help="sign the champion with an offline key, so that devices obey",
        epilog=_RELEASE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sign.add_argument("model", help="model name, e.g. digits")
    sign.add_argument("--target", required=True, help="target name, e.g. linux-x86")
    sign.add_argument("--version", type=int, help="sign only if this version is the champion")
    sign.add_argument("--offline", type=Path, metavar="DIR", help=_OFFLINE)
    sign.add_argument(
        "--vouch", metavar="WHY", help="answer for a bundle that this workshop did not judge; the reason is stored"
    )
    sign.add_argument(
        "--targets",
        type=Path,
        default=Path(TARGETS_FILE),
        help="with --vouch: targets file, for the budgets (default: %(default)s)",
    )


def _add_enrol(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _ENROL
    parser.add_argument("model", help="model name, e.g. digits")
    parser.add_argument("--target", required=True, help="target name, e.g. linux-x86")
    parser.add_argument(
        "--into", type=Path, required=True, metavar="DIR", help="folder for agent.toml, root.json, factory/"
    )
    parser.add_argument("--registry", metavar="URL", help="address of the registry as the device reaches it")
    parser.add_argument("--id", metavar="NAME", help="the device's name (default: made up)")
