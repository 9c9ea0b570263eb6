from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewright.bundle import Bundle, read_bundle
from edgewright.device import download
from edgewright.device.pull import PullResult, pull
from edgewright.device.store import BundleStore
from edgewright.errors import (
    BundleError,
    DiskFullError,
    EdgewrightError,
    GoldenReplayError,
    IntegrityError,
    RegistryError,
)

Make = Callable[..., Bundle]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_RETRY_DELAY_S", 0.0)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    return tmp_path / "device"


def bring(registry: Any, device: Path, **options: Any) -> PullResult:
    return pull(registry.url, "digits", "linux-x86", device, **{"timeout_s": 5.0, **options})


def model_path(registry: Any, version: str = "1") -> str:
    path = f"1/run{version}/artifacts/bundle/model.onnx"
    assert path in registry.artifacts
    return path


def test_a_bundle_is_brought_proved_and_serves(registry: Any, bundle: Bundle, device: Path) -> None:
    registry.publish(bundle, "1")
    result = bring(registry, device)
    assert (result.outcome, result.bundle_sha256, result.version) == ("installed", bundle.sha256, "1")
    assert result.replay is not None
    assert (result.replay.agreeing, result.replay.samples) == (16, 16)
    assert os.readlink(device / "current") == f"bundles/{bundle.sha256}"
    assert read_bundle(device / "current", bundle.sha256).manifest == bundle.manifest
    assert result.downloaded_bytes == sum(path.stat().st_size for path in bundle.folder.iterdir())
    assert BundleStore(device).interrupted() == ()


def test_the_same_release_again_is_unchanged_and_costs_no_file(registry: Any, bundle: Bundle, device: Path) -> None:
    registry.publish(bundle, "1")
    bring(registry, device)
    registry.requests.clear()
    assert bring(registry, device).outcome == "unchanged"
    assert registry.artifact_requests() == []


def test_a_damaged_installation_is_brought_anew(registry: Any, bundle: Bundle, device: Path) -> None:
    registry.publish(bundle, "1")
    bring(registry, device)
    (device / "current" / "model.onnx").write_bytes(b"rotten")
    assert bring(registry, device).outcome == "installed"
    assert BundleStore(device).open_linked().sha256 == bundle.sha256


def test_the_next_release_replaces_and_the_one_before_stays_until_another(
    registry: Any, bundle: Bundle, make_bundle: Make, tmp_path: Path, device: Path
) -> None:
    releases = [bundle, *(make_bundle(tmp_path / "workshop" / build, build=build) for build in ("b2", "b3"))]
    for number, release in enumerate(releases):
        registry.publish(release, str(number))
        bring(registry, device)
    kept = {path.name for path in (device / "bundles").iterdir()}
    assert kept == {releases[1].sha256, releases[2].sha256}
    registry.requests.clear()
    assert bring(registry, device, alias="1").outcome == "installed"
    assert registry.artifact_requests() == [], "going back needs no download"


def test_the_reference_comes_along_when_asked_for(
    registry: Any, bundle: Bundle, reference: Bundle, device: Path
) -> None:
    registry.publish(bundle, "1", reference=reference)
    assert bring(registry, device, reference=True).reference_sha256 == reference.sha256
    assert read_bundle(device / "reference").sha256 == reference.sha256
    assert read_bundle(device / "current").sha256 == bundle.sha256
    registry.requests.clear()
    assert bring(registry, device, reference=True).outcome == "unchanged"
    assert registry.artifact_requests() == []


# ---- an unreliable line


def test_a_line_that_breaks_every_few_kilobytes_brings_everything(registry: Any, bundle: Bundle, device: Path) -> None:
    registry.publish(bundle, "1")
    registry.faults.drop_after_bytes = 10_000
    assert bring(registry, device).outcome == "installed"
    starts = [wanted for _, wanted in registry.artifact_requests("model.onnx")]
    size = bundle.manifest.file("model.onnx").size_bytes
    assert starts == [None, *(f"bytes={at}-" for at in range(10_000, size, 10_000))]


def test_a_registry_that_ignores_range_is_asked_from_the_start(registry: Any, bundle: Bundle, device: Path) -> None:
    registry.publish(bundle, "1")
    registry.faults.drop_after_bytes = 10_000
    registry.faults.ignore_range = True
    with pytest.raises(RegistryError, match=r"ended after 10000 of|broke off"):
        bring(registry, device)
    registry.faults.drop_after_bytes = None
    assert bring(registry, device).outcome == "installed"


