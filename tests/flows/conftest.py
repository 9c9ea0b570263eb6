"""A workspace with its own tracking server, for flows that run in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgewright.pipeline.tracking import Tracking, tracking_server


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracking]:
    """One workspace, with its server up; tests keep to models of their own."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("flow") / "home"
        patch.setenv("EDGEWRIGHT_HOME", str(home))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with tracking_server(home) as tracking:
            yield tracking
