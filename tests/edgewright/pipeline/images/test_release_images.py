"""What a release's images are made from: code by the commit that builds, and a base that is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from container_engine import Running
from edgewright.errors import ImageError
from edgewright.pipeline.images import release_images
from edgewright.pipeline.images.builder import ImageParts, build_image, build_index
from edgewright.pipeline.images.confinement import Limits
from edgewright.pipeline.images.image_registry import ImageRegistry
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import PLATFORMS
from edgewright.pipeline.images.proof import Proof
from edgewright.pipeline.images.registry_address import parse_address
from edgewright.pipeline.images.release_images import Member, build_member, image_parts, images_folder
from edgewright.pipeline.targets import Target
from edgewright.pipeline.tracking import ModelVersion
from edgewright.pipeline.workspace import Workspace
from image_parts import make_bundle, make_parts, spec_of

AMD64 = PLATFORMS["linux/amd64"]
LIMITS = Limits(600, 1.0, 60.0)
PROVEN = Proof("linux/amd64", "proven", "16 of 16 golden samples", "a trial", {}, LIMITS)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ImageParts:
    return make_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture
def labels(parts: ImageParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Builds an image of a version that was trained at one commit, in a checkout at another, and reads its labels."""
    bundle = make_bundle(tmp_path / "bundle")
    tags = {"edgewright.build": "b1", "edgewright.variant": "i8", "edgewright.verdict": "pass"}
    tags["edgewright.bundle_sha256"] = bundle.sha256
    version = ModelVersion("tiny.box", 7, "run1", "", tags, (), "", 1_750_000_000_000)
    target = Target.model_validate({"platform": "linux/amd64", "engines": ["onnxruntime"], "pays": ["size"]})
    monkeypatch.setenv("DOCKER_HOST", "none")
    for name, found in {
        "image_parts": parts,
        "download": bundle.folder,
        "prove_image": PROVEN,
        "run_tags": {"edgewright.git_commit": "c" * 40},
    }.items():
        monkeypatch.setattr(release_images, name, lambda *_, found=found: found)

    def build(commit: str) -> dict[str, str]:
        monkeypatch.setattr(release_images, "git_commit", lambda _: commit)
        workspace = Workspace(tmp_path / "home")
        tracking: Any = None
        built = build_member(workspace, tracking, Member(version, target, AMD64, ""))
        layout = OciLayout(images_folder(workspace))
        config: dict[str, Any] = json.loads(layout.blob_path(built.image.config_digest).read_bytes())
        found: dict[str, str] = config["config"]["Labels"]
        return found

    return build


def test_an_images_revision_is_that_of_the_code_in_it_and_the_trainings_has_a_name_of_its_own(labels: Any) -> None:
    found = labels("a" * 40 + "-dirty")
    assert found["org.opencontainers.image.revision"] == "a" * 40 + "-dirty"
    assert found["dev.edgewright.training.revision"] == "c" * 40
    assert "org.opencontainers.image.revision" not in labels("unknown")


def test_a_base_may_lie_in_a_layout_on_this_machine(parts: ImageParts, tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path / "layout")
    index = build_index([build_image(spec_of(None), layout, parts)], layout, "python:1")
    found = image_parts(Workspace(tmp_path / "home"), AMD64, f"oci:{layout.root}@{index.digest}")
    assert found.bases == {"linux/amd64": (layout.root, index.digest)}
    with pytest.raises(ImageError, match="the base 'oci:"):
        image_parts(Workspace(tmp_path / "home"), AMD64, f"oci:{layout.root}")


def test_a_base_that_got_damaged_here_is_pulled_again(registry: Running, parts: ImageParts, tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path / "layout")
    index = build_index([build_image(spec_of(None), layout, parts)], layout, "python:1")
    repository = ImageRegistry(parse_address(f"http://{registry.address}/damaged"))
    base = f"http://{repository.push(layout, index.digest, '1').address.pull}"
    workspace = Workspace(tmp_path / "home")
    pulled = image_parts(workspace, AMD64, base)
    folder, reference = pulled.bases["linux/amd64"]  # type: ignore[misc]
    bases = OciLayout(folder)
    entry = bases.find(reference)
    for digest in (entry.digest, index.images[0].layers[0].digest, index.images[0].config_digest):
        bases.blob_path(digest).write_bytes(b"damaged")
        assert image_parts(workspace, AMD64, base) == pulled
        bases.verify(bases.find(reference))
    bases.blob_path(entry.digest).unlink()
    assert image_parts(workspace, AMD64, base) == pulled
    bases.verify(bases.find(reference))