def test_an_interrupted_pull_goes_on_where_it_stopped(registry: Any, bundle: Bundle, device: Path) -> None:
    registry.publish(bundle, "1")
    registry.faults.status = 500
    with pytest.raises(RegistryError, match="failed \\(500"):
        bring(registry, device)
    assert BundleStore(device).interrupted() == (bundle.sha256,)
    half = bundle.model[:20_000]
    (device / "partial" / bundle.sha256 / "model.onnx.part").write_bytes(half)
    registry.faults.status = None
    registry.requests.clear()
    result = bring(registry, device)
    assert [wanted for _, wanted in registry.artifact_requests("model.onnx")] == ["bytes=20000-"]
    assert result.resumed_bytes == len(half) + bundle.manifest.file("golden.npz").size_bytes


@pytest.mark.parametrize("left", ["torn", "too long", "whole", "whole but torn", "empty"])
def test_whatever_a_power_cut_left_is_no_obstacle(registry: Any, bundle: Bundle, device: Path, left: str) -> None:
    registry.publish(bundle, "1")
    staging = device / "partial" / bundle.sha256
    staging.mkdir(parents=True)
    size = len(bundle.model)
    part = {
        "torn": bytes(20_000),
        "too long": bytes(size + 1),
        "whole": bundle.model,
        "whole but torn": bytes(size),
        "empty": b"",
    }[left]
    (staging / "model.onnx.part").write_bytes(part)
    (staging / "manifest.json").write_bytes(b"torn")
    (staging / "golden.npz").write_bytes(b"torn")
    assert bring(registry, device).outcome == "installed"


def test_a_slow_start_within_the_time_out_is_fine_and_beyond_it_an_error(
    registry: Any, bundle: Bundle, device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.publish(bundle, "1")
    registry.faults.silent_s = 0.3
    monkeypatch.setattr(download, "_FRUITLESS_ATTEMPTS", 1)
    with pytest.raises(RegistryError, match=r"cannot be reached|broke off"):
        bring(registry, device, timeout_s=0.1)
    assert bring(registry, device, timeout_s=5.0).outcome == "installed"


@pytest.mark.slow
def test_a_pull_that_was_killed_goes_on_and_finishes(registry: Any, bundle: Bundle, device: Path) -> None:
    registry.publish(bundle, "1")
    registry.faults.bytes_per_s = 40_000.0
    command = [sys.executable, "-m", "edgewright.device.agent", "pull", "--registry", registry.url]
    command += ["--model", "digits", "--target", "linux-x86", "--into", str(device)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[3], start_new_session=True)
    part = device / "partial" / bundle.sha256 / "model.onnx.part"
    stop_at = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 8_000):
        assert time.monotonic() < stop_at and process.poll() is None, "the pull should be under way"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (device / "current").exists()
    left = part.stat().st_size
    assert 8_000 < left < len(bundle.model)
    registry.faults.bytes_per_s = None
    registry.requests.clear()
    assert bring(registry, device).outcome == "installed"
    assert registry.artifact_requests("model.onnx")[0][1] == f"bytes={left}-"


# ---- a store that anybody can write to


def refused(registry: Any, device: Path, served: str | None, error: type[EdgewrightError], rule: str) -> None:
    """A pull is refused, what serves stays, nothing of the refused bundle is left, and the refusal is remembered."""
    with pytest.raises(error, match=rule):
        bring(registry, device, alias="2")
    store = BundleStore(device)
    assert store.linked_sha256() == served
    if served:
        assert store.open_linked().sha256 == served
        assert [path.name for path in (device / "bundles").iterdir()] == [served]
    assert store.interrupted() == ()
    (record,) = store.refusals()
    assert record.version == "2"


@pytest.fixture
def served(registry: Any, bundle: Bundle, device: Path) -> str:
    """A device on which version 1 serves."""
    registry.publish(bundle, "1")
    bring(registry, device)
    return bundle.sha256


@pytest.fixture
def second(make_bundle: Make, tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "workshop" / "second", build="b2")


def test_a_changed_byte_is_refused(registry: Any, served: str, second: Bundle, device: Path) -> None:
    registry.publish(second, "2")
    path = model_path(registry, "2")
    data = bytearray(registry.artifacts[path])
    data[5000] ^= 1
    registry.artifacts[path] = bytes(data)
    refused(registry, device, served, IntegrityError, "does not have the sha256")


def test_a_longer_or_endless_file_is_refused(registry: Any, served: str, second: Bundle, device: Path) -> None:
    registry.publish(second, "2")
    registry.artifacts[model_path(registry, "2")] += b"x"
    refused(registry, device, served, IntegrityError, "is longer than")
    registry.faults.endless = True
    refused(registry, device, served, IntegrityError, "is longer than")


