"""Started in namespaces of its own (`ChrootRun`): makes them what a container sees, gives everything up, becomes the agent.

``python -m edgewright.pipeline.images.chroot_start FILE``, a JSON file that says what. As root; nothing is undone:
mounts, processes and network vanish with the namespaces.

What goes wrong before the mark is written is the set-up's fault: it says nothing of the image.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

_SET_FLAGS, _UP = 0x8914, 0x41  # SIOCSIFFLAGS; IFF_UP | IFF_RUNNING
_END_WITH_PARENT, _DROP_BOUNDING, _NO_NEW_PRIVILEGES, _AMBIENT, _CLEAR_AMBIENT = 1, 24, 38, 47, 4
_CAPABILITIES = 64
_DEVICES = ("null", "zero", "full", "random", "urandom")


def main(file: str) -> None:
    """Never returns: the process becomes what the file names."""
    asked: dict[str, Any] = json.loads(Path(file).read_text())
    os.umask(0o022)
    root = Path(asked["root"])
    for path in asked["member_files"]:
        Path(path).write_text("0")
    _loopback()
    _mounts(root, asked["state"], asked["state_mount"], asked["tmp_mib"])
    with Path(asked["mark"]).open("w") as mark:
        os.chroot(root)
        os.chdir(asked["state_mount"])
        _give_up(asked["user"])
        _check_state()
        mark.write("confined")  # what happens from here on is the image's doing
    os.execve(asked["command"][0], asked["command"], asked["environment"])


def _loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))


def _mounts(root: Path, state: str, state_mount: str, tmp_mib: int) -> None:
    _mount("--bind", str(root), str(root))
    for folder in ("proc", "dev", "tmp", state_mount.lstrip("/")):
        (root / folder).mkdir(parents=True, exist_ok=True)
    _mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", f"{root}/proc")
    _mount("-t", "tmpfs", "-o", "mode=755,size=64k,nosuid", "tmpfs", f"{root}/dev")
    for name in _DEVICES:
        (root / "dev" / name).touch()
        _mount("--bind", f"/dev/{name}", f"{root}/dev/{name}")
    (root / "dev" / "shm").mkdir()
    _mount("-t", "tmpfs", "-o", "mode=1777,size=64m,nosuid,nodev,noexec", "tmpfs", f"{root}/dev/shm")
    _mount("-t", "tmpfs", "-o", f"mode=1777,size={tmp_mib}m,nosuid,nodev,noexec", "tmpfs", f"{root}/tmp")
    _mount("--bind", state, f"{root}{state_mount}")
    _mount("-o", "remount,bind,ro,nosuid,nodev", str(root))


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, timeout=10)


def _give_up(user: int) -> None:
    """Give up every capability, those that a program could bring, and the way back."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_CAPABILITIES):
        if libc.prctl(_DROP_BOUNDING, capability, 0, 0, 0) != 0:
            break  # the kernel knows no more
    libc.prctl(_AMBIENT, _CLEAR_AMBIENT, 0, 0, 0)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    # Asked for again: the change of user takes away what unshare's --kill-child asked for.
    if libc.prctl(_END_WITH_PARENT, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "parent-death signal")


def _check_state() -> None:
    """Look, as the image's user, at what was made here for it: the state, which this process stands in, and the mount.

    The folders on the way there are the image's, and its own doing.
    """
    if not os.access(".", os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(f"user {os.getuid()} may not use the folder of the state that was made here")
    if os.statvfs("/").f_flag & os.ST_NOEXEC:
        raise PermissionError("nothing may be executed below TMPDIR")


if __name__ == "__main__":
    main(sys.argv[1])
