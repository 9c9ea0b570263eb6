"""Images without an engine: identical every time, whole or not there, and a new model changes one layer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.device.agent_config import load_agent_config
from edgewright.errors import DiskFullError, ImageError, IntegrityError
from edgewright.pipeline.images.builder import ImageParts, build_image, build_index
from edgewright.pipeline.images.layer import read_members
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import PLATFORMS
from image_parts import make_bundle, make_parts, spec_of
from small_disks import small_disk_at

# Built in a process of its own: what the first one compiled and read must not help the second.
_BUILD = """
import sys
from pathlib import Path
from image_parts import make_bundle, make_parts, spec_of
from edgewright.pipeline.images.builder import build_image, build_index
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import PLATFORMS
home, reverse = Path(sys.argv[1]), sys.argv[2] == "reverse"
parts, out = make_parts(home / "parts", reverse), OciLayout.create(home / "out")
names = sorted(PLATFORMS, reverse=reverse)
images = [build_image(spec_of(make_bundle(home / n.replace("/", "-"), n), n), out, parts) for n in names]
print(build_index(images, out, "tiny:7").digest)
for image in sorted(images, key=lambda image: image.platform):
    print(image.manifest_digest, image.config_digest, image.sbom_digest, image.provenance_digest)
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ImageParts:
    return make_parts(tmp_path_factory.mktemp("parts"))


