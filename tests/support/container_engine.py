"""A container engine, an image registry and emulators from Debian's packages, started by hand and ended by their ids.

What cannot be had here skips the test with one line that says what is missing.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgewright.pipeline.images.emulation import LEAST_VERSION, REGISTRATIONS

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".edgewright" / "cache"
_START_S, _STOP_S = 30.0, 20.0
# Programs of a processor: magic number and mask, as qemu's own script registers them.
_FOREIGN = {
    "aarch64": r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
    "arm": r"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00",
}
_MASK = r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"
_QEMU_FOLDERS = (os.environ.get("EDGEWRIGHT_TEST_QEMU", ""), "/usr/bin", "/usr/local/bin")


@dataclass
class Running:
    """A server that runs.

    Attributes:
        address: Where it is.
        process: Its process.
    """

    address: str
    process: subprocess.Popen[bytes]


@contextmanager
def running_engine(folder: Path) -> Iterator[Running]:
    """``dockerd`` with a state of its own and no effect on the network; ``address`` is for ``DOCKER_HOST``."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("a container engine needs root and dockerd: apt-get install docker.io")
    words = ["--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid"]
    address = f"unix://{folder}/docker.sock"
    words += ["-H", address, "--bridge=none", "--iptables=false", "--ip6tables=false"]
    try:
        with _server(["dockerd", *map(str, words)], folder / "log", lambda: _engine_answers(folder)) as process:
            yield Running(address, process)
    finally:
        _unmount_below(folder)


@contextmanager
def running_registry(folder: Path, accounts: str = "") -> Iterator[Running]:
    """Debian's image registry on loopback; ``address`` is host and port. Accounts are lines of an htpasswd file."""
    if shutil.which("docker-registry") is None:
        pytest.skip("an image registry needs docker-registry: apt-get install docker-registry")
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = f"version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {folder / 'data'}}}\n"
    settings += f"http: {{addr: '{address}'}}\nlog: {{level: error}}\n"
    if accounts:
        (folder / "accounts").write_text(accounts)
        settings += f"auth:\n  htpasswd: {{realm: trial, path: {folder / 'accounts'}}}\n"
    (folder / "settings.yml").write_text(settings)
    command = ["docker-registry", "serve", str(folder / "settings.yml")]
    with _server(command, folder / "log", lambda: _registry_answers(address)) as process:
        yield Running(address, process)


@contextmanager
def foreign_programs(*processors: str) -> Iterator[None]:
    """Lets this kernel start programs of other processors, unless it does already."""
    if os.geteuid() != 0 or "binfmt_misc" not in Path("/proc/filesystems").read_text():
        pytest.skip("emulation needs root and a kernel with binfmt_misc")
    mounted = not (REGISTRATIONS / "register").exists()
    if mounted and subprocess.run(["mount", "-t", "binfmt_misc", "none", str(REGISTRATIONS)], check=False).returncode:
        pytest.skip("binfmt_misc cannot be mounted here")
    registered = []
    try:
        for processor in processors:
            if not (REGISTRATIONS / f"qemu-{processor}").exists():
                line = f":qemu-{processor}:M::{_FOREIGN[processor]}:{_MASK}:{_qemu(processor)}:F"
                (REGISTRATIONS / "register").write_text(line)
                registered.append(REGISTRATIONS / f"qemu-{processor}")
        yield
    finally:
        for path in registered:
            path.write_text("-1")
        if mounted:
            subprocess.run(["umount", str(REGISTRATIONS)], check=False)


def _unmount_below(folder: Path) -> None:
    """Takes away what an engine mounted over its own folders: one that was killed leaves it, sometimes more than once."""
    while mounts := [
        line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if f" {folder}/" in line
    ]:
        subprocess.run(["umount", "--lazy", mounts[-1]], check=True)


def _qemu(processor: str) -> Path:
    for folder in filter(None, _QEMU_FOLDERS):
        for name in (f"qemu-{processor}", f"qemu-{processor}-static"):
            path = Path(folder) / name
            if path.exists():
                said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
                if f"version {LEAST_VERSION[0]}" in said or "version 11" in said:
                    return path
    pytest.skip(
        f"emulation needs qemu {LEAST_VERSION[0]} or later (bookworm-backports: qemu-user), or EDGEWRIGHT_TEST_QEMU"
    )


@contextmanager
def _server(command: list[str], log: Path, answers: Callable[[], bool]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        stop_at = time.monotonic() + _START_S
        while not answers():
            if process.poll() is not None or time.monotonic() > stop_at:
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                pytest.skip(f"{command[0]} cannot run here: {last}")
            time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _engine_answers(folder: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            line.connect(str(folder / "docker.sock"))
            line.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"OK" in line.recv(4096)
    except OSError:
        return False


def _registry_answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/v2/", timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code == 401
    except OSError:
        return False
