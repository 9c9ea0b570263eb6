"""An image under limits, run by a container engine."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


def test_an_engine_is_asked_for_no_more_processors_than_it_has(
    engine: ContainerEngine, parts: ImageParts, tmp_path: Path
) -> None:
    layout, name = OciLayout.create(tmp_path / "layout"), temporary_name("proof", "wide")
    engine.load(layout, layout.find(build_image(spec_of(None), layout, parts).manifest_digest), name)
    there, run = engine.client.info()["NCPU"], ContainerRun(engine, name, Limits(cpus=4096.0), Start(("run",), {}), 10)
    try:
        with run:
            run._container.reload()
            assert run.limits.cpus == there
            assert run._container.attrs["HostConfig"]["NanoCpus"] == there * 1_000_000_000
    finally:
        engine.forget(name)
    assert engine.client.containers.list(all=True) == []


@pytest.mark.parametrize(("said", "cpus"), [({"NCPU": 1}, 1.0), ({"NCPU": 8}, 2.0), ({}, 2.0)])
def test_a_board_with_one_processor_is_asked_for_one(said: dict[str, int], cpus: float) -> None:
    asked: dict[str, Any] = {}
    made = SimpleNamespace(start=lambda: None, remove=lambda **_: None)
    containers = SimpleNamespace(create=lambda *_, **words: asked.update(words) or made)
    client = SimpleNamespace(info=lambda: said, containers=containers, close=lambda: None, api=SimpleNamespace())
    board: Any = SimpleNamespace(facts=SimpleNamespace(name="a board"), client=client, errors=lambda _: nullcontext())
    board.reopened = lambda _: board
    with ContainerRun(board, "image", Limits(), Start(("run",), {}), 10) as run:
        assert (asked["nano_cpus"], run.limits.cpus) == (cpus * 1e9, cpus)
