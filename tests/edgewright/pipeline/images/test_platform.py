"""Platforms: what each takes from where, and why a target cannot have one."""

from __future__ import annotations

from typing import get_args

import pytest

from edgewright.engines.engine import ENGINE_NAMES
from edgewright.errors import ImageError
from edgewright.pipeline.images.platform import PLATFORMS, platform_named, why_not
from edgewright.pipeline.targets import Platform


def test_every_platform_that_a_target_may_name_has_images() -> None:
    assert set(get_args(Platform)) == set(PLATFORMS)


def test_engines_are_had_or_refused_with_the_reason() -> None:
    for platform in PLATFORMS:
        for engine in ENGINE_NAMES:
            reason = why_not(platform, engine)
            assert (reason is None) == (engine in PLATFORMS[platform].engines)
    refused = why_not("linux/arm/v7", "onnxruntime")
    assert refused is not None and "32-bit ARM" in refused and "litert" in refused
    assert "quantum" in (why_not("linux/amd64", "quantum") or "")
    assert "linux/amd64" in (why_not("windows/amd64", "litert") or "")


def test_an_engine_that_cannot_be_had_has_no_wheels() -> None:
    with pytest.raises(ImageError, match="32-bit ARM"):
        PLATFORMS["linux/arm/v7"].wheels("onnxruntime")
    assert "numpy" in PLATFORMS["linux/arm64"].wheels("onnxruntime")
    assert "numpy" not in PLATFORMS["linux/arm/v7"].wheels("litert")


def test_words_of_the_image_format_and_of_wheels() -> None:
    arm = platform_named("linux/arm/v7")
    assert arm.oci == {"architecture": "arm", "os": "linux", "variant": "v7"} and arm.slug == "linux-arm-v7"
    assert arm.wheel_platforms[0] == "manylinux_2_36_armv7l" and arm.wheel_platforms[-1] == "manylinux2014_armv7l"
    with pytest.raises(ImageError, match="not for 'linux/riscv64'"):
        platform_named("linux/riscv64")


@pytest.mark.parametrize(
    ("name", "oci", "same"),
    [
        ("linux/amd64", {"os": "linux", "architecture": "amd64"}, True),
        ("linux/amd64", {"os": "windows", "architecture": "amd64"}, False),
        ("linux/arm64", {"os": "linux", "architecture": "arm64", "variant": "v8"}, True),
        ("linux/arm/v7", {"os": "linux", "architecture": "arm", "variant": "v7"}, True),
        ("linux/arm/v7", {"os": "linux", "architecture": "arm", "variant": "v6"}, False),
        ("linux/arm64", {"os": "linux", "architecture": "amd64"}, False),
    ],
)
def test_whether_an_index_means_the_platform(name: str, oci: dict[str, str], same: bool) -> None:
    assert PLATFORMS[name].matches(oci) is same
