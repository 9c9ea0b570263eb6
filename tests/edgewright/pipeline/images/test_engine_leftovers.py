"""What a killed run left in an engine is removed by the next; what somebody still needs is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.pipeline.images.builder import ImageParts, build_image
from edgewright.pipeline.images.engine_client import ContainerEngine
from edgewright.pipeline.images.engine_leftovers import remove_leftovers, temporary_name
from edgewright.pipeline.images.oci_layout import OciLayout
from image_parts import make_parts, spec_of

_ELSEWHERE = (
    "from edgewright.pipeline.images.engine_leftovers import temporary_name; print(temporary_name('proof', 'Gone'))"
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ImageParts:
    return make_parts(tmp_path_factory.mktemp("parts"))


def test_a_name_says_whose_it_is_and_is_one_that_engines_take() -> None:
    name = temporary_name("build", "Digits.box")
    assert re.fullmatch(rf"edgewright-build/digits\.box:[0-9a-f]{{8}}-{os.getpid()}-\d+-[0-9a-f]{{8}}", name)
    assert name != temporary_name("build", "Digits.box")


def test_what_dead_processes_of_this_machine_left_goes_and_nothing_else(
    engine: ContainerEngine, parts: ImageParts, tmp_path: Path
) -> None:
    layout = OciLayout.create(tmp_path / "layout")
    image = layout.find(build_image(spec_of(None), layout, parts).manifest_digest)
    said = subprocess.run([sys.executable, "-c", _ELSEWHERE], capture_output=True, text=True, check=True, timeout=60)
    gone, alive = said.stdout.strip(), temporary_name("proof", "alive")
    elsewhere = re.sub(r":[0-9a-f]{8}-", ":00000000-", gone)
    names = [gone, alive, elsewhere, "edgewright-proof/other:1"]
    try:
        for name in names:
            engine.load(layout, image, name)
        kept = engine.client.api.create_container(alive, ["run"])["Id"]
        engine.client.api.create_container(gone, ["run"])
        assert remove_leftovers(engine) == [gone]
        assert [each["Id"] for each in engine.client.api.containers(all=True)] == [kept]
        there = {tag for each in engine.client.api.images() for tag in each.get("RepoTags") or ()}
        assert there >= set(names[1:]) and gone not in there
        engine.client.api.remove_container(kept)
        assert remove_leftovers(engine) == []
    finally:
        for name in names:
            engine.forget(name)
