"""Wheels: fetched by pip against their hashes, kept by their hashes, unpacked without what no device loads."""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from edgewright.errors import ImageError, IntegrityError
from edgewright.pipeline.images.bytecode import bytecode, bytecode_path
from edgewright.pipeline.images.layer import Tree
from edgewright.pipeline.images.layout_writer import no_room
from edgewright.pipeline.images.platform import PYTHON_VERSION, Platform
from edgewright.pipeline.images.wheel_lock import LockedWheel, normalised

FETCH_DEADLINE_S = 900.0
_MEMBER_MOST_BYTES = 1 << 30
_ERROR_LINES = 3

# What is left out, by patterns of paths. Images without it reproduce golden samples and import every module of the agent.
_LEFT_OUT_OF_ALL = (
    *("*/tests/*", "*/test/*", "*/include/*", "*/_examples/*"),
    *("*.pyi", "*.pyx", "*.pxd", "*.h", "*.hpp", "*.c", "*.cc", "*.cpp", "*.a", "*.pc", "*.typed", "*.ini", "*.pyc"),
    *("*.dist-info/RECORD", "*.dist-info/entry_points.txt", "*.dist-info/direct_url.json"),
)
_LEFT_OUT = {
    "numpy": (
        *(
            "numpy/distutils/*",
            "numpy/f2py/*",
            "numpy/testing/*",
            "numpy/doc/*",
            "numpy/_core/lib/*",
            "numpy/random/lib/*",
        ),
        *("numpy/_core/_simd.*", "numpy/*_tests.*.so", "numpy/conftest.py", "numpy/_pyinstaller/*"),
    ),
    # The wheel holds the runtime twice: within the Python module, and as a library for programs in C.
    "onnxruntime": (
        *("onnxruntime/capi/libonnxruntime.so.*", "onnxruntime/capi/convert_npz*", "onnxruntime/capi/*_build_info.py"),
        *(f"onnxruntime/{part}/*" for part in ("transformers", "quantization", "tools", "datasets", "backend")),
    ),
    "cffi": ("cffi/*",),  # cryptography loads its C part alone, which stands beside
}
# Of these the few that are loaded are fewer than those that are not: accelerators, compilers of vendors, converters.
_KEPT = {
    "ai-edge-litert": (
        *("ai_edge_litert/__init__.py", "ai_edge_litert/interpreter.py", "ai_edge_litert/metrics_*.py"),
        *("ai_edge_litert/_pywrap_litert_interpreter_wrapper.so", "ai_edge_litert/libpywrap_litert_common.so"),
        "*.dist-info/*",
    ),
}


def fetch_wheels(
    wheels: Sequence[LockedWheel], platform: Platform, cache: Path, deadline_s: float = FETCH_DEADLINE_S
) -> tuple[Path, ...]:
    """Bring wheels here; those that are here already are compared with their hashes, and fetched again where they differ.

    Args:
        wheels: Which.
        platform: What they are for.
        cache: Folder that keeps them, by their hashes.
        deadline_s: Time that pip is given for all of them.

    Returns:
        A file for each, in order.

    Raises:
        ImageError: One cannot be had, or is not in time.
        IntegrityError: One that came has another hash.
        DiskFullError: There is no room.
    """
    with no_room(cache):
        cache.mkdir(parents=True, exist_ok=True)
        missing = [wheel for wheel in wheels if _kept(wheel, cache) is None]
        if missing:
            _download(missing, platform, cache, deadline_s)
        found = [_kept(wheel, cache) for wheel in wheels]
        for wheel, path in zip(wheels, found, strict=True):
            if path is None:
                raise IntegrityError(f"{cache} lost {wheel.name} {wheel.version} again: its disk is full or failing.")
        return tuple(path for path in found if path is not None)


def add_wheel(tree: Tree, wheel: Path, site: str) -> None:
    """Unpack a wheel into a tree, with bytecode.

    Args:
        tree: Where to.
        wheel: The file.
        site: Folder of the image that Python looks in, without a leading slash.

    Raises:
        ImageError: The file is no wheel.
    """
    name = normalised(wheel.name.partition("-")[0])
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                place = _installed(member.filename)
                if member.is_dir() or place is None or _is_left_out(name, place):
                    continue
                if member.file_size > _MEMBER_MOST_BYTES:
                    raise ImageError(f"{wheel.name} holds {place} of {member.file_size} bytes: it is damaged.")
                add_source(tree, f"{site}/{place}", archive.read(member))
    except (zipfile.BadZipFile, OSError) as cause:
        raise ImageError(f"{wheel} cannot be read as a wheel: {cause}. Remove it and build again.") from cause


