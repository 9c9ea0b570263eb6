"""A program asks the agent on its device: the answers are those of the model itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.bundle import Bundle
from edgewright.device import http_api
from edgewright.device.answer import BusyError
from edgewright.device.infer import AnomalyAnswer, LabelAnswer, ValueAnswer, answer_files
from edgewright.device.local_model import AgentUnreachableError, LocalModel
from edgewright.errors import DataError, UsageError
from edgewright.predictor import open_predictor
from serving_agent import ServingAgent, small_config
from small_bundles import LABELS, make_small_bundle, samples


def serving(factory: Path, folder: Path) -> ServingAgent:
    return ServingAgent(small_config(folder, factory))


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingAgent]:
    folder = tmp_path_factory.mktemp("agent")
    with serving(make_small_bundle(folder / "factory").folder, folder) as found:
        found.wait_serving()
        yield found


def test_classes_have_a_label_and_a_probability(agent: ServingAgent) -> None:
    raw, truth = samples(30)
    with LocalModel(agent.api.address) as model:
        found = model.answer(raw)
    assert all(isinstance(each, LabelAnswer) and 0.3 < each.probability <= 1 for each in found)
    assert [each.label for each in found] == [LABELS[index] for index in truth]  # type: ignore[union-attr]
    assert [each.index for each in found] == list(range(30)) and found[0].source == agent.api.address
    with LocalModel(agent.api.address) as model:
        assert len(model.answer(raw[0])) == 1
    assert agent.events.answers[-2]["input_mean"] == pytest.approx(raw.reshape(30, -1).mean(axis=1))


@pytest.mark.parametrize(("kind", "typed"), [("anomaly", AnomalyAnswer), ("regression", ValueAnswer)])
def test_scores_and_values_are_those_of_the_model(
    kind: str, typed: type, make_bundle: Callable[..., Bundle], sensors: Any, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / kind, **sensors.bundle_fields(kind))
    raw = sensors.rows[:40] if kind == "anomaly" else sensors.windows[:40]
    np.save(tmp_path / "raw.npy", raw)
    with open_predictor(bundle) as predictor:
        expected = [vars(each) for each in answer_files(predictor, [tmp_path / "raw.npy"])]
    with serving(bundle.folder, tmp_path) as agent, LocalModel(agent.api.address) as model:
        agent.wait_serving()
        found = model.answer(raw)
        assert all(isinstance(each, typed) for each in found)
        assert [{**vars(each), "source": str(tmp_path / "raw.npy")} for each in found] == expected
        assert agent.events.answers[-1]["values"] == [
            vars(each).get("score", vars(each).get("value")) for each in found
        ]


def test_what_the_model_does_not_take_is_the_same_error_as_without_the_agent(agent: ServingAgent) -> None:
    with LocalModel(agent.api.address) as model:
        with pytest.raises(DataError, match="shape"):
            model.answer(np.zeros((1, 9, 9), np.uint8))
        with pytest.raises(DataError, match="at most 1048576 bytes"):
            model.answer(np.zeros((140_000, 8, 8), np.uint8))
        assert len(model.answer(samples(2)[0])) == 2


def test_a_connection_that_the_agent_has_closed_meanwhile_is_opened_again(
    agent: ServingAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_api, "_IDLE_S", 0.05)
    pause = threading.Event()
    with LocalModel(agent.api.address) as model:
        for _ in range(3):
            assert len(model.answer(samples(1)[0])) == 1
            pause.wait(0.2)


def test_threads_ask_at_the_same_time(agent: ServingAgent) -> None:
    raw, truth = samples(6)
    wrong: list[Any] = []
    with LocalModel(agent.api.address) as model:

        def ask(number: int) -> None:
            for _ in range(10):
                found = model.answer(raw[number])[0]
                if vars(found)["label_index"] != truth[number]:
                    wrong.append(found)
            model.close()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_without_an_agent_or_a_release_it_says_so(tmp_path: Path) -> None:
    with (
        LocalModel("http://127.0.0.1:9") as model,
        pytest.raises(AgentUnreachableError, match="Is edgewright-agent run"),
    ):
        model.answer(samples(1)[0])
    with (
        ServingAgent(small_config(tmp_path)) as agent,
        LocalModel(agent.api.address) as model,
        pytest.raises(BusyError, match="waits for a release"),
    ):
        model.answer(samples(1)[0])


@pytest.mark.parametrize("address", ["", "127.0.0.1:8930", "https://127.0.0.1:8930", "http://127.0.0.1:8930/x"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UsageError):
        LocalModel(address)
