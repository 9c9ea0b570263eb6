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
    assert "7 problem(s)" in told
    for each in (
        "device.id must be a text",
        "device.model must be 1 to 64",
        "device.target must be 1 to 64",
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


def test_addresses_are_looked_at_before_anything_starts_and_all_are_told(tmp_path: Path) -> None:
    text = '[registry]\nurl = "registry.example:5000"\n[serve]\nlisten = "8930"\n[spool]\nurl = "ftp://host"\ntoken = "\\n"\n'
    with pytest.raises(AgentConfigError) as caught:
        load(tmp_path, DEVICE.replace("press-7", "press 7") + text + "batch = 0\n[health]\nshadow_s = -1\n")
    told = str(caught.value)
    assert "7 problem(s)" in told, "what cannot be looked at as a whole hides nothing in other sections"
    for each in (
        "device.id must be 1 to 64",
        "registry.url must look like http://host:5000, found 'registry.example:5000'",
        "serve.listen must look like 127.0.0.1:8930, found '8930'",
        "spool.batch must be a number",
        "spool.url must look like https://host:8940, found 'ftp://host'",
        "spool.token must be one line",
        "health.shadow_s must be a number",
    ):
        assert each in told


@pytest.mark.parametrize("section", ["registry", "spool"])
@pytest.mark.parametrize(
    "url",
    [
        "ftp://host",
        "http://",
        "host:5000",
        "http://user:secret@host",
        "ftp://user:secret@host",
        "http://host/?q=1",
        "http://host/#x",
        "http://host:999999",
        "http://host:0",
        "http://[::1",
        "http://ho st",
    ],
)
def test_an_address_that_is_none_is_refused_and_shows_no_password(section: str, url: str, tmp_path: Path) -> None:
    with pytest.raises(AgentConfigError, match=rf"{section}\.url (must look like|holds no credentials)") as caught:
        load(tmp_path, DEVICE + f'[{section}]\nurl = "{url}"\n')
    assert "secret" not in str(caught.value)


def test_addresses_may_have_a_port_and_a_path(tmp_path: Path) -> None:
    for url in ("http://host", "https://host:8940/reports/", "http://[::1]:5000"):
        config = load(tmp_path, DEVICE + f'[registry]\nurl = "{url}"\n[spool]\nurl = "{url}"\n')
        assert (config.registry.url, config.spool.url) == (url, url)


@pytest.mark.parametrize("token", ["s3cret\n", "s3crét", "s3cret\r\nX-More: 1"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(token: str, tmp_path: Path) -> None:
    with pytest.raises(AgentConfigError, match=r"spool\.token must be one line") as caught:
        load(tmp_path, DEVICE, EDGEWRIGHT_AGENT_SPOOL_TOKEN=token)
    assert "s3cr" not in str(caught.value)


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
