"""Images to and from a registry: whole, by digest, never twice, and on where they broke off."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from requests.exceptions import ConnectionError as BrokenError

from container_engine import Running, running_registry
from edgewright.errors import ImageError, IntegrityError
from edgewright.pipeline.images.builder import ImageParts, build_image, build_index
from edgewright.pipeline.images.image_registry import ImageRegistry
from edgewright.pipeline.images.image_spec import BuiltIndex
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import PLATFORMS
from edgewright.pipeline.images.registry_address import Address, parse_address
from edgewright.pipeline.images.registry_session import RegistrySession
from edgewright.pipeline.images.release_images import image_parts
from edgewright.pipeline.workspace import Workspace
from image_parts import make_bundle, make_parts, spec_of


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ImageParts:
    return make_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> OciLayout:
    return OciLayout.create(tmp_path_factory.mktemp("layout"))


@pytest.fixture(scope="module")
def index(layout: OciLayout, parts: ImageParts, tmp_path_factory: pytest.TempPathFactory) -> BuiltIndex:
    """A release with an image for every platform."""
    folder = tmp_path_factory.mktemp("bundles")
    images = [
        build_image(spec_of(make_bundle(folder / p.slug, p.name), p.name), layout, parts) for p in PLATFORMS.values()
    ]
    return build_index(images, layout, "tiny.box:7")


def repository(running: Running, name: str, **more: Any) -> ImageRegistry:
    return ImageRegistry(parse_address(f"http://{running.address}/team", may_be_host=True).below(name), **more)


@pytest.mark.parametrize(
    ("text", "host", "path", "pull"),
    [
        (
            "registry.example:5000/team/digits:4",
            "registry.example:5000",
            "team/digits",
            "registry.example:5000/team/digits:4",
        ),
        (f"python@sha256:{'a' * 64}", "", "python", f"python@sha256:{'a' * 64}"),
        ("localhost/x", "localhost", "x", "localhost/x"),
        ("http://10.0.0.7:5000/a/b/", "10.0.0.7:5000", "a/b", "10.0.0.7:5000/a/b"),
    ],
)
def test_addresses_are_read_as_engines_read_them(text: str, host: str, path: str, pull: str) -> None:
    found = parse_address(text)
    assert (found.host, found.repository, found.pull, found.is_plain) == (host, path, pull, text.startswith("http://"))


@pytest.mark.parametrize("text", ["", "Upper/case", "a b", "x/../y", "x:", "x@sha256:12", "host:99999999/x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ImageError):
        parse_address(text)


def test_a_release_is_pushed_once_and_read_back(registry: Running, layout: OciLayout, index: BuiltIndex) -> None:
    first = repository(registry, "once").push(layout, index.digest, "7")
    sizes = {layer.digest: layer.size_bytes for image in index.images for layer in image.layers}
    assert first.sent_bytes >= sum(sizes.values())
    assert first.address.pull == f"{registry.address}/team/once@{index.digest}"
    again = repository(registry, "once").push(layout, "tiny.box:7", "7")
    assert again.known_bytes >= sum(sizes.values())
    assert again.sent_bytes < 20_000, "documents alone"


def test_other_tools_find_the_index_and_what_is_attached(
    registry: Running, layout: OciLayout, index: BuiltIndex
) -> None:
    repository(registry, "others").push(layout, index.digest, "7")
    place = f"docker://{registry.address}/team/others"
    inspect = ["skopeo", "inspect", "--raw", "--tls-verify=false"]
    try:
        said = subprocess.run([*inspect, f"{place}:7"], capture_output=True, check=True, timeout=60).stdout
    except FileNotFoundError:
        pytest.skip("another tool is needed: apt-get install skopeo")
    found = [each["platform"]["architecture"] for each in json.loads(said)["manifests"]]
    assert found == ["amd64", "arm64", "arm"]
    tag = index.images[0].manifest_digest.replace(":", "-")
    said = subprocess.run([*inspect, f"{place}:{tag}"], capture_output=True, check=True, timeout=60).stdout
    assert {each["artifactType"] for each in json.loads(said)["manifests"]} == {
        "application/vnd.cyclonedx+json",
        "application/vnd.in-toto+json",
    }


def test_a_push_that_broke_off_goes_on_and_names_nothing_before(
    registry: Running, layout: OciLayout, index: BuiltIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts, ask = [], RegistrySession.ask_url

    def broken(self: RegistrySession, method: str, url: str, *words: Any, **more: Any) -> Any:
        puts.extend([url] if method == "PUT" else [])
        if len(puts) > 5:
            raise BrokenError("the line is dead")
        return ask(self, method, url, *words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(RegistrySession, "ask_url", broken)
        with pytest.raises(ImageError, match=r"broke off while .* Do it again: what it has is not sent twice"):
            repository(registry, "resumed").push(layout, index.digest, "7")
    with pytest.raises(ImageError, match="404"):
        repository(registry, "resumed")._get("7")
    done = repository(registry, "resumed").push(layout, index.digest, "7")
    assert done.known_bytes > 0


def test_a_damaged_layer_is_not_pushed(registry: Running, parts: ImageParts, tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path / "layout")
    image = build_image(spec_of(make_bundle(tmp_path / "bundle")), layout, parts)
    index = build_index([image], layout, "tiny.box:8")
    blob = layout.blob_path(image.layers[-1].digest)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="is not what its name says"):
        repository(registry, "damaged").push(layout, index.digest, "8")


def test_a_base_is_pulled_by_its_digest_for_one_platform(
    registry: Running, layout: OciLayout, index: BuiltIndex, tmp_path: Path
) -> None:
    address = repository(registry, "base").push(layout, index.digest, "7").address
    own = OciLayout.create(tmp_path / "own")
    platform = PLATFORMS["linux/arm64"]
    entry = ImageRegistry(replace(address, is_plain=True)).pull(own, platform)
    assert entry.digest == index.images[1].manifest_digest
    assert own.find(f"{address.pull}, linux/arm64") == entry
    own.verify(entry)


def test_an_image_stands_on_a_pulled_base(
    registry: Running, layout: OciLayout, index: BuiltIndex, parts: ImageParts, tmp_path: Path
) -> None:
    pull = repository(registry, "python").push(layout, index.digest, "3.11-slim").address.pull
    workspace, platform = Workspace(tmp_path / "home"), PLATFORMS["linux/amd64"]
    with pytest.raises(ImageError, match="named by its digest"):
        image_parts(workspace, platform, f"http://{registry.address}/team/python:3.11-slim")
    pulled = image_parts(workspace, platform, f"http://{pull}")
    image = build_image(spec_of(None), layout, ImageParts(parts.locks, parts.cache, pulled.bases))
    assert [layer.digest for layer in image.layers[:4]] == [layer.digest for layer in index.images[0].layers]
    assert image_parts(workspace, platform, f"http://{pull}") == pulled, "what is here is not asked for again"


def test_a_registry_that_gives_other_bytes_is_not_believed(
    layout: OciLayout, index: BuiltIndex, tmp_path: Path
) -> None:
    with running_registry(tmp_path / "registry") as running:
        address = repository(running, "x").push(layout, index.digest, "7").address
        layer = index.images[0].layers[-1].digest[7:]
        (kept,) = (tmp_path / "registry/data").rglob(f"{layer}/data")
        kept.write_bytes(kept.read_bytes()[:-1] + b"x")
        own = OciLayout.create(tmp_path / "own")
        with pytest.raises(IntegrityError):
            ImageRegistry(replace(address, is_plain=True)).pull(own, PLATFORMS["linux/amd64"])
        assert own.entries() == ()


def test_accounts_come_from_the_environment(layout: OciLayout, index: BuiltIndex, tmp_path: Path) -> None:
    # Of the word "a-word-for-a-trial", by bcrypt.
    with running_registry(tmp_path / "registry", f"robot:{hashed('a-word-for-a-trial')}\n") as running:
        account = {"EDGEWRIGHT_REGISTRY_USERNAME": "robot", "EDGEWRIGHT_REGISTRY_PASSWORD": "a-word-for-a-trial"}
        assert repository(running, "x", environment=account).push(layout, index.digest, "7").sent_bytes > 0
        for environment in ({}, {**account, "EDGEWRIGHT_REGISTRY_PASSWORD": "another"}):
            with pytest.raises(ImageError, match="EDGEWRIGHT_REGISTRY_PASSWORD") as refused:
                repository(running, "x", environment=environment).push(layout, index.digest, "7")
            assert "a-word" not in str(refused.value)


def hashed(word: str) -> str:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import crypt
    return crypt.crypt(word, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))


def test_where_nobody_answers_it_says_so() -> None:
    with pytest.raises(ImageError, match="broke off while it was asked"):
        ImageRegistry(Address("127.0.0.1:1", "x", is_plain=True))
