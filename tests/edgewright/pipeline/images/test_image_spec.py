"""An image's configuration: who runs what, where, with how many threads, and how one asks whether it is well."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.errors import ImageError
from edgewright.pipeline.images.base import BaseImage, LayerInfo
from edgewright.pipeline.images.image_spec import image_config, image_environment, image_labels
from image_parts import make_bundle, spec_of

BASE = BaseImage("base.tar", "sha256:" + "b" * 64, (), "/usr/bin/python3.11", {}, (), "debian-12")
LAYERS = [LayerInfo("base", "sha256:" + "1" * 64, 10, "sha256:" + "2" * 64)]


def test_the_agent_runs_as_nobodys_user_and_is_asked_for_its_health(tmp_path: Path) -> None:
    spec = spec_of(make_bundle(tmp_path / "bundle"))
    document = image_config(spec, BASE, LAYERS, {})
    config = document["config"]
    assert config["User"] == "65532:65532" and config["StopSignal"] == "SIGTERM"
    assert [*config["Entrypoint"], *config["Cmd"]] == [
        "/opt/edgewright/bin/edgewright-agent",
        *("run", "--config", "/etc/edgewright/agent.toml"),
    ]
    assert config["Healthcheck"]["Test"] == ["CMD", "/opt/edgewright/bin/edgewright-agent", "healthy"]
    assert config["Healthcheck"]["Interval"] == 30 * 10**9 and config["Volumes"] == {"/var/lib/edgewright": {}}
    assert document["rootfs"]["diff_ids"] == ["sha256:" + "2" * 64] and len(document["history"]) == 1
    assert document["created"] == "2025-06-15T15:06:40Z"


def test_threads_and_places_are_in_the_environment(tmp_path: Path) -> None:
    found = image_environment(spec_of(make_bundle(tmp_path / "bundle"), threads=3), BASE)
    assert {found[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")} == {"3"}
    assert found["PYTHONPATH"] == "/opt/edgewright/site" and found["PYTHONDONTWRITEBYTECODE"] == "1"
    assert found["EDGEWRIGHT_AGENT_DEVICE_FACTORY"] == "/opt/edgewright/factory"
    assert found["PATH"].split(":")[0] == "/opt/edgewright/bin"
    assert "EDGEWRIGHT_AGENT_DEVICE_FACTORY" not in image_environment(spec_of(None), BASE)


def test_labels_say_which_release_this_is_and_leave_out_what_is_not_known() -> None:
    labels = image_labels(spec_of(None), BASE, "f" * 64)
    assert labels["dev.edgewright.release"] == "tiny.box:7" and labels["dev.edgewright.bundle.sha256"] == "f" * 64
    assert labels["dev.edgewright.verdict"] == "pass" and labels["dev.edgewright.variant"] == "i8"
    assert labels["dev.edgewright.target"] == "box"
    assert labels["org.opencontainers.image.revision"] == "a" * 40, "of the code in the image"
    assert labels["dev.edgewright.training.revision"] == "c" * 40
    assert labels["org.opencontainers.image.base.digest"] == BASE.digest
    bare = image_labels(spec_of(None, version=None, verdict=""), BASE, None)
    assert "dev.edgewright.verdict" not in bare and "dev.edgewright.bundle.sha256" not in bare
    assert bare["dev.edgewright.release"] == "tiny.box"


def test_what_cannot_be_built_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(ImageError, match="32-bit ARM"):
        spec_of(None, "linux/arm/v7", engine="onnxruntime")
    with pytest.raises(ImageError, match="32-bit ARM"):
        spec_of(None, "linux/arm/v7", more_engines=("onnxruntime",))
    with pytest.raises(ImageError, match="threads must be from 1 to 256, found 0"):
        spec_of(None, threads=0)
    with pytest.raises(ImageError, match="seconds since 1970, found -1"):
        spec_of(None, source_date_epoch=-1)
    assert spec_of(None, more_engines=("litert", "onnxruntime")).engines == ("onnxruntime", "litert")
