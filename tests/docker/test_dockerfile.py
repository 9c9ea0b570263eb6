"""docker/Dockerfile: the rules that make an image the same one tomorrow, small, and of no use to an intruder."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

from team_servers import ROOT

DOCKERFILE = ROOT / "docker" / "Dockerfile"
IGNORE = ROOT / "docker" / "Dockerfile.dockerignore"


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction with its arguments on one line; comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (name, re.sub(r"\s+", " ", rest)) for name, _, rest in (line.partition(" ") for line in joined.splitlines())
    ]


PARSED = instructions(DOCKERFILE.read_text())


def of(name: str) -> list[str]:
    """The arguments of all instructions of that name."""
    return [rest for each, rest in PARSED if each == name]


def test_it_is_made_of_instructions_that_exist() -> None:
    known = {"FROM", "RUN", "ENV", "WORKDIR", "ARG", "COPY", "USER", "EXPOSE", "HEALTHCHECK", "CMD"}
    assert {name for name, _ in PARSED} <= known
    assert PARSED[0][0] == "FROM"


def test_the_base_is_pinned_by_tag_and_digest() -> None:
    (base,) = of("FROM")
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)


def test_packages_come_from_the_tested_set_and_leave_no_cache() -> None:
    installs = [run for run in of("RUN") if "pip install" in run]
    assert installs
    for run in installs:
        assert all("--constraint constraints.txt" in part for part in run.split("pip install")[1:])
    assert "PIP_NO_CACHE_DIR=1" in " ".join(of("ENV"))
    for run in of("RUN"):
        if "apt-get" in run:
            assert "--no-install-recommends" in run
            assert run.rstrip().endswith("rm -rf /var/lib/apt/lists/*"), "in the same layer"
            assert "apt-get upgrade" not in run


def test_the_extras_are_those_of_the_project() -> None:
    assert '--editable ".[$EXTRAS]"' in " ".join(of("RUN"))
    (extras,) = (rest.partition("=")[2].strip('"') for rest in of("ARG") if rest.startswith("EXTRAS="))
    known = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {"pipeline", "team"} <= set(extras.split(",")) <= set(known)


def test_it_names_no_package_index_and_holds_no_secret() -> None:
    text = DOCKERFILE.read_text()
    assert not re.search(r"https?://(?!127\.0\.0\.1)", text)
    assert {arg.partition("=")[0] for arg in of("ARG")} == {"PIP_INDEX_URL", "TORCH_INDEX_URL", "EXTRAS", "GIT_COMMIT"}
    assert not re.search(r"PASSWORD|SECRET|TOKEN", text)


def test_pytorch_is_the_one_for_the_cpu_or_the_build_fails() -> None:
    assert any("assert not torch.version.cuda" in run for run in of("RUN"))


def test_it_does_not_run_as_root() -> None:
    (user,) = of("USER")
    assert int(user) >= 10_000
    last_root = max(index for index, (name, _) in enumerate(PARSED) if name in ("RUN", "COPY"))
    assert last_root < next(index for index, (name, _) in enumerate(PARSED) if name == "USER"), "the code is root's"
    assert f"--uid {user}" in " ".join(of("RUN"))


def test_it_says_whether_it_is_well_and_runs_without_a_shell() -> None:
    (check,) = of("HEALTHCHECK")
    assert re.search(r"CMD \[", check)
    (command,) = of("CMD")
    assert command.startswith("[")


def test_code_is_copied_after_the_packages() -> None:
    install = next(index for index, (name, rest) in enumerate(PARSED) if name == "RUN" and "pip install" in rest)
    everything = PARSED.index(("COPY", ". ."))
    assert install < everything
    for name, rest in PARSED[:install]:
        if name == "COPY":
            assert all((ROOT / source).exists() for source in rest.split()[:-1])


@pytest.mark.parametrize(
    ("path", "goes"),
    [
        ("edgewright/cli/main.py", True),
        ("flows/release_model.py", True),
        ("deployments/prefect.yaml", True),
        ("mlflow/auth.ini", True),
        ("docker/pool.json", True),
        ("docker/team.env", False),
        (".git/config", False),
        (".edgewright/mlflow/mlflow.db", False),
        (".venv/bin/python", False),
        ("tests/conftest.py", False),
        ("edgewright/__pycache__/x.pyc", False),
    ],
)
def test_only_what_runs_goes_into_the_image(path: str, goes: bool) -> None:
    assert included(path) is goes


def included(path: str) -> bool:
    """Whether the ignore file lets a path through: the last line that matches it, or a folder above it, decides."""
    result = True
    for line in IGNORE.read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        wanted = pattern.startswith("!")
        pattern = pattern.lstrip("!")
        places = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
        names = [part for place in places for part in (place, Path(place).name if pattern.startswith("**/") else place)]
        if any(fnmatch.fnmatch(name, pattern.removeprefix("**/")) for name in names):
            result = wanted
    return result
