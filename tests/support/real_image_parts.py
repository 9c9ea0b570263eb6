"""Real parts of images, made and fetched once and kept in the checkout's workspace: Debian's Python, wheels of the locks.

A test is skipped only where something of this machine is missing: root, mmdebstrap, a network. A script that fails and a
lock that names a wheel which its index does not have any more are failures.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from container_engine import CACHE, ROOT
from edgewright.errors import ImageError
from edgewright.pipeline.images.builder import ImageParts, build_image
from edgewright.pipeline.images.image_spec import BuiltImage, ImageSpec
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import PLATFORMS

_UNREACHABLE = re.compile(r"(?i)could not resolve|temporary failure|unable to connect|could not connect|unreachable")
_WHEELS = re.compile(r"has no wheel for|could not fetch the wheels")


def make_real_parts() -> ImageParts:
    """Bases of all platforms, and where wheels are kept."""
    bases: dict[str, Path | tuple[Path, str]] = {}
    (CACHE / "bases").mkdir(parents=True, exist_ok=True)
    for platform in PLATFORMS.values():
        base = CACHE / "bases" / f"debian-{platform.debian}.tar"
        if not base.exists():
            _make_base(platform.debian, base)
        bases[platform.name] = base
    return ImageParts(ROOT / "docker/locks", CACHE / "wheels", bases)


def build_real(spec: ImageSpec, layout: OciLayout, parts: ImageParts) -> BuiltImage:
    """An image of real parts."""
    try:
        return build_image(spec, layout, parts)
    except ImageError as error:
        if _WHEELS.search(str(error)) and not _index_answers():
            pytest.skip(f"no index of wheels is reachable: {error}")
        raise


def _make_base(architecture: str, base: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("bases are made by root alone (mmdebstrap)")
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap makes the bases: apt-get install mmdebstrap")
    command = [str(ROOT / "docker/base.sh"), architecture, str(base)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if made.returncode != 0 and _UNREACHABLE.search(made.stderr):
        pytest.skip(f"no mirror of Debian is reachable: {made.stderr.strip().splitlines()[-1:]}")
    assert made.returncode == 0, made.stderr


def _index_answers() -> bool:
    """Whether pip's index has a package that every index has: pip itself says the same of a missing wheel and of no line."""
    command = [sys.executable, "-m", "pip", "index", "versions", "pip"]
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0
