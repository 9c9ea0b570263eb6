"""An image under limits, run by a container engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.pipeline.images.builder import ImageParts, build_image
from edgewright.pipeline.images.confinement import Limits, Start
from edgewright.pipeline.images.container_run import ContainerRun
from edgewright.pipeline.images.engine_client import ContainerEngine
from edgewright.pipeline.images.engine_leftovers import temporary_name
from edgewright.pipeline.images.oci_layout import OciLayout
from image_parts import make_parts, spec_of


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ImageParts:
    return make_parts(tmp_path_factory.mktemp("parts"))


def test_what_is_asked_of_a_container_that_has_ended_fails_as_a_command_does(
    engine: ContainerEngine, parts: ImageParts, tmp_path: Path
) -> None:
    layout, name = OciLayout.create(tmp_path / "layout"), temporary_name("proof", "ended")
    engine.load(layout, layout.find(build_image(spec_of(None), layout, parts).manifest_digest), name)
    run = ContainerRun(engine, name, Limits(), Start(("run",), {}), silence_s=10)
    try:
        run._container = engine.client.containers.create(name, ["run"])
        assert not run.is_running()
        done = run.execute(["edgewright-agent", "healthy"], 5)
        assert done.status != 0 and "is not running" in done.output
    finally:
        run.__exit__(None, None, None)
        engine.forget(name)
    assert engine.client.containers.list(all=True) == []