def built_elsewhere(home: Path, order: str, umask: int, settings: dict[str, str]) -> list[str]:
    home.mkdir()
    support = Path(__file__).parents[3] / "support"
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, str(home), order],
        env={**os.environ, "PYTHONPATH": str(support), **settings},
        umask=umask,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_two_processes_with_other_settings_files_and_orders_give_the_same_digests(tmp_path: Path) -> None:
    first = built_elsewhere(tmp_path / "a", "forward", 0o022, {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"})
    changed = {"TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2", "SOURCE_DATE_EPOCH": "5"}
    second = built_elsewhere(tmp_path / "b", "reverse", 0o077, changed)
    assert len(first) == 4 and first == second
    blobs = [sorted(path.name for path in (tmp_path / home / "out/blobs/sha256").iterdir()) for home in "ab"]
    assert blobs[0] == blobs[1]
    assert (tmp_path / "a/out/index.json").read_bytes() == (tmp_path / "b/out/index.json").read_bytes()


def test_an_index_names_one_image_per_platform(parts: ImageParts, tmp_path: Path) -> None:
    out = OciLayout.create(tmp_path / "out")
    images = [
        build_image(spec_of(make_bundle(tmp_path / str(i), name), name), out, parts) for i, name in enumerate(PLATFORMS)
    ]
    index = build_index(images[::-1], out, "tiny:7")
    document = json.loads(out.read(out.find("tiny:7"), "index"))
    assert [entry["platform"] for entry in document["manifests"]] == [platform.oci for platform in PLATFORMS.values()]
    assert [entry["digest"] for entry in document["manifests"]] == [image.manifest_digest for image in images]
    assert index.digest == out.find("tiny:7").digest
    out.verify(out.find("tiny:7"))
    assert [each.digest for each in out.images(out.find("tiny:7"))] == [each.manifest_digest for each in images]


def test_an_index_of_two_images_for_one_platform_or_of_none_is_refused(parts: ImageParts, tmp_path: Path) -> None:
    out = OciLayout.create(tmp_path / "out")
    image = build_image(spec_of(None), out, parts)
    for images, name, reason in (
        ([], "a", "one image per platform"),
        ([image, image], "a", "one image"),
        ([image], "", "cannot name"),
    ):
        with pytest.raises(ImageError, match=reason):
            build_index(images, out, name)


def test_a_tampered_layer_is_refused_by_its_name_before_an_index_says_that_it_is_fine(
    parts: ImageParts, tmp_path: Path
) -> None:
    out = OciLayout.create(tmp_path / "out")
    image = build_image(spec_of(None), out, parts)
    path = out.blob_path(image.layers[1].digest)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError, match=f"layer 2 .*{path.name}"):
        build_index([image], out, "tiny:7")
    assert all(entry.reference is None for entry in out.entries())


def test_a_new_model_changes_the_last_layer_alone_and_costs_little_more_than_itself(
    parts: ImageParts, tmp_path: Path
) -> None:
    out = OciLayout.create(tmp_path / "out")
    old = build_image(spec_of(make_bundle(tmp_path / "1")), out, parts)
    bundle = make_bundle(tmp_path / "2", seed=1)
    changes = {"version": 8, "source_date_epoch": 1_760_000_000}
    facts = replace(spec_of(None).provenance, build="b2", training_commit="f" * 40, mlflow_run="run2")
    new = build_image(spec_of(bundle, provenance=facts, **changes), out, parts)
    assert [layer.name for layer in old.layers] == ["base", "wheels", "application", "bundle"]
    assert [layer.digest for layer in old.layers[:-1]] == [layer.digest for layer in new.layers[:-1]]
    assert old.layers[-1].digest != new.layers[-1].digest
    index = build_index([new], out, "tiny:8")
    known = {layer.digest for layer in old.layers}
    downloaded = sum(layer.size_bytes for layer in new.layers if layer.digest not in known)
    downloaded += new.config_size_bytes + new.manifest_size_bytes + index.size_bytes
    assert downloaded <= 1.1 * sum(path.stat().st_size for path in bundle.folder.iterdir())


def test_other_code_of_the_agent_is_seen_in_bill_and_provenance_whatever_the_commit_says(
    parts: ImageParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    for number, source in enumerate((b"VALUE = 1\n", b"VALUE = 2\n")):
        out = OciLayout.create(tmp_path / str(number))
        package = tmp_path / f"package{number}"
        (package / "device").mkdir(parents=True)
        (package / "device/agent.py").write_bytes(source)
        monkeypatch.setattr("edgewright.pipeline.images.builder._PACKAGE", package)
        image = build_image(spec_of(None), out, parts)
        (layer,) = [each.diff_id for each in image.layers if each.name == "application"]
        documents = {}
        for entry in out.attached(image.manifest_digest):
            blob = out.document(entry, "attachment")["layers"][0]
            documents[entry.artifact_type] = json.loads(out.blob_path(blob["digest"]).read_bytes())
        (component,) = [
            each for each in documents["application/vnd.cyclonedx+json"]["components"] if each["name"] == "edgewright"
        ]
        definition = documents["application/vnd.in-toto+json"]["predicate"]["buildDefinition"]
        materials = {each["uri"]: each["digest"] for each in definition["resolvedDependencies"]}
        said.append((component["hashes"][0]["content"], materials["layer:application"]["sha256"]))
        assert said[-1] == (layer.removeprefix("sha256:"),) * 2
    assert said[0] != said[1]


def test_the_configuration_does_not_depend_on_the_compressor(
    parts: ImageParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    one = build_image(spec_of(bundle), OciLayout.create(tmp_path / "1"), parts)
    monkeypatch.setattr("edgewright.pipeline.images.layer._LEVEL", 1)
    other = build_image(spec_of(bundle), OciLayout.create(tmp_path / "2"), parts)
    assert one.manifest_digest != other.manifest_digest
    assert one.config_digest == other.config_digest
    assert [layer.diff_id for layer in one.layers] == [layer.diff_id for layer in other.layers]


def test_the_tree_of_an_image_is_where_its_configuration_says(parts: ImageParts, tmp_path: Path) -> None:
    out = OciLayout.create(tmp_path / "out")
    bundle = make_bundle(tmp_path / "bundle")
    image = build_image(spec_of(bundle), out, parts)
    members = {}
    for layer in image.layers:
        with out.blob_path(layer.digest).open("rb") as stream:
            members.update({member.name: (member, data) for member, data in read_members(stream)})
    launcher, text = members["opt/edgewright/bin/edgewright-agent"]
    assert launcher.mode == 0o755 and text.startswith(b"#!/usr/bin/python3.11\n")
    state, _ = members["var/lib/edgewright"]
    assert (state.uid, state.gid, state.mode) == (65532, 65532, 0o750)
    site = "opt/edgewright/site"
    assert {f"{site}/edgewright/device/agent.py", f"{site}/edgewright/device/__pycache__/agent.cpython-311.pyc"} <= set(
        members
    )
    assert not any("/pipeline/" in name or "/cli/" in name or "/desk/" in name for name in members)
    assert {name: data for name, (_, data) in members.items() if name.startswith("opt/edgewright/factory/")} == {
        f"opt/edgewright/factory/{path.name}": path.read_bytes() for path in bundle.folder.iterdir()
    }


def test_an_image_that_nobody_enrolled_has_all_that_the_agent_must_know(parts: ImageParts, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    spec, out = spec_of(bundle), OciLayout.create(tmp_path / "out")
    image = build_image(spec, out, parts)
    with out.blob_path(image.layers[2].digest).open("rb") as stream:
        members = {member.name: data for member, data in read_members(stream)}
    (tmp_path / "agent.toml").write_bytes(members["etc/edgewright/agent.toml"])
    config = json.loads(out.blob_path(image.config_digest).read_bytes())["config"]
    assert config["Cmd"] == ["run", "--config", "/etc/edgewright/agent.toml"]
    settings = load_agent_config(tmp_path / "agent.toml", dict(line.split("=", 1) for line in config["Env"]))
    assert (settings.device.id, settings.device.model, settings.device.target) == ("not-enrolled", "tiny", "box")
    assert settings.factory == Path("/opt/edgewright/factory") and settings.state == Path("/var/lib/edgewright")
    assert not settings.registry.url


def test_where_litert_is_not_built_its_predecessor_stands_in(parts: ImageParts, tmp_path: Path) -> None:
    out = OciLayout.create(tmp_path / "out")
    image = build_image(spec_of(None, "linux/arm/v7"), out, parts)
    with out.blob_path(image.layers[1].digest).open("rb") as stream:
        names = {member.name for member, _ in read_members(stream)}
    site = "opt/edgewright/site"
    assert {f"{site}/ai_edge_litert/interpreter.py", f"{site}/tflite_runtime/__init__.py"} <= names
    assert f"{site}/numpy/__init__.py" not in names  # the base brings it


def test_bill_and_provenance_are_attached(parts: ImageParts, tmp_path: Path) -> None:
    out = OciLayout.create(tmp_path / "out")
    image = build_image(spec_of(make_bundle(tmp_path / "bundle")), out, parts)
    attached = {entry.digest: entry.artifact_type for entry in out.attached(image.manifest_digest)}
    assert attached == {
        image.sbom_digest: "application/vnd.cyclonedx+json",
        image.provenance_digest: "application/vnd.in-toto+json",
    }
    assert {"MIT", "LGPL-2.1-only"} <= set(image.licences)


def test_a_bundle_of_something_else_is_refused_before_anything_is_built(parts: ImageParts, tmp_path: Path) -> None:
    out = OciLayout.create(tmp_path / "out")
    bundle = make_bundle(tmp_path / "bundle", target="other")
    with pytest.raises(ImageError, match=r"has the target 'other', the image 'box'"):
        build_image(spec_of(bundle), out, parts)
    damaged = make_bundle(tmp_path / "damaged")
    (damaged.folder / "model.onnx").write_bytes(b"x")
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        build_image(spec_of(damaged), out, parts)
    assert list((tmp_path / "out/blobs/sha256").iterdir()) == []


def test_a_missing_part_is_one_clear_error_and_leaves_nothing(
    parts: ImageParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    out = OciLayout.create(tmp_path / "out")
    for broken, reason in (
        (replace(parts, bases={}), "there is no base for linux/amd64"),
        (replace(parts, locks=tmp_path), "pins the wheels of linux/amd64"),
        (replace(parts, cache=tmp_path / "cache"), "has no wheel for linux/amd64"),
    ):
        with pytest.raises(ImageError, match=reason):
            build_image(spec_of(None), out, broken)
    assert out.entries() == () and list((tmp_path / "out/blobs/sha256").iterdir()) == []
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".writing")] == []


def test_a_disk_that_is_really_full_is_said_as_one_at_every_size_and_leaves_nothing(
    parts: ImageParts, tmp_path: Path
) -> None:
    spec = spec_of(make_bundle(tmp_path / "bundle", size=300_000))
    refused = 0
    for size_kib in range(64, 1025, 96):
        with small_disk_at(tmp_path / "disk", size_kib) as disk:
            out = OciLayout.create(disk / "out")
            before = {path for path in disk.rglob("*") if path.name != ".lock"}
            try:
                build_image(spec, out, parts)
            except DiskFullError as error:
                refused += 1
                assert str(disk) in str(error)
                assert {path for path in disk.rglob("*") if path.name != ".lock"} == before
            else:
                break
    assert refused >= 2 and size_kib < 1024
