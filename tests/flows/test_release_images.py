"""The images of a release: one per platform under one index, on record when everything is done, or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.artifacts import Artifact

from edgewright.errors import ImageError, RegistryError
from edgewright.pipeline.images import release_images as images
from edgewright.pipeline.images.builder import ImageParts
from edgewright.pipeline.images.confinement import Limits
from edgewright.pipeline.images.engine_client import EngineFailedError
from edgewright.pipeline.images.image_registry import Pushed
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.proof import Proof, prove_image
from edgewright.pipeline.images.registry_account import Account
from edgewright.pipeline.images.registry_address import Address
from edgewright.pipeline.tracking import ModelVersion, RunRecord, Tracking, get_version, log_run, register
from edgewright.pipeline.workspace import open_workspace
from fake_image_registry import fake_registry
from image_parts import make_bundle, make_parts

pytestmark = pytest.mark.usefixtures("prefect_api")
TARGETS = {
    "here": ("linux/amd64", "onnxruntime"),
    "board": ("linux/arm64", "onnxruntime"),
    "old": ("linux/arm/v7", "litert"),
}
TAG = "edgewright.image."


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model of each test's own."""
    return re.sub(r"\W|_", "-", request.node.name)[-60:].strip("-")


@pytest.fixture
def released(registry: Tracking, model: str, tmp_path: Path) -> Callable[..., dict[str, ModelVersion]]:
    """A build's versions, with real bundles and the targets that they were built for."""

    def release(*names: str, build: str = "b1", verdict: str = "pass") -> dict[str, ModelVersion]:
        return {name: _release(registry, tmp_path, model, name, build, verdict) for name in names}

    return release


def _release(registry: Tracking, scratch: Path, model: str, name: str, build: str, verdict: str) -> ModelVersion:
    from dataclasses import replace

    platform, engine = TARGETS[name]
    made = make_bundle(scratch / f"{name}-{build}", platform, name, seed=len(build))
    manifest = replace(made.manifest, model=model, build=build)
    (made.folder / "manifest.json").write_bytes(manifest.to_bytes())
    context = scratch / f"{name}-{build}.json"
    target = {"platform": platform, "engines": [engine], "pays": ["size"], "budgets": {"peak_memory_mib": 600}}
    context.write_text(json.dumps({"target": target}))
    from edgewright.bundle import read_bundle

    sha256 = read_bundle(made.folder).sha256
    run = RunRecord(
        model=model, build=build, variant="i8", target=name, params={}, metrics={"accuracy_pct": 98.0},
        tags={"edgewright.git_commit": "c" * 40}, artifacts={"bundle": made.folder, "context.json": context},
    )  # fmt: skip
    return register(
        registry,
        model,
        name,
        run_id=log_run(registry, run),
        build=build,
        bundle_sha256=sha256,
        verdict=verdict,
        variant="i8",
    )


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ImageParts:
    """Small parts, no engine, and a proof that is only said."""
    made = make_parts(tmp_path / "parts")
    monkeypatch.setenv("DOCKER_HOST", "none")
    monkeypatch.setattr(images, "image_parts", lambda workspace, platform, base: made)
    monkeypatch.setattr(images, "prove_image", said)
    return made


def said(layout: OciLayout, image: Any, platform: Any, bundle: Path, limits: Limits, *_: Any) -> Proof:
    assert limits.memory_mib == 600, "the target's, as it was built"
    if platform.name == "linux/amd64":
        return Proof(platform.name, "proven", "16 of 16 golden samples", "a trial", {"start_to_healthy_s": 0.9}, limits)
    return Proof(platform.name, "not proven here", "no emulator is registered", limits=limits)


def run(model: str, target: str = "here", **more: Any) -> Any:
    from flows.release_images import release_images

    return release_images(model, target, **{"version": 1, **more}, return_state=True)


