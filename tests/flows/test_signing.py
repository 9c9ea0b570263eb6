"""Every way to become champion ends in signed metadata; the registry behind a real server carries it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgewright.pipeline.signing import expiry
from edgewright.pipeline.signing.repository import open_repository
from edgewright.pipeline.tracking import ModelVersion, Tracking, champion, get_version
from edgewright.pipeline.tracking.client import artifacts_folder, open_client
from edgewright.pipeline.tracking.signing_tags import SET_BACK, SIGNED
from edgewright.pipeline.workspace import open_workspace
from registered import release

pytestmark = pytest.mark.usefixtures("prefect_api")
TARGET = "linux-x86"


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model of each test's own."""
    return request.node.name.replace("_", "-")[-60:].strip("-")


@pytest.fixture
def released(registry: Tracking, model: str, tmp_path: Path) -> Callable[..., ModelVersion]:
    return lambda build, **words: release(registry, tmp_path, build, model=model, target=TARGET, **words)


def run(name: str, *words: Any, **more: Any) -> Any:
    from flows import promote_release

    return getattr(promote_release, name)(*words, reason="good", who="A. Person", return_state=True, **more)


def published(registry: Tracking, name: str) -> Any:
    """A file as a device fetches it."""
    address = f"{registry.uri}/api/2.0/mlflow-artifacts/artifacts/edgewright-updates/{name}"
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=30) as answer:
        return json.load(answer)["signed"]


def told(registry: Tracking, model: str) -> int:
    """The version that devices are told to run, read as they do, from the timestamp on."""
    snapshot = published(
        registry, f"{published(registry, 'timestamp.json')['meta']['snapshot.json']['version']}.snapshot.json"
    )
    role = f"{model}.{TARGET}"
    targets = published(registry, f"{snapshot['meta'][f'{role}.json']['version']}.{role}.json")["targets"]
    return int(targets[f"{role}/manifest.json"]["custom"]["version"])


def test_a_promotion_and_a_rollback_are_signed(registry: Tracking, model: str, released: Callable[..., Any]) -> None:
    released("one"), released("two")
    assert run("promote_release", model, TARGET, 1).message == f"{model}.{TARGET}: version 1 is champion."
    assert told(registry, model) == 1
    run("promote_release", model, TARGET, 2)
    before = published(registry, "timestamp.json")["version"]
    assert told(registry, model) == 2
    assert run("rollback_release", model, TARGET).name == "Rolled back"
    assert told(registry, model) == 1
    assert published(registry, "timestamp.json")["version"] > before, "newer metadata names the older release"
    assert get_version(registry, model, TARGET, 1).tags[SIGNED].startswith("3 ")


def test_an_alias_moved_by_hand(registry: Tracking, model: str, released: Callable[..., Any]) -> None:
    from flows.reconcile import reconcile

    released("one"), released("two"), released("three", attested=False)
    run("promote_release", model, TARGET, 1)
    client = open_client(registry)
    client.set_registered_model_alias(f"{model}.{TARGET}", "champion", "2")
    assert reconcile(return_state=True).name == "Repaired"
    assert told(registry, model) == 2
    client.set_registered_model_alias(f"{model}.{TARGET}", "champion", "3")
    assert reconcile(return_state=True).name == "Repaired"
    in_office = champion(registry, model, TARGET)
    assert in_office is not None and in_office.version == 2
    assert "did not judge its bundle" in get_version(registry, model, TARGET, 3).tags[SET_BACK]
    assert told(registry, model) == 2
    assert reconcile(return_state=True).name == "In order"


def test_a_release_from_elsewhere_is_promoted_and_the_run_says_that_devices_do_not_obey(
    registry: Tracking, model: str, released: Callable[..., Any]
) -> None:
    released("one", attested=False)
    state = run("promote_release", model, TARGET, 1)
    assert state.name == "Promoted"
    assert "version 1 is champion. " in state.message and "version 1 is not signed" in state.message


def test_a_waiver_is_kept_where_it_counts(registry: Tracking, model: str, released: Callable[..., Any]) -> None:
    released("one", verdict="fail")
    assert run("promote_release", model, TARGET, 1, waiver="the only board that fits").name == "Promoted"
    assert told(registry, model) == 1


def test_the_timestamp_is_refreshed_and_what_expires_is_told(
    registry: Tracking, model: str, released: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.refresh_timestamp import refresh_timestamp

    released("one")
    run("promote_release", model, TARGET, 1)
    before = published(registry, "timestamp.json")["version"]
    assert refresh_timestamp(return_state=True).name == "Refreshed"
    assert published(registry, "timestamp.json")["version"] == before + 1
    (artifacts_folder(registry.home) / "edgewright-updates" / "timestamp.json").write_bytes(b"tampered")
    assert refresh_timestamp(return_state=True).name == "Refreshed"
    assert published(registry, "timestamp.json")["version"] == before + 2
    monkeypatch.setattr(expiry, "describe", lambda *_: [Alarming()])
    state = refresh_timestamp(return_state=True)
    assert (state.type.value, state.name) == ("FAILED", "Expires soon"), "so that the notice goes out"
    assert "root expires in 44 days" in state.message


class Alarming:
    """A role that only a person can renew."""

    role, alarm = "root", "root expires in 44 days"


def test_the_refresh_is_deployed_every_six_hours() -> None:
    from edgewright.pipeline.document import read_document

    deployments = read_document(Path(__file__).parents[2] / "deployments" / "prefect.yaml")["deployments"]
    (schedule,) = next(each for each in deployments if each["name"] == "refresh-timestamp")["schedules"]
    assert (schedule["cron"], schedule["active"]) == ("30 */6 * * *", True)
    assert len(deployments) == 19


def test_the_own_copy_is_the_workspaces(registry: Tracking, model: str, released: Callable[..., Any]) -> None:
    released("one")
    run("promote_release", model, TARGET, 1)
    generation = open_repository(open_workspace()).read()
    assert generation is not None and generation.is_development
    assert generation.timestamp.expires - datetime.now(UTC) > timedelta(days=13)
