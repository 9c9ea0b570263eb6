"""``edgewright receive``: takes what devices report, or shows how they are."""

from __future__ import annotations

import argparse
import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from edgewright.pipeline.receiving.fleet import DeviceFigures

TOKEN_VARIABLE = "EDGEWRIGHT_RECEIVER_TOKEN"
_FOLDER = "receiver"


def add_words(parser: argparse.ArgumentParser) -> None:
    """The words of the command."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8940, help="port to listen on; 0: any free one (default: %(default)s)"
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"what devices must show as bearer token (default: ${TOKEN_VARIABLE}; needed beyond this machine)",
    )
    parser.add_argument("--folder", type=Path, help=f"where reports are kept (default: $EDGEWRIGHT_HOME/{_FOLDER})")
    parser.add_argument(
        "--maximum-gib",
        type=float,
        default=4.0,
        metavar="N",
        help="bound of what is kept: rows, and samples' files, each (default: %(default)g)",
    )
    parser.add_argument("--show", action="store_true", help="show how the devices are, and end")


def run(arguments: argparse.Namespace) -> int:
    """Shows the devices, or receives until it is interrupted."""
    folder = arguments.folder or _default_folder()
    if arguments.show:
        _show(folder)
        return 0
    token = _token(arguments.token_file)
    if not token and not _is_loopback(arguments.host):
        raise UsageError(f"--host {arguments.host} can be reached by others: set --token-file or ${TOKEN_VARIABLE}.")
    if not 0 < arguments.maximum_gib <= 1024:
        raise UsageError(f"--maximum-gib must be above 0 and at most 1024, found {arguments.maximum_gib:g}.")
    _receive(arguments.host, arguments.port, folder, token, int(arguments.maximum_gib * (1 << 30)))
    return 0


def _receive(host: str, port: int, folder: Path, token: str, maximum_bytes: int) -> None:
    from edgewright.pipeline.receiving.inbox import Inbox
    from edgewright.pipeline.receiving.receiver import Receiver

    inbox = Inbox(folder, maximum_bytes)
    try:
        server = Receiver((host, port), inbox, token)
    except (OSError, OverflowError) as error:
        inbox.close()
        raise UsageError(f"{host}:{port}: cannot be listened on ({error}). Choose another --host or --port.") from error
    shown = "with its token" if token else "no token needed"
    print(f"receiving at {server.url} ({shown}), kept in {folder}; samples to label: {inbox.samples}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print(f"ended; {inbox.count():,} items are kept in {folder}.")
    finally:
        server.server_close()
        inbox.close()


def _default_folder() -> Path:
    from edgewright.pipeline.workspace import open_workspace

    return open_workspace().home / _FOLDER


def _token(file: Path | None) -> str:
    if file is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip()
    try:
        token = file.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: the token cannot be read ({error}).") from error
    if not token or not token.isprintable() or not token.isascii():
        raise UsageError(f"{file}: a token is one line of printable ASCII, and not empty.")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _show(folder: Path) -> None:
    from edgewright.cli.console import open_console, say
    from edgewright.pipeline.receiving.fleet import fleet_figures

    console, devices = open_console(), fleet_figures(folder)
    if not devices:
        say(console, f"{folder}: no device has reported yet.")
        return
    console.print(_table(devices))
    for device in devices:
        if device.last_reason:
            say(console, f" {device.device} went back last because: {device.last_reason}")
    if samples := sum(device.samples for device in devices):
        say(console, f" {samples:,} samples came, in {folder / 'samples'}: without labels no nightly can use them.")
        say(console, " Label them, and put them with their labels into the model's incoming folder.")


def _table(devices: list[DeviceFigures]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from edgewright.cli.console import figure

    table = Table(title="what devices report", title_justify="left", box=None)
    for heading in ("device", "last seen (UTC)", "release"):
        table.add_column(heading, no_wrap=True)
    for heading in ("p50", "p95", "rollbacks", "drift (PSI)", "items"):
        table.add_column(heading, justify="right", no_wrap=True)
    for device in devices:
        table.add_row(
            Text(device.device),
            device.seen_at[:19].replace("T", " "),
            Text(device.release or "-"),  # a device may call it anything: names are no markup
            figure(device.latency_p50_ms, "{:.3g} ms"),
            figure(device.latency_p95_ms, "{:.3g} ms"),
            f"{device.rollbacks:,}",
            _drift(device),
            f"{device.items:,}",
        )
    return table


def _drift(device: DeviceFigures) -> str:
    """The index; marked where it tells of inputs that have moved."""
    from edgewright.device.sketches import is_drift

    if device.drift_psi is None:
        return "-"
    return f"{device.drift_psi:.3f}{' !' if is_drift(device.drift_psi, device.drift_noise) else ''}"
