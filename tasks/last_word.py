"""The last word of a suspended run's process: that it has ended as it should, and waits for a person.

An automation ends a run as Crashed when heartbeats stop (``deployments/automations/silent-runs.yaml``). A run that suspends
stops them too, and that it was suspended answers the automation; but Prefect sends heartbeats on a way of their own, and one
that arrives after the suspension starts a new wait, which nothing would answer.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime

_RUN = "PREFECT__FLOW_RUN_ID"
_ENGINE = "prefect.engine"
EVENT = "edgewright.flow-run.waits"
# Heartbeats that were sent before are on their way for milliseconds, on a busy machine for longer.
_LET_OTHERS_ARRIVE_S = 2.0


def promise_last_word() -> None:
    """Has this process say its last word when it ends, if it is a worker's process for a flow run."""
    main = getattr(sys.modules["__main__"], "__spec__", None)
    if main is not None and main.name == _ENGINE and _RUN in os.environ:
        atexit.register(_speak, os.environ[_RUN])


def _speak(run: str) -> None:
    from httpx import HTTPError
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectException

    # Where the server is gone there is nobody to tell, and nobody who would end the run.
    with suppress(HTTPError, PrefectException), get_client(sync_client=True) as client:
        state = client.read_flow_run(uuid.UUID(run)).state
        if state is None or not state.is_paused():
            return
        time.sleep(_LET_OTHERS_ARRIVE_S)
        event = {
            "id": str(uuid.uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": EVENT,
            "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
            "payload": {},
        }
        client.request("POST", "/events", json=[event])
