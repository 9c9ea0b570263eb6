"""Images of a real release by the real command: built twice alike, proven, pushed, and pulled by another tool."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from container_engine import CACHE, running_engine, running_registry
from edgewright.pipeline.images.oci_layout import OciLayout
from real_image_parts import make_real_parts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="bases are made and images run as root"),
    pytest.mark.skipif(
        shutil.which("mmdebstrap") is None, reason="mmdebstrap makes the bases: apt-get install mmdebstrap"
    ),
]


@pytest.fixture(scope="module")
def supplied(workshop: Any) -> Any:
    """The workshop with bases and wheels, which are made and fetched once for a checkout."""
    make_real_parts()
    (CACHE / "wheels").mkdir(exist_ok=True)
    workshop.home.joinpath("cache").symlink_to(CACHE)
    return workshop


def images(workshop: Any, *words: str) -> tuple[Any, list[dict[str, Any]]]:
    """Builds; returns how it ended and what is on record."""
    done = workshop.edgewright("images", "tiny", "--target", "here", "--version", "1", "--build", *words)
    listed = workshop.edgewright("images", "tiny", "--json")
    assert listed.status == 0, listed.err
    return done, json.loads(listed.out)


def test_without_an_engine_a_release_gets_its_images(supplied: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "none")
    done, found = images(supplied)
    assert done.status == 0, done.err
    (release,) = found
    platforms = {each["platform"]: each for each in release["platforms"]}
    assert set(platforms) == {"linux/amd64", "linux/arm64"}
    assert platforms["linux/amd64"]["proof"].startswith("proven: 16 of 16 golden samples"), done.err
    assert platforms["linux/arm64"]["proof"].startswith(("not proven here: ", "proven: "))
    shown = supplied.edgewright("images", "tiny")
    assert release["index"] in shown.out and "proven: 16 of 16" in shown.out
    shutil.rmtree(supplied.home / "images")
    assert digests(images(supplied)[1]) == digests(found), "the same, from nothing"


def test_with_an_engine_it_gets_the_same(supplied: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = images_on_record(supplied)
    with running_engine(tmp_path) as running:
        monkeypatch.setenv("DOCKER_HOST", running.address)
        done, found = images(supplied)
    assert done.status == 0, done.err
    assert not before or digests(found) == digests(before)
    assert "docker" in found[0]["platforms"][0]["proof"]


def digests(found: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [(each["index"], [image["digest"] for image in each["platforms"]]) for each in found]


def images_on_record(workshop: Any) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(workshop.edgewright("images", "tiny", "--json").out)
    return listed


def test_pushed_images_are_pulled_by_digest_and_a_device_file_names_them(
    supplied: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "none")
    with running_registry(tmp_path / "registry") as running:
        done, found = images(supplied, "--push", f"http://{running.address}/team")
        assert done.status == 0, done.err
        assert found[0]["pull"] == f"{running.address}/team/tiny.here@{found[0]['index']}"
        if shutil.which("skopeo"):
            copy = ["skopeo", "copy", "--all", "--src-tls-verify=false", f"docker://{found[0]['pull']}"]
            subprocess.run([*copy, f"oci:{tmp_path / 'pulled'}:x"], check=True, timeout=120, capture_output=True)
            pulled = OciLayout(tmp_path / "pulled")
            assert pulled.find("x").digest == found[0]["index"]
            pulled.verify(pulled.find("x"))
    file = tmp_path / "compose.edge.yaml"
    words = ["--target", "here", "--version", "1", "--compose", str(file), "--device", "/dev/video0"]
    wrote = supplied.edgewright("images", "tiny", *words)
    assert wrote.status == 0, wrote.err
    assert found[0]["pull"] in file.read_text()