def test_a_release_gets_an_image_per_platform_under_one_index(
    registry: Tracking, model: str, released: Callable[..., Any]
) -> None:
    released("here", "board", "old")
    state = run(model)
    assert (state.type.value, state.name) == ("COMPLETED", "Images built")
    assert "Not proven here: linux/arm64, linux/arm/v7" in state.message
    tags = get_version(registry, model, "here", 1).tags
    layout = OciLayout(open_workspace().home / "images")
    index = layout.find(f"{model}.here:1")
    assert tags[f"{TAG}index"] == index.digest
    digests = [tags[f"{TAG}{slug}"] for slug in ("linux-amd64", "linux-arm64", "linux-arm-v7")]
    assert [each.digest for each in layout.images(index)] == digests
    assert tags[f"{TAG}proof.linux-amd64"].startswith("proven: 16 of 16")
    assert tags[f"{TAG}proof.linux-arm64"].startswith("not proven here: no emulator")
    assert f"{TAG}index" not in get_version(registry, model, "board", 1).tags, "each release names its own"
    page: Any = Artifact.get(f"images-{model}-here")
    assert [row["platform"] for row in json.loads(page.data)] == ["linux/amd64", "linux/arm64", "linux/arm/v7"]


def test_bills_and_figures_lie_beside_the_run(registry: Tracking, model: str, released: Callable[..., Any]) -> None:
    from edgewright.pipeline.tracking.client import open_client

    version = released("here", "board")["here"]
    run(model)
    client = open_client(registry)
    there = {each.path for each in client.list_artifacts(version.run_id, "images")}
    assert there == {
        f"images/{name}"
        for name in (
            "images.json", "sbom-linux-amd64.json", "sbom-linux-arm64.json", "provenance-linux-amd64.json",
            "provenance-linux-arm64.json",
        )
    }  # fmt: skip
    metrics = client.get_run(version.run_id).data.metrics
    assert metrics["image_start_s"] == 0.9 and metrics["image_size_mib"] > 0


def test_by_choice_the_bundle_stays_out_and_nothing_is_said_to_be_proven(
    registry: Tracking, model: str, released: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "prove_image", prove_image)
    released("here")
    state = run(model, with_bundle=False)
    assert state.name == "Images built" and "Not proven here: linux/amd64" in state.message
    tags = get_version(registry, model, "here", 1).tags
    assert tags[f"{TAG}proof.linux-amd64"].startswith("not proven here: it holds no bundle")
    layout = OciLayout(open_workspace().home / "images")
    manifest = layout.document(layout.find(tags[f"{TAG}linux-amd64"]), "manifest")
    assert len(manifest["layers"]) == 3, "base, wheels, application"


def test_again_gives_the_same_index(registry: Tracking, model: str, released: Callable[..., Any]) -> None:
    released("here", "board")
    found = []
    for _ in range(2):
        run(model)
        found.append(get_version(registry, model, "here", 1).tags[f"{TAG}index"])
    assert found[0] == found[1]


def test_without_a_base_it_completes_and_says_what_is_missing(
    registry: Tracking, model: str, released: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("DOCKER_HOST", "none")
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(registry.home))
    released("here", "board")
    state = run(model)
    assert (state.type.value, state.name) == ("COMPLETED", "No image")
    assert "there is no base for linux/amd64: make one (docker/base.sh amd64 " in state.message
    assert f"{TAG}index" not in get_version(registry, model, "here", 1).tags


def test_what_is_missing_for_one_platform_leaves_the_others(
    registry: Tracking, model: str, released: Callable[..., Any], parts: ImageParts
) -> None:
    released("here", "board")
    (parts.locks / "linux-arm64-onnxruntime.txt").unlink()
    state = run(model)
    assert (state.type.value, state.name) == ("COMPLETED", "Partly built")
    assert "linux/arm64: " in state.message and "linux-arm64-onnxruntime.txt is missing" in state.message
    tags = get_version(registry, model, "here", 1).tags
    assert f"{TAG}linux-amd64" in tags and f"{TAG}linux-arm64" not in tags


