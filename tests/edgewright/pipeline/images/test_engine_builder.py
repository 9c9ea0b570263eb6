"""Images by a container engine: the same tree, the same digests, and nothing half done when the engine is not up to it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from container_engine import ROOT, Running, running_engine
from edgewright.errors import ImageError, IntegrityError
from edgewright.pipeline.images.builder import ImageParts, build_image, build_index
from edgewright.pipeline.images.engine_builder import DOCKERFILE, build_image_with_engine
from edgewright.pipeline.images.engine_client import ContainerEngine, EngineFailedError, find_engine
from edgewright.pipeline.images.image_registry import ImageRegistry
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import PLATFORMS
from edgewright.pipeline.images.registry_address import parse_address
from image_parts import make_bundle, make_parts, spec_of

FILE = ROOT / DOCKERFILE


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ImageParts:
    return make_parts(tmp_path_factory.mktemp("parts"))


def is_untouched(layout: OciLayout) -> bool:
    """Whether a layout holds nothing at all: no entry, no blob, no half of one."""
    left = [path.name for path in layout.root.iterdir() if path.name.startswith(".writing")]
    return not layout.entries() and not list((layout.root / "blobs/sha256").iterdir()) and not left


@pytest.mark.parametrize("host", ["none", "unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_where_no_engine_answers_there_is_none(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    assert find_engine() is None


def test_the_dockerfile_copies_and_runs_nothing() -> None:
    words = {line.split()[0] for line in FILE.read_text().splitlines() if line and not line.startswith("#")}
    assert words == {"ARG", "FROM", "COPY"}


@pytest.mark.parametrize("platform", list(PLATFORMS))
def test_both_builders_give_the_same_image(
    platform: str, engine: ContainerEngine, parts: ImageParts, tmp_path: Path
) -> None:
    spec = spec_of(make_bundle(tmp_path / "bundle", platform), platform)
    without = build_image(spec, OciLayout.create(tmp_path / "without"), parts)
    layout = OciLayout.create(tmp_path / "with")
    assert build_image_with_engine(spec, layout, parts, engine, FILE) == without
    layout.verify(layout.find(without.manifest_digest))
    assert engine.client.images.list() == [], "the engine keeps nothing of it"


def test_an_image_without_a_bundle_and_twice(engine: ContainerEngine, parts: ImageParts, tmp_path: Path) -> None:
    images = [
        build_image_with_engine(spec_of(None, variant="i8"), OciLayout.create(tmp_path / name), parts, engine, FILE)
        for name in ("one", "two")
    ]
    assert images[0] == images[1]
    assert [layer.name for layer in images[0].layers] == ["base", "wheels", "application"]


def test_what_somebody_pulled_by_its_digest_or_built_without_a_name_survives_a_build_on_the_same_base(
    engine: ContainerEngine, registry: Running, parts: ImageParts, tmp_path: Path
) -> None:
    layout = OciLayout.create(tmp_path / "layout")
    image = build_image(spec_of(None), layout, parts)
    address = parse_address(f"http://{registry.address}/pulled")
    pushed = ImageRegistry(address).push(layout, build_index([image], layout, "a:1").digest, "1")
    engine.client.api.pull(pushed.address.pull)
    pulled = engine.client.images.get(pushed.address.pull).id
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "Dockerfile").write_text(f"FROM {pushed.address.pull}\nLABEL mine=yes\n")
    own, _ = engine.client.images.build(path=str(tmp_path / "own"), rm=True)
    try:
        build_image_with_engine(spec_of(make_bundle(tmp_path / "bundle")), layout, parts, engine, FILE)
        assert {each.id for each in engine.client.images.list()} == {pulled, own.id}
    finally:
        engine.forget(own.id)
        engine.forget(pulled)


def test_an_engine_that_makes_something_else_is_found_out(
    engine: ContainerEngine, parts: ImageParts, tmp_path: Path
) -> None:
    other = tmp_path / "Dockerfile"
    other.write_text(re.sub(r"COPY application", "COPY --chown=7:7 application", FILE.read_text()))
    layout = OciLayout.create(tmp_path / "layout")
    with pytest.raises(EngineFailedError, match=r"file\(s\) of tiny\.box for linux/amd64 other than .* opt/edgewright"):
        build_image_with_engine(spec_of(None), layout, parts, engine, other)
    assert is_untouched(layout)


def test_what_the_engine_refuses_is_said_in_one_line(
    engine: ContainerEngine, parts: ImageParts, tmp_path: Path
) -> None:
    other = tmp_path / "Dockerfile"
    other.write_text(FILE.read_text() + "COPY nowhere/ /\n")
    layout = OciLayout.create(tmp_path / "layout")
    with pytest.raises(EngineFailedError, match=r"could not build tiny.box for linux/amd64: .*nowhere"):
        build_image_with_engine(spec_of(None), layout, parts, engine, other)
    assert is_untouched(layout)
    assert engine.client.images.list() == []


def test_outside_of_a_checkout_it_says_so(engine: ContainerEngine, parts: ImageParts, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="run this in a checkout"):
        build_image_with_engine(spec_of(None), OciLayout.create(tmp_path / "l"), parts, engine, tmp_path / "none")


def test_an_engine_that_dies_during_the_build(
    parts: ImageParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = OciLayout.create(tmp_path / "layout")
    with running_engine(tmp_path) as running:
        monkeypatch.setenv("DOCKER_HOST", running.address)
        engine = find_engine()
        assert engine is not None
        monkeypatch.setattr(engine.client.api, "build", dying(engine.client.api.build, running.process.pid))
        with pytest.raises(EngineFailedError, match=r"ended .*while building .* Nothing was registered") as failed:
            build_image_with_engine(spec_of(None), layout, parts, engine, FILE)
        assert "\n" not in str(failed.value)
    assert is_untouched(layout)


def dying(build: Callable[..., Iterator[Any]], pid: int) -> Callable[..., Iterator[Any]]:
    """The engine's own build, until its first word; then the engine is killed."""

    def built(**words: Any) -> Iterator[Any]:
        lines = build(**words)
        yield next(lines)
        os.kill(pid, 9)
        yield from (line for line in lines if "Successfully" not in str(line) and "aux" not in line)

    return built


def test_a_damaged_layer_does_not_get_into_an_engine(
    engine: ContainerEngine, parts: ImageParts, tmp_path: Path
) -> None:
    layout = OciLayout.create(tmp_path / "layout")
    image = build_image(spec_of(make_bundle(tmp_path / "bundle")), layout, parts)
    blob = layout.blob_path(image.layers[1].digest)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"layer 2 .* is not what its name says"):
        engine.load(layout, layout.find(image.manifest_digest), "trial:1")
    assert engine.client.images.list() == []
