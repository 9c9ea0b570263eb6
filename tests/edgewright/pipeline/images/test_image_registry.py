"""Images to and from a registry: whole, by digest, never twice, and on where they broke off."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from container_engine import Running, running_registry
from edgewright.errors import ImageError, IntegrityError
from edgewright.pipeline.images import registry_session
from edgewright.pipeline.images.builder import ImageParts, build_image, build_index
from edgewright.pipeline.images.descriptor import parse_json
from edgewright.pipeline.images.image_registry import ImageRegistry
from edgewright.pipeline.images.image_spec import BuiltIndex
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import PLATFORMS
from edgewright.pipeline.images.registry_account import account_of_environment
from edgewright.pipeline.images.registry_address import Address, parse_push_address
from edgewright.pipeline.images.release_images import image_parts
from edgewright.pipeline.workspace import Workspace
from fake_image_registry import FakeRegistry, Handler, fake_registry
from image_parts import make_bundle, make_parts, spec_of

ACCOUNT = {"EDGEWRIGHT_REGISTRY_USERNAME": "robot", "EDGEWRIGHT_REGISTRY_PASSWORD": "a-word-for-a-trial"}


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `docker login` of whoever runs this, and little patience."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(registry_session, "_PAUSES_S", (0.05, 0.1))


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
    return ImageRegistry(parse_push_address(f"http://{running.address}/team").below(name), **more)


def fake(running: FakeRegistry) -> ImageRegistry:
    return ImageRegistry(Address(running.host, "team/x", is_plain=True))


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


def test_a_push_that_broke_off_goes_on_and_names_nothing_before(layout: OciLayout, index: BuiltIndex) -> None:
    with fake_registry() as running:
        kept = []

        def dies(handler: Handler) -> bool:
            handler.close_connection = True
            kept.extend([handler.path] if handler.command == "PUT" else [])
            return len(kept) > 5

        running.fault = dies
        with pytest.raises(ImageError, match=r"broke off while .* Do it again: what it has is not sent twice"):
            fake(running).push(layout, index.digest, "7")
        assert "7" not in running.kept
        running.fault = lambda _: False
        done = fake(running).push(layout, index.digest, "7")
        assert done.known_bytes > 0
        assert parse_json(running.kept["7"], "index") == parse_json(running.kept[index.digest], "index")


def test_a_cut_within_a_blob_begins_its_upload_anew(layout: OciLayout, index: BuiltIndex) -> None:
    with fake_registry() as running:
        cut = []

        def cuts(handler: Handler) -> bool:
            """The registry forgets an upload whose line broke; later uploads are left alone."""
            if handler.command != "PUT" or "/uploads/" not in handler.path or len(cut) == 2:
                return False
            cut.append(handler.path.partition("?")[0])
            handler.rfile.read(10)
            running.uploads.discard(cut[-1])
            handler.close_connection = True
            handler.connection.shutdown(2)
            return True

        running.fault = cuts
        fake(running).push(layout, index.digest, "7")
        assert len(set(cut)) == 2, "each time at an address of its own"
        assert "7" in running.kept


def test_a_registry_that_fails_says_that_it_goes_on(layout: OciLayout, index: BuiltIndex) -> None:
    with fake_registry() as running:
        running.fault = lambda each: each.command == "PUT" and each.answer(500, b"no room", Connection="close")
        with pytest.raises(
            ImageError, match=r"answered 500 to PUT .*: no room\. Do it again: what it has is not sent twi"
        ):
            fake(running).push(layout, index.digest, "7")


@pytest.mark.parametrize("part", ["layer", "attachment"])
def test_what_was_sent_is_read_back_before_it_is_named(part: str, layout: OciLayout, index: BuiltIndex) -> None:
    image = index.images[0]
    (first, *_) = layout.attached(image.manifest_digest)
    digest = image.layers[-1].digest if part == "layer" else first.digest
    with fake_registry() as running:

        def exchanged(handler: Handler) -> bool:
            if handler.command != "GET" or not handler.path.endswith(digest):
                return False
            data = running.kept[digest]
            return handler.answer(200, data[:-1] + bytes([data[-1] ^ 1]))

        running.fault = exchanged
        with pytest.raises(IntegrityError, match=digest):
            fake(running).push(layout, index.digest, "7")
        assert "7" not in running.kept


def test_a_build_beside_that_takes_the_name_disturbs_no_push(parts: ImageParts, tmp_path: Path) -> None:
    own = OciLayout.create(tmp_path / "layout")
    first, second = (
        build_index([build_image(spec_of(make_bundle(tmp_path / f"{n}", seed=n)), own, parts)], own, "tiny.box:7")
        for n in (1, 2)
    )
    assert first.digest != second.digest
    with fake_registry() as running:
        assert fake(running).push(own, first.digest, "7").address.digest == first.digest


def test_what_was_there_is_not_read_back(layout: OciLayout, index: BuiltIndex) -> None:
    with fake_registry() as running:
        fake(running).push(layout, index.digest, "7")
        running.asked.clear()
        fake(running).push(layout, index.digest, "7")
        assert set(running.methods("/blobs/")) == {"HEAD"}


def test_an_attachment_is_listed_beside_those_of_others(layout: OciLayout, index: BuiltIndex) -> None:
    tag = index.images[0].manifest_digest.replace(":", "-")
    foreign = {"mediaType": "x/y", "digest": f"sha256:{'0' * 64}", "size": 1, "data": "MQ=="}
    with fake_registry() as running:
        running.kept[tag] = json.dumps({"manifests": [foreign]}).encode()
        for _ in range(2):
            fake(running).push(layout, index.digest, "7")
        listed = json.loads(running.kept[tag])["manifests"]
        assert foreign in listed and len(listed) == 3


def test_whether_a_registry_takes_images_shows_before_any_is_there() -> None:
    with fake_registry() as running:
        fake(running).check_may_push()
        assert [method for method, *_ in running.asked] == ["GET", "POST", "DELETE"]
        assert running.kept == {}
        running.challenge = 'Basic realm="trial"'
        with pytest.raises(ImageError, match=r"answered 401 to POST .* Set EDGEWRIGHT_REGISTRY_USERNAME and"):
            fake(running).check_may_push()


def test_the_environments_account_is_not_said_to_a_foreign_base(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    with fake_registry() as running:
        running.challenge = 'Basic realm="trial"'
        with pytest.raises(ImageError, match="answered 401"):
            fake(running).pull(OciLayout.create(tmp_path), PLATFORMS["linux/amd64"])
        assert {who for *_, who in running.asked} == {""}


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


@pytest.mark.parametrize(
    "document", [b'{"manifests": null}', b'{"layers": null}', b'{"config": 5, "layers": 5}', b"[]", b"{"]
)
def test_an_odd_document_is_no_image(document: bytes, tmp_path: Path) -> None:
    with fake_registry() as running:
        running.kept["latest"] = document
        with pytest.raises(ImageError):
            fake(running).pull(OciLayout.create(tmp_path), PLATFORMS["linux/amd64"])


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


def test_an_account_lets_who_pushes_in(layout: OciLayout, index: BuiltIndex, tmp_path: Path) -> None:
    # Of the word "a-word-for-a-trial", by bcrypt.
    with running_registry(tmp_path / "registry", f"robot:{hashed('a-word-for-a-trial')}\n") as running:
        account = account_of_environment(ACCOUNT)
        repository(running, "x", account=account).check_may_push()
        assert repository(running, "x", account=account).push(layout, index.digest, "7").sent_bytes > 0
        for wrong in (None, account_of_environment({**ACCOUNT, "EDGEWRIGHT_REGISTRY_PASSWORD": "another"})):
            with pytest.raises(ImageError, match="EDGEWRIGHT_REGISTRY_PASSWORD"):
                repository(running, "x", account=wrong).check_may_push()
            with pytest.raises(ImageError, match="EDGEWRIGHT_REGISTRY_PASSWORD") as refused:
                repository(running, "x", account=wrong).push(layout, index.digest, "7")
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
