"""Settings of Prefect inside this command; they must stand in the environment before prefect is imported."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from collections.abc import Callable

from edgewright.cli.prefect_server import PrefectServer
from edgewright.desk import Desk, running_desk
from edgewright.desk.api import is_healthy
from edgewright.desk.environment import HEARTBEAT_S
from edgewright.desk.running import join_desk
from edgewright.errors import DeskError
from edgewright.pipeline.workspace import Workspace

_QUIET = {
    "PREFECT_LOGGING_LEVEL": "ERROR",
    # Errors belong on the flow run's page; in the terminal the command says them itself, in its own words.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}
# A desk that is just being opened answers within half a minute, on a busy machine later.
_DESK_DEADLINE_S = 120.0
_POLL_S = 0.1


class DeskServer:
    """The desk's Prefect server, which this command uses and leaves up.

    Args:
        desk: Where it is.
    """

    def __init__(self, desk: Desk) -> None:
        self.api_url = desk.prefect_api_url

    def wait(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Returns once the server answers.

        Raises:
            DeskError: It lives and does not answer.
        """
        gives_up_at = time.monotonic() + _DESK_DEADLINE_S
        while not is_healthy(self.api_url):
            if time.monotonic() > gives_up_at:
                raise DeskError(
                    f"the desk's Prefect server at {self.api_url} does not answer. Look: edgewright status. Without a desk "
                    "(edgewright down) this command starts a server of its own."
                )
            on_wait()
            time.sleep(_POLL_S)


def settle_prefect(workspace: Workspace) -> PrefectServer | DeskServer | None:
    """Keeps Prefect quiet and finds it a server: the running desk's, or one that starts here. What the caller set stays.

    Returns:
        The server, which may not answer yet; None where the caller named another one. One that starts here ends with this
        process: Prefect's clients send their last words in Python's own exit handlers, so that it must not end before them.
    """
    names_another = "PREFECT_API_URL" in os.environ or "PREFECT_HOME" in os.environ
    desk = None if names_another else running_desk(workspace.home)
    # On the desk a run's page shows its log; on a server that ends with this command nobody would read it.
    seen = {"PREFECT_LOGGING_LEVEL": "INFO", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)} if desk else {}
    for name, value in {**_QUIET, **seen}.items():
        os.environ.setdefault(name, value)
    # Otherwise a log line that the page cannot take (its disk is full, its server gone) is put on the terminal instead.
    logging.raiseExceptions = False
    if names_another:
        return None
    os.environ["PREFECT_HOME"] = str(workspace.prefect_home)
    server: PrefectServer | DeskServer
    if desk is not None:
        server = DeskServer(desk)
        use = join_desk(workspace.home, " ".join(["edgewright", *sys.argv[1:2]]))
        atexit.register(use.unlink, missing_ok=True)
    else:
        server = PrefectServer(workspace)
        atexit.register(server.close)
    os.environ["PREFECT_API_URL"] = server.api_url
    for name in ("NO_PROXY", "no_proxy"):
        known = os.environ.get(name)
        os.environ[name] = f"{known},127.0.0.1" if known else "127.0.0.1"
    return server