def test_an_image_that_fails_its_proof_is_not_recorded(
    registry: Tracking, model: str, released: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    released("here")
    refuted = Proof("linux/amd64", "failed", "15 of 16 golden samples were reproduced", "a trial")
    monkeypatch.setattr(images, "prove_image", lambda *_: refuted)
    state = run(model)
    assert (state.type.value, state.name) == ("FAILED", "Proof failed")
    assert "15 of 16" in state.message
    assert not [key for key in get_version(registry, model, "here", 1).tags if key.startswith(TAG)]


def test_another_platforms_image_that_fails_its_proof_is_left_out_with_the_reason(
    registry: Tracking, model: str, released: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    released("here", "old")

    def proofs(layout: OciLayout, image: Any, platform: Any, *words: Any) -> Proof:
        if platform.name == "linux/arm/v7":
            return Proof(platform.name, "failed", "its model cannot be served: an older runtime", "a trial")
        return said(layout, image, platform, *words)

    monkeypatch.setattr(images, "prove_image", proofs)
    state = run(model)
    assert (state.type.value, state.name) == ("COMPLETED", "Partly built")
    assert "No image: linux/arm/v7: its proof failed: its model cannot be served: an older runtime" in state.message
    tags = get_version(registry, model, "here", 1).tags
    layout = OciLayout(open_workspace().home / "images")
    assert [each.digest for each in layout.images(layout.find(tags[f"{TAG}index"]))] == [tags[f"{TAG}linux-amd64"]]
    assert f"{TAG}linux-arm-v7" not in tags
    assert run(model, target="old").name == "Proof failed", "asked for by itself"


def test_an_engine_that_dies_fails_the_run_and_nothing_is_recorded(
    registry: Tracking, model: str, released: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    released("here")

    def dies(*_: Any) -> None:
        raise EngineFailedError("the container engine (docker 1) ended while building. Nothing was registered.")

    monkeypatch.setattr(images, "build_image", dies)
    state = run(model)
    assert state.is_failed()
    with pytest.raises(EngineFailedError, match="ended while building"):
        state.result()
    assert not [key for key in get_version(registry, model, "here", 1).tags if key.startswith(TAG)]


@pytest.mark.parametrize(
    ("push", "message"),
    [
        ("http://127.0.0.1:1/team", "Do it again: what it has is not sent twice"),
        ("registry.example/team:4", "names one image, and no place to push images to"),
        ("registry.example:99999/team", "repository, tag and digest come with each image"),
    ],
    ids=["nobody", "image", "port"],
)
def test_where_nothing_can_be_pushed_nothing_is_built(
    push: str,
    message: str,
    registry: Tracking,
    model: str,
    released: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released("here")
    built: list[object] = []
    monkeypatch.setattr(images, "build_image", lambda *given: built.append(given))
    state = run(model, push=push)
    assert state.is_failed()
    with pytest.raises(ImageError, match=message):
        state.result()
    assert built == []
    assert not [key for key in get_version(registry, model, "here", 1).tags if key.startswith(TAG)]


def test_a_push_that_fails_names_nothing(registry: Tracking, model: str, released: Callable[..., Any]) -> None:
    released("here")
    with fake_registry() as running:
        running.fault = lambda each: each.command == "PUT" and each.answer(507, b"no room", Connection="close")
        state = run(model, push=f"http://{running.host}/team")
        assert running.methods("/uploads/")[:2] == ["POST", "DELETE"], "it was asked before"
    assert state.is_failed()
    with pytest.raises(ImageError, match="answered 507 to PUT"):
        state.result()
    assert not [key for key in get_version(registry, model, "here", 1).tags if key.startswith(TAG)]


def test_where_to_pull_is_a_tag(
    registry: Tracking, model: str, released: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import build_image

    checked: list[str] = []
    monkeypatch.setenv("EDGEWRIGHT_REGISTRY_USERNAME", "robot")
    monkeypatch.setenv("EDGEWRIGHT_REGISTRY_PASSWORD", "a-word-for-a-trial")

    class Registry:
        def __init__(self, address: Address, account: Account | None) -> None:
            assert account == Account.of("robot", "a-word-for-a-trial"), "the environment's, for what is pushed to"
            self.address = address

        def check_may_push(self) -> None:
            checked.append(self.address.pull)

        def push(self, layout: OciLayout, reference: str, tag: str) -> Pushed:
            return Pushed(Address(self.address.host, self.address.repository, "", reference), tag, 7, 0)

    monkeypatch.setattr(build_image, "ImageRegistry", Registry)
    released("here")
    run(model, push="registry.example:5000/team")
    tags = get_version(registry, model, "here", 1).tags
    assert checked == [f"registry.example:5000/team/{model}.here"]
    assert tags[f"{TAG}pull"] == f"registry.example:5000/team/{model}.here@{tags[f'{TAG}index']}"
    run(model)
    assert get_version(registry, model, "here", 1).tags == tags, "the same index is still where it went"


def test_what_the_gate_refused_gets_no_image(model: str, released: Callable[..., Any]) -> None:
    released("here", verdict="fail")
    with pytest.raises(RegistryError, match="the gate refused it"):
        run(model).result()
    with pytest.raises(RegistryError, match="no champion"):
        run(model, version=None).result()
