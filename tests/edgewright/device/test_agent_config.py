from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from edgewright.device.agent_config import AgentConfig, describe_config, load_agent_config
from edgewright.errors import AgentConfigError

DEVICE = '[device]\nid = "press-7"\nmodel = "digits"\ntarget = "linux-x86"\n'


def load(folder: Path, text: str, **environment: str) -> AgentConfig:
    path = folder / "agent.toml"
    path.write_text(text)
    return load_agent_config(path, environment)


def test_three_words_are_enough(tmp_path: Path) -> None:
    config = load(tmp_path, DEVICE)
    assert (config.device.id, config.device.model, config.device.target) == ("press-7", "digits", "linux-x86")
    assert config.registry.url == "", "without a registry it lives on what it has"
    assert (config.registry.backoff_first_s, config.registry.backoff_most_s) == (1, 300)
    assert config.spool.raw_inputs == "never"
    assert config.state == Path("/var/lib/edgewright")
    assert config.factory is None
    assert config.root == tmp_path / "root.json"


def test_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    config = load(tmp_path, DEVICE + 'state = "state"\nfactory = "factory"\nroot = "/etc/root.json"\n')
    assert (config.state, config.factory) == (tmp_path / "state", tmp_path / "factory")
    assert config.root == Path("/etc/root.json")


def test_the_environment_goes_over_the_file(tmp_path: Path) -> None:
    variables = {"EDGEWRIGHT_AGENT_REGISTRY_POLL_S": "7.5", "EDGEWRIGHT_AGENT_SPOOL_TOKEN": "s3cret"}
    config = load(tmp_path, DEVICE + "[registry]\npoll_s = 60\n", **variables)
    assert (config.registry.poll_s, config.spool.token) == (7.5, "s3cret")


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = '[device]\nid = 7\n[registry]\npoll_s = 0\ntimeout_s = "soon"\nmirror = "x"\n[sensors]\nx = 1\n'
    with pytest.raises(AgentConfigError) as caught:
        load(tmp_path, text)
    told = str(caught.value)
    assert "5 problem(s)" in told
    for each in (
        "device.id must be a text",
        "registry.poll_s must be a number from 1 to 86400",
        "registry.timeout_s must be a number",
        "registry.mirror is unknown",
        "[sensors] is unknown",
    ):
        assert each in told


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "-x", "digits\n"])
def test_names_are_plain(name: str, tmp_path: Path) -> None:
    with pytest.raises(AgentConfigError, match=r"device.model must be 1 to 64"):
        load(tmp_path, DEVICE, EDGEWRIGHT_AGENT_DEVICE_MODEL=name)


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e99", "x"])
def test_numbers_stay_within_their_bounds(value: str, tmp_path: Path) -> None:
    with pytest.raises(AgentConfigError, match=r"serve\.deadline_s must be a number"):
        load(tmp_path, DEVICE, EDGEWRIGHT_AGENT_SERVE_DEADLINE_S=value)


@pytest.mark.parametrize("text", ["[device", "device = 3\n", "\udcff"])
def test_what_is_no_such_file_is_one_clear_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(AgentConfigError, match=r"agent\.toml"):
        load_agent_config(tmp_path / "agent.toml", {})
    with pytest.raises(AgentConfigError, match="cannot be read"):
        load_agent_config(tmp_path / "absent.toml", {})


def test_the_description_is_a_file_that_says_what_it_says(tmp_path: Path) -> None:
    document = tomllib.loads(describe_config())
    assert set(document) == {"device", "registry", "serve", "health", "spool"}
    document["device"].update(id="d", model="m", target="t")
    text = describe_config().replace('id = ""', 'id = "d"').replace('model = ""', 'model = "m"')
    config = load(tmp_path, text.replace('target = ""', 'target = "t"'))
    assert config.registry.poll_s == document["registry"]["poll_s"]
