"""Images of real parts: Debian's Python, the wheels of the lock files, a digits model; small, quick, and they answer.

Slow: bases are made with mmdebstrap and wheels are fetched, once (kept in the workspace's cache). The image of this machine's
architecture is unpacked and its own Python answers in it as the user of the image, with `/proc` alone and no network needed.
"""

from __future__ import annotations

import json
import os
import platform as machine
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from edgewright.bundle import Bundle, read_bundle, write_bundle
from edgewright.golden import choose_golden
from edgewright.pipeline.images.builder import ImageParts, build_index
from edgewright.pipeline.images.image_spec import BuiltImage, ImageSpec
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import PLATFORMS
from real_image_parts import build_real

ROOT = Path(__file__).parents[4]
CACHE = ROOT / ".edgewright" / "cache"
MIB = 1024 * 1024
_ANSWER = """
import json, os, sys, time
start = time.perf_counter()
from pathlib import Path
from edgewright.bundle import read_bundle
from edgewright.predictor import open_predictor, replay_golden
bundle = read_bundle(Path("/opt/edgewright/factory"))
predictor = open_predictor(bundle)
predictor.predict(bundle.golden.samples[:1])
first_s = time.perf_counter() - start
replay = replay_golden(bundle, predictor.engine)
print(json.dumps({"first_s": first_s, "reproduced": replay.reproduced, "samples": replay.samples, "user": os.getuid()}))
"""
_IMPORT_ALL = """
import importlib, pkgutil, edgewright.device
for module in pkgutil.iter_modules(edgewright.device.__path__):
    importlib.import_module(f"edgewright.device.{module.name}")
print("all")
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="bases and unpacked images need root (mmdebstrap, chroot)"),
    pytest.mark.skipif(
        shutil.which("mmdebstrap") is None, reason="mmdebstrap makes the bases: apt-get install mmdebstrap"
    ),
]


def digits_bundle(folder: Path, zoo: Any, target: str, platform: str, seed: int = 0) -> Bundle:
    from edgewright.engines.engine import EngineSettings, open_engine
    from edgewright.postprocessing import Classification
    from edgewright.predictor import Predictor

    model, postprocessing = zoo.int8("cnn", seed), Classification(zoo.labels)
    predictor = Predictor(zoo.preprocessing, open_engine("onnxruntime", model, EngineSettings()), postprocessing)
    return write_bundle(
        folder,
        model=model,
        golden=choose_golden(zoo.raw, predictor.predict(zoo.raw), zoo.truth, postprocessing),
        model_name="digits",
        target=target,
        variant="i8",
        platform=platform,
        engine="onnxruntime",
        settings=EngineSettings(),
        input_name="image",
        preprocessing=zoo.preprocessing,
        postprocessing=postprocessing,
        build=f"b{seed}",
        data_sha256="d" * 64,
    )


def spec_for(bundle: Bundle | None, platform: str, engine: str = "onnxruntime") -> ImageSpec:
    return ImageSpec(
        "digits",
        bundle.manifest.target if bundle else "box",
        "i8",
        1,
        PLATFORMS[platform],
        engine,
        1,
        bundle.folder if bundle else None,
        "pass",
        source_date_epoch=1_750_000_000,
    )


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> OciLayout:
    return OciLayout.create(tmp_path_factory.mktemp("layout"))


@pytest.fixture(scope="module")
def amd64(layout: OciLayout, real_parts: ImageParts, zoo: Any, tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    bundle = digits_bundle(tmp_path_factory.mktemp("bundles") / "one", zoo, "box", "linux/amd64")
    return build_real(spec_for(bundle, "linux/amd64"), layout, real_parts)


def run_in(layout: OciLayout, image: BuiltImage, root: Path, code: str) -> str:
    """Run Python in an unpacked image as its user, with `/proc` mounted for this process alone."""
    root.mkdir()
    for layer in image.layers:
        with tarfile.open(layout.blob_path(layer.digest)) as archive:
            archive.extractall(root, numeric_owner=True, filter="fully_trusted")
    (root / "proc").mkdir()
    manifest = layout.document(layout.find(image.manifest_digest), "manifest")
    config = json.loads(layout.blob_path(manifest["config"]["digest"]).read_bytes())["config"]
    environment = dict(line.split("=", 1) for line in config["Env"])
    script = 'mount -t proc proc "$0/proc" && exec chroot --userspec=65532:65532 "$0" /usr/bin/python3.11 -c "$1"'
    command = ["unshare", "--mount", "--net", "--fork", "sh", "-c", script, str(root), code]
    system = os.environ["PATH"]
    done = subprocess.run(
        command, env={**environment, "PATH": system}, capture_output=True, text=True, timeout=120, check=False
    )
    if "unshare" in done.stderr and done.returncode != 0:
        pytest.skip(f"this machine lets nobody unshare: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(machine.machine() != "x86_64", reason="runs an image of this architecture: x86-64")
def test_the_unpacked_image_reproduces_its_golden_samples_within_a_moment(
    layout: OciLayout, amd64: BuiltImage, tmp_path: Path
) -> None:
    answers = [json.loads(run_in(layout, amd64, tmp_path / str(n), _ANSWER)) for n in range(2)]
    assert all(answer["reproduced"] and answer["samples"] == 16 and answer["user"] == 65532 for answer in answers)
    assert min(answer["first_s"] for answer in answers) <= 1.5


@pytest.mark.skipif(machine.machine() != "x86_64", reason="runs an image of this architecture: x86-64")
def test_everything_of_the_agent_can_be_imported_in_it(layout: OciLayout, amd64: BuiltImage, tmp_path: Path) -> None:
    assert run_in(layout, amd64, tmp_path / "root", _IMPORT_ALL) == "all\n"


def test_it_is_small(amd64: BuiltImage) -> None:
    assert amd64.size_bytes <= 60 * MIB


def test_a_new_model_costs_little_more_than_its_bundle(
    layout: OciLayout, real_parts: ImageParts, zoo: Any, amd64: BuiltImage, tmp_path: Path
) -> None:
    bundle = digits_bundle(tmp_path / "bundle", zoo, "box", "linux/amd64", seed=1)
    new = build_real(spec_for(bundle, "linux/amd64"), layout, real_parts)
    index = build_index([new], layout, "digits:2")
    known = {layer.digest for layer in amd64.layers}
    downloaded = sum(layer.size_bytes for layer in new.layers if layer.digest not in known)
    downloaded += new.config_size_bytes + new.manifest_size_bytes + index.size_bytes
    assert downloaded <= 1.1 * sum(path.stat().st_size for path in bundle.folder.iterdir())
    assert read_bundle(bundle.folder).sha256 == bundle.sha256


def test_every_platform_is_built_with_every_engine_that_it_has(layout: OciLayout, real_parts: ImageParts) -> None:
    for platform in PLATFORMS.values():
        for engine in platform.engines:
            image = build_real(spec_for(None, platform.name, engine), layout, real_parts)
            assert image.size_bytes <= 60 * MIB
            assert {"PSF-2.0", "Apache-2.0"} <= set(image.licences)
