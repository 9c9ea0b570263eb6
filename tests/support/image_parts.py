"""The parts of images in small: bases, wheels, lock files and bundles of some bytes, for tests of what puts them together."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edgewright.bundle import Bundle, write_bundle
from edgewright.engines.engine import EngineSettings
from edgewright.golden import Golden
from edgewright.pipeline.images.builder import ImageParts
from edgewright.pipeline.images.image_spec import ImageSpec
from edgewright.pipeline.images.platform import PLATFORMS, Platform
from edgewright.pipeline.images.provenance import ProvenanceFacts
from edgewright.pipeline.images.wheel_lock import LockedWheel, lock_name, lock_text
from edgewright.postprocessing import Classification
from edgewright.preprocessing import Preprocessing

_EXPAT = "Format: https://example.org/copyright-format/1.0/\n\nFiles: *\nLicense: Expat\n"
_METADATA = "Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: {licence}\n"
_PACKAGE = "Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: {version}\n"


def make_base(path: Path, platform: Platform, more: dict[str, bytes] | None = None, reverse: bool = False) -> Path:
    """A root file system in small: an interpreter, modules, two packages with copyright files, what a base must not keep."""
    words = {"architecture": platform.debian}
    status = _PACKAGE.format(name="libc6", version="2.36-9", **words) + "Source: glibc\n\n"
    status += _PACKAGE.format(name="libgcc-s1", version="12.2", **words)
    files = {
        "usr/bin/python3.11": b"\x7fELF interpreter",
        "usr/lib/python3.11/json.py": b"def loads(text):\n    return text\n",
        "usr/lib/python3.11/lib2to3/bad.py": b"print 'no Python of today'\n",
        "usr/share/doc/libc6/copyright": b"it is under /usr/share/common-licenses/LGPL-2.1 and so on",
        "usr/share/doc/gcc-12-base/copyright": _EXPAT.encode(),
        "var/lib/dpkg/status": status.encode(),
        "var/cache/apt/archives/x.deb": b"a cache",
        "etc/os-release": b'ID=debian\nVERSION_ID="12"\n',
        **{f"usr/lib/python3/dist-packages/{name}/__init__.py": b"" for name in platform.from_base},
        **(more or {}),
    }
    with tarfile.open(path, "w") as archive:
        for name in sorted(files, reverse=reverse):
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.mtime, member.mode = (
                len(files[name]),
                1_700_000_000,
                0o755 if "/bin/" in name else 0o644,
            )
            archive.addfile(member, io.BytesIO(files[name]))
        link = tarfile.TarInfo("./usr/share/doc/libgcc-s1")
        link.type, link.linkname = tarfile.SYMTYPE, "gcc-12-base"
        archive.addfile(link)
        hard = tarfile.TarInfo("./bin/python3")
        hard.type, hard.linkname = tarfile.LNKTYPE, "./usr/bin/python3.11"
        archive.addfile(hard)
        device = tarfile.TarInfo("./dev/null")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)
    return path


def make_wheel(
    folder: Path, name: str, version: str = "1.0", files: dict[str, bytes] | None = None, licence: str = "MIT"
) -> Path:
    """A wheel for any machine, the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    content = {
        f"{module}/__init__.py": f"name = {name!r}\n".encode(),
        f"{module}/tests/test_it.py": b"assert True\n",
        f"{module}/core.cpython-311-x86_64-linux-gnu.so": b"\x7fELF library",
        f"{info}/METADATA": _METADATA.format(name=name, version=version, licence=licence).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
        **(files or {}),
    }
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for place, data in content.items():
            archive.writestr(zipfile.ZipInfo(place, (1980, 1, 1, 0, 0, 0)), data)
    return path


def locked(path: Path) -> LockedWheel:
    """How a lock names a wheel."""
    name, version = path.name.split("-")[:2]
    return LockedWheel(name.replace("_", "-"), version, hashlib.sha256(path.read_bytes()).hexdigest())


def keep(path: Path, cache: Path) -> LockedWheel:
    """Puts a wheel where fetched ones are kept."""
    wheel = locked(path)
    (cache / wheel.sha256).mkdir(parents=True, exist_ok=True)
    (cache / wheel.sha256 / path.name).write_bytes(path.read_bytes())
    return wheel


def make_bundle(
    folder: Path, platform: str = "linux/amd64", target: str = "box", seed: int = 0, size: int = 40_000
) -> Bundle:
    """A bundle of random bytes: nobody runs it, an image holds it."""
    random = np.random.default_rng(seed)
    engine = "litert" if platform == "linux/arm/v7" else "onnxruntime"
    samples = random.integers(0, 256, (16, 8, 8), dtype=np.uint8)
    outputs = random.standard_normal((16, 3)).astype(np.float32)
    return write_bundle(
        folder,
        model=random.bytes(size),
        golden=Golden(samples, outputs, outputs.argmax(1).astype(np.int64)),
        model_name="tiny",
        target=target,
        variant="i8",
        platform=platform,
        engine=engine,
        settings=EngineSettings(("XNNPACK",) if engine == "litert" else ("CPUExecutionProvider",)),
        input_name="image",
        preprocessing=Preprocessing((1, 8, 8), 1 / 255, (0.0,), (1.0,)),
        postprocessing=Classification(("a", "b", "c")),
        build="b1",
        data_sha256="d" * 64,
    )


def make_parts(folder: Path, reverse: bool = False) -> ImageParts:
    """Bases, wheels and locks for every platform and engine."""
    folder.mkdir(parents=True, exist_ok=True)
    bases: dict[str, Path | tuple[Path, str]] = {}
    for platform in PLATFORMS.values():
        bases[platform.name] = make_base(folder / f"{platform.debian}.tar", platform, reverse=reverse)
        for engine in platform.engines:
            wheels = [keep(make_wheel(folder / "made", name), folder / "wheels") for name in platform.wheels(engine)]
            (folder / "locks").mkdir(exist_ok=True)
            (folder / "locks" / lock_name(platform, engine)).write_text(lock_text(platform, engine, wheels), "utf-8")
    return ImageParts(folder / "locks", folder / "wheels", bases)


def spec_of(bundle: Bundle | None, platform: str = "linux/amd64", **changes: Any) -> ImageSpec:
    """What an image of a bundle is asked to be."""
    asked: dict[str, Any] = {
        "model": "tiny",
        "target": "box",
        "variant": "i8",
        "version": 7,
        "platform": PLATFORMS[platform],
        "engine": "litert" if platform == "linux/arm/v7" else "onnxruntime",
        "threads": 2,
        "bundle": None if bundle is None else bundle.folder,
        "verdict": "pass",
        "provenance": ProvenanceFacts("b1", "tiny", "e" * 64, "c" * 40, "d" * 64, "run1", "a" * 40),
        "source_date_epoch": 1_750_000_000,
    }
    return ImageSpec(**{**asked, **changes})
