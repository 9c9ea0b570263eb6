"""The compose file of a device: pinned, bounded, and what the specification and the engine's own command allow."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from container_engine import ROOT
from edgewright.errors import ImageError
from edgewright.pipeline.images.confinement import limits_of
from edgewright.pipeline.images.edge_compose import EXAMPLE, render_compose

SHIPPED = ROOT / "docker" / "compose.edge.yaml"
SCHEMA = json.loads((ROOT / "tests/docker/compose-spec.schema.json").read_text())


def read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(text)
    return found


def test_the_shipped_example_is_what_its_command_writes() -> None:
    assert SHIPPED.read_text() == render_compose(EXAMPLE)
    assert EXAMPLE.command in SHIPPED.read_text()


@pytest.mark.parametrize("options", [EXAMPLE, replace(EXAMPLE, devices=(), groups=())])
def test_it_is_what_the_compose_specification_allows(options: Any) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(read(render_compose(options)))


def test_the_agent_has_what_it_was_proven_under_and_no_more() -> None:
    agent = read(render_compose(replace(EXAMPLE, limits=limits_of(700))))["services"]["agent"]
    assert agent["image"] == EXAMPLE.image
    assert (agent["mem_limit"], agent["memswap_limit"], agent["cpus"]) == ("700m", "700m", 2.0)
    assert (agent["read_only"], agent["cap_drop"], agent["user"]) == (True, ["ALL"], "65532:65532")
    assert agent["security_opt"] == ["no-new-privileges:true"]
    assert agent["restart"] == "unless-stopped"
    assert agent["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert [each["target"] for each in agent["volumes"]] == ["/etc/edgewright", "/var/lib/edgewright"]
    assert agent["devices"][0] == "/dev/video0:/dev/video0:rw"
    assert all(port.startswith("127.0.0.1:") for port in agent["ports"]), "for programs on this device alone"
    assert "privileged" not in agent and "network_mode" not in agent


@pytest.mark.parametrize(("threads", "cpus"), [(1, 2.0), (4, 4.0)])
def test_agent_and_worker_have_two_processors_or_as_many_as_an_inference_uses(threads: int, cpus: float) -> None:
    text = render_compose(replace(EXAMPLE, limits=limits_of(700, threads)))
    assert read(text)["services"]["agent"]["cpus"] == cpus


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": "registry.example/x:latest"}, "by its digest"),
        ({"devices": ("/etc/passwd",)}, "no device"),
        ({"devices": ("/dev/video0:/etc:rw",)}, "no device"),
        ({"devices": ("/dev/../etc/shadow",)}, "no device"),
        ({"devices": ("/dev/video0:/dev/..:rw",)}, "no device"),
        ({"groups": ("video; rm",)}, "no group"),
    ],
)
def test_what_an_engine_must_not_be_told_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        replace(EXAMPLE, **change)


def test_the_engines_own_command_reads_it_also_that_of_debian_12(tmp_path: Path) -> None:
    command = next(
        (
            words
            for words in (["docker", "compose"], ["docker-compose"])
            if shutil.which(words[0]) and not subprocess.run([*words, "version"], capture_output=True).returncode
        ),
        None,
    )
    if command is None:
        pytest.skip("docker compose is not installed")
    (tmp_path / "compose.edge.yaml").write_text(render_compose(EXAMPLE))
    done = subprocess.run(
        [*command, "-f", "compose.edge.yaml", "config", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
