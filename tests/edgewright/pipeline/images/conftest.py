"""An engine and a registry for the whole session, and real parts; each only where it can be had."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from container_engine import Running, running_engine, running_registry
from edgewright.pipeline.images.builder import ImageParts
from edgewright.pipeline.images.engine_client import ContainerEngine, find_engine
from real_image_parts import make_real_parts


@pytest.fixture(scope="session")
def engine_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An engine of these tests' own, for ``DOCKER_HOST``."""
    with running_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running.address


@pytest.fixture
def engine(engine_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ContainerEngine]:
    """That engine, found as every command finds it."""
    monkeypatch.setenv("DOCKER_HOST", engine_address)
    found = find_engine()
    assert found is not None
    yield found
    found.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A registry without accounts."""
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def real_parts() -> ImageParts:
    """Debian's Python and real wheels, made and fetched once, kept in the checkout's workspace."""
    return make_real_parts()
