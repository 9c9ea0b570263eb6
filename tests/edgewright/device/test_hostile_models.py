"""Signed, with every digest right, and hostile all the same: the agent lives, the release before it goes on answering.

Each model goes through a real trial in a real worker while a client asks all the time. The client sees nothing of it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import hostile_models
from edgewright.device.agent_state import STARTS_ALLOWED
from edgewright.signed_release import Budget
from hostile_models import compressed_golden, lying_golden, pickled_golden, plain_pickle
from serving_agent import RestlessClient, ServingAgent, small_config
from small_bundles import WHITE, golden_of, make_small_bundle, sound_model, with_file

on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 ends a process at such a division")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_bundle(tmp_path_factory.mktemp("sound") / "v1").folder


@contextmanager
def serving(sound: Path, folder: Path, **health: float) -> Iterator[ServingAgent]:
    found = ServingAgent(small_config(folder, serve={"start_deadline_s": 2.0}, health=health))
    found.make_active(sound, 1)
    with found:
        found.wait_serving(1)
        yield found


@pytest.fixture
def agent(sound: Path, tmp_path: Path) -> Iterator[ServingAgent]:
    """An agent on which version 1 serves."""
    with serving(sound, tmp_path) as found:
        yield found


def survives(agent: ServingAgent, folder: Path, budget: Budget | None = None) -> str:
    """Put a bundle on trial and wait until it is refused; gives the reason."""
    with RestlessClient(agent) as client:
        release = agent.install(folder, 2, budget)
        agent.wait(lambda agent: agent.events.of("rollback"))  # all is done when it is told
        agent.wait(lambda _: len(client.asked) > 5)
    assert client.failed == [] and client.versions == [1]
    assert len(agent.events.of("trial_started")) <= STARTS_ALLOWED
    assert agent.state.active == "A" and agent.state.slots["B"] is None
    assert not (agent.slots.folder("B")).exists()
    assert agent.state.is_refused(release.bundle_sha256)
    (told,) = agent.events.of("rollback")
    assert told["version"] == 2 and str(told["reason"]).startswith(agent.state.refused[0].reason)
    return str(told["reason"])


MODELS: dict[str, tuple[Callable[[], bytes], str]] = {
    "hangs": (hostile_models.hanging, "3 starts failed, the last: the model did not answer"),
    "bloats": (hostile_models.bloating, "cannot run the model"),
    "foreign operator": (hostile_models.foreign_operator, "operators of 'evil.ops'"),
    "external data": (lambda: hostile_models.external_data("weights.bin"), "keeps 1 tensors in other files"),
    "external data outside": (lambda: hostile_models.external_data("/etc/passwd"), "keeps 1 tensors in other files"),
    "no model at all": (lambda: bytes(4000), "cannot load the model"),
    "another model": (lambda: sound_model(rotate=1), "does not reproduce its golden samples"),
}


@pytest.mark.parametrize("case", MODELS)
def test_a_model_that_means_ill_never_serves(case: str, agent: ServingAgent, tmp_path: Path) -> None:
    make, reason = MODELS[case]
    assert reason in survives(agent, make_small_bundle(tmp_path / "v2", make()).folder)


@on_x86
def test_a_model_that_crashes_while_it_is_loaded_is_started_thrice(agent: ServingAgent, tmp_path: Path) -> None:
    folder = make_small_bundle(tmp_path / "v2", hostile_models.crashing_at_load()).folder
    assert "3 starts failed, the last: it was ended by SIGFPE" in survives(agent, folder)
    assert len(agent.events.of("trial_started")) == 3


def test_a_model_beyond_its_latency_budget_never_serves(agent: ServingAgent, tmp_path: Path) -> None:
    folder = make_small_bundle(tmp_path / "v2", hostile_models.slow()).folder
    assert "p95 of single answers is" in survives(agent, folder, Budget(latency_p95_ms=0.5))


def test_a_model_beyond_its_memory_budget_never_serves(agent: ServingAgent, tmp_path: Path) -> None:
    folder = make_small_bundle(tmp_path / "v2", variant="large").folder
    assert "MiB of memory, at most 20 MiB are allowed" in survives(agent, folder, Budget(peak_memory_mib=20))


def test_a_model_that_is_right_on_golden_samples_alone_is_found_on_live_ones(
    agent: ServingAgent, tmp_path: Path
) -> None:
    """Its golden samples are its own: it reproduces them, and decides everything else than the running model."""
    folder = make_small_bundle(tmp_path / "v2", sound_model(rotate=1), golden=golden_of(sound_model(1), 1)).folder
    reason = survives(agent, folder)
    assert "it decided 0 of " in reason and "at least 80 % must agree" in reason


GOLDEN: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "pickled objects": (lambda path: pickled_golden(str(path)), "golden samples cannot be read"),
    "a pickle": (lambda path: plain_pickle(str(path)), "golden samples cannot be read"),
    "a bomb": (lambda _: compressed_golden(64), "they must be stored plainly"),
    "a promise of 2^60 numbers": (lambda _: lying_golden(), "golden samples cannot be read"),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_samples_that_mean_ill_are_not_unpacked(case: str, agent: ServingAgent, tmp_path: Path) -> None:
    make, reason = GOLDEN[case]
    mark = tmp_path / "mark"
    folder = with_file(make_small_bundle(tmp_path / "v2", variant="v2"), "golden.npz", make(mark))
    assert reason in survives(agent, folder)
    assert not mark.exists()


slowly = pytest.mark.slow


@on_x86
@pytest.mark.parametrize(
    "name",
    ["crashing_on_white", *(pytest.param(name, marks=slowly) for name in ("hanging_on_white", "bloating_on_white"))],
)
def test_a_release_that_fails_on_live_inputs_is_found_in_the_shadow(name: str, sound: Path, tmp_path: Path) -> None:
    """It is right about everything but a white image, on which it crashes, hangs or asks for 25 GB."""
    with serving(sound, tmp_path, shadow_s=2.0, shadow_agreement=1.0) as agent:
        release = agent.install(make_small_bundle(tmp_path / "v2", getattr(hostile_models, name)()).folder, 2)
        while agent.state.trial is not None:
            assert agent.ask(WHITE)[0] == 200  # version 1 answers
        assert agent.state.is_refused(release.bundle_sha256) and agent.state.active == "A"


@on_x86
@pytest.mark.parametrize("name", ["crashing_on_white", pytest.param("hanging_on_white", marks=slowly)])
def test_a_release_that_fails_after_it_was_committed_gives_way_after_three_starts(
    name: str, agent: ServingAgent, tmp_path: Path
) -> None:
    release = agent.install(make_small_bundle(tmp_path / "v2", getattr(hostile_models, name)()).folder, 2)
    agent.wait_serving(2)
    failed = 0
    while agent.state.active == "B":
        status, _ = agent.ask(WHITE)
        failed += status in (503, 504)
        assert status in (200, 503, 504)
    assert failed == 3
    agent.wait_serving(1)
    assert agent.ask(WHITE)[0] == 200
    assert agent.state.is_refused(release.bundle_sha256) and agent.state.slots["B"] is None
    (told,) = agent.events.of("fall_back")
    assert told["place"] == "B" and told["to"] == "A" and "3 starts in a row failed" in told["reason"]


def test_what_serves_lives_in_a_process_with_limits_and_no_secrets(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_AGENT_SPOOL_TOKEN", "hidden")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hidden")
    with ServingAgent(small_config(tmp_path, sound)) as agent:
        agent.wait_serving()
        pid = agent.supervisor.worker_pid
        proc = Path(f"/proc/{pid}")
        assert pid != os.getpid()
        assert b"hidden" not in (proc / "environ").read_bytes()
        limits = {line[:25].strip(): line[26:].split()[0] for line in (proc / "limits").read_text().splitlines()}
        assert limits["Max address space"] == str(2048 << 20) and limits["Max core file size"] == "0"
        assert int((proc / "oom_score_adj").read_text()) > 0
    assert not proc.exists()