def add_source(tree: Tree, path: str, content: bytes) -> None:
    """Add a file of Python's: libraries can be executed, sources bring their bytecode."""
    tree.file(path, content, 0o755 if path.endswith(".so") or ".so." in posixpath.basename(path) else 0o644)
    if path.endswith(".py") and (compiled := bytecode(content, f"/{path}")) is not None:
        tree.file(bytecode_path(path), compiled)


def _installed(member: str) -> str | None:
    """Where pip would put a member below site-packages; None for scripts, headers and data."""
    if ".data/" not in member.partition("/")[0] + "/":
        return member
    _, _, rest = member.partition(".data/")
    kind, _, place = rest.partition("/")
    return place if kind in ("purelib", "platlib") else None


def _is_left_out(name: str, place: str) -> bool:
    if name in _KEPT and not any(fnmatchcase(place, pattern) for pattern in _KEPT[name]):
        return True
    return any(fnmatchcase(place, pattern) for pattern in (*_LEFT_OUT_OF_ALL, *_LEFT_OUT.get(name, ())))


def _kept(wheel: LockedWheel, cache: Path) -> Path | None:
    """A wheel that is here and whole; what is not whole is removed."""
    for path in sorted((cache / wheel.sha256).glob("*.whl")):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
        if digest.hexdigest() == wheel.sha256:
            return path
        path.unlink(missing_ok=True)
    return None


def _download(wheels: Sequence[LockedWheel], platform: Platform, cache: Path, deadline_s: float) -> None:
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as folder:
        lines = Path(folder) / "requirements.txt"
        lines.write_text("".join(f"{wheel.requirement}\n" for wheel in wheels), "utf-8")
        pip = run_pip(
            ["download", "--require-hashes", "--requirement", str(lines), "--dest", folder], platform, deadline_s
        )
        if "No space left on device" in pip.stdout:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if pip.returncode != 0:
            raise _refusal(pip.stdout, wheels, platform)
        by_digest = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in Path(folder).glob("*.whl")}
        for wheel in wheels:
            if wheel.sha256 not in by_digest:
                raise ImageError(f"pip said that it fetched {wheel.name} {wheel.version}, and did not.")
            path = by_digest[wheel.sha256]
            (cache / wheel.sha256).mkdir(exist_ok=True)
            path.replace(cache / wheel.sha256 / path.name)


def run_pip(words: Sequence[str], platform: Platform, deadline_s: float) -> subprocess.CompletedProcess[str]:
    """Run pip for another platform; it takes its index and its certificates from its own settings.

    Raises:
        ImageError: It is not done in time, or not installed.
    """
    tags = [word for tag in platform.wheel_platforms for word in ("--platform", tag)]
    abis = [word for abi in (f"cp{PYTHON_VERSION.replace('.', '')}", "abi3", "none") for word in ("--abi", abi)]
    command = [sys.executable, "-m", "pip", *words, "--no-deps", "--only-binary=:all:", *tags, *abis]
    command += [
        "--python-version",
        PYTHON_VERSION,
        "--implementation",
        "cp",
        "--no-input",
        "--disable-pip-version-check",
    ]
    try:
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=deadline_s,
            check=False,
        )
    except subprocess.TimeoutExpired as cause:
        raise ImageError(f"pip did not fetch the wheels of {platform.name} within {deadline_s:g} s.") from cause


def _refusal(said: str, wheels: Sequence[LockedWheel], platform: Platform) -> ImageError | IntegrityError:
    """What pip's last words mean."""
    if "DO NOT MATCH THE HASHES" in said:
        names = [wheel for wheel in wheels if re.search(rf"^\s+{re.escape(wheel.name)}==\S+ from", said, re.M | re.I)]
        named = ", ".join(f"{wheel.name} {wheel.version}" for wheel in names) or "a wheel"
        return IntegrityError(
            f"{named} for {platform.name} came with another SHA-256 than its lock file pins: it was exchanged, or the lock "
            f"is not of this index. Look why before you write the lock anew (edgewright images lock)."
        )
    missing = re.search(r"No matching distribution found for ([^\s=]+)==([^\s(]+)", said)
    if missing:
        return ImageError(
            f"{missing[1]} {missing[2]} has no wheel for {platform.name} at the index that pip asks. Name one that has it "
            f"(PIP_INDEX_URL, PIP_FIND_LINKS), or write the lock anew: edgewright images lock."
        )
    last = [line.strip() for line in said.splitlines() if line.strip()][-_ERROR_LINES:]
    return ImageError(f"pip could not fetch the wheels of {platform.name}: {' / '.join(last)}")