def test_a_truncated_file_is_an_error_that_a_repaired_store_ends(
    registry: Any, served: str, second: Bundle, device: Path
) -> None:
    registry.publish(second, "2")
    whole = registry.artifacts[model_path(registry, "2")]
    registry.artifacts[model_path(registry, "2")] = whole[:-100]
    with pytest.raises(RegistryError, match=r"ended after|shorter"):
        bring(registry, device)
    assert BundleStore(device).linked_sha256() == served
    registry.artifacts[model_path(registry, "2")] = whole
    assert bring(registry, device).bundle_sha256 == second.sha256


def test_an_exchanged_manifest_is_refused(registry: Any, served: str, second: Bundle, device: Path) -> None:
    registry.publish(second, "2")
    path = "1/run2/artifacts/bundle/manifest.json"
    registry.artifacts[path] = registry.artifacts[path].replace(b"b2", b"b3")
    refused(registry, device, served, IntegrityError, "its version's tag promises")


def test_a_bundle_for_another_target_is_refused(
    registry: Any, served: str, make_bundle: Make, tmp_path: Path, device: Path
) -> None:
    registry.publish(make_bundle(tmp_path / "workshop" / "arm", target="pi5-arm64"), "2")
    registry.versions["digits.linux-x86", "2"] = registry.versions["digits.pi5-arm64", "2"]
    refused(
        registry, device, served, BundleError, "is digits for pi5-arm64, this device asked for digits for linux-x86"
    )


def test_another_seeds_model_with_right_digests_is_refused(
    registry: Any, served: str, make_bundle: Make, zoo: Any, tmp_path: Path, device: Path
) -> None:
    wrong = make_bundle(tmp_path / "workshop" / "w", model=zoo.int8("mlp", 1), golden=zoo.golden(zoo.int8("mlp")))
    registry.publish(wrong, "2")
    refused(registry, device, served, GoldenReplayError, "does not reproduce its golden samples")


def test_a_model_that_the_engine_cannot_load_is_refused(
    registry: Any, served: str, make_bundle: Make, zoo: Any, tmp_path: Path, device: Path
) -> None:
    broken = make_bundle(tmp_path / "workshop" / "x", model=b"no model", golden=zoo.golden(zoo.int8("mlp")))
    registry.publish(broken, "2")
    refused(registry, device, served, EdgewrightError, "corrupt")


def test_a_refused_reference_keeps_the_bundle_from_serving_too(
    registry: Any, bundle: Bundle, make_bundle: Make, zoo: Any, tmp_path: Path, device: Path
) -> None:
    golden = zoo.golden(zoo.float32("mlp"))
    wrong = make_bundle(tmp_path / "workshop" / "r", model=zoo.float32("mlp", 1), golden=golden, variant="fp32")
    registry.publish(bundle, "1", reference=wrong)
    with pytest.raises(GoldenReplayError):
        bring(registry, device, reference=True)
    assert BundleStore(device).linked_sha256() is None


@pytest.mark.parametrize("tag", ["../../../etc", "", "A" * 64, "a" * 63])
def test_a_tag_that_is_no_digest_never_becomes_a_path(registry: Any, bundle: Bundle, device: Path, tag: str) -> None:
    registry.publish(bundle, "1")
    registry.versions["digits.linux-x86", "1"]["tags"]["edgewright.bundle_sha256"] = tag
    with pytest.raises(RegistryError, match="is no sha256"):
        bring(registry, device)


# ---- the device's own troubles


def test_a_full_disk_is_said_before_anything_is_fetched(
    registry: Any, bundle: Bundle, device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.publish(bundle, "1")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 30, 1 << 30, 1 << 20))
    with pytest.raises(DiskFullError, match="has 1 MiB free"):
        bring(registry, device)
    assert registry.artifact_requests("model.onnx") == []


def test_two_pulls_at_once_both_end_well(registry: Any, bundle: Bundle, device: Path) -> None:
    import threading

    registry.publish(bundle, "1")
    outcomes: list[str] = []
    threads = [threading.Thread(target=lambda: outcomes.append(bring(registry, device).outcome)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["installed", "unchanged", "unchanged"]
    assert len(registry.artifact_requests("model.onnx")) == 1


def test_a_kill_between_installing_and_switching_is_made_good(registry: Any, bundle: Bundle, device: Path) -> None:
    registry.publish(bundle, "1")
    bring(registry, device)
    (device / "current").unlink()
    registry.requests.clear()
    result = bring(registry, device)
    assert (result.outcome, registry.artifact_requests()) == ("installed", [])
    assert result.replay is not None, "it is proved again before it serves"
