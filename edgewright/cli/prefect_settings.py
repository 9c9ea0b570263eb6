"""Settings of Prefect inside this command; they must stand in the environment before prefect is imported."""

from __future__ import annotations

import atexit
import logging
import os

from edgewright.cli.prefect_server import PrefectServer
from edgewright.pipeline.workspace import Workspace

_QUIET = {
    "PREFECT_LOGGING_LEVEL": "ERROR",
    # Errors belong on the flow run's page; in the terminal the command says them itself, in its own words.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


def settle_prefect(workspace: Workspace) -> PrefectServer | None:
    """Keeps Prefect quiet and, where no server is named, starts one in the workspace. What the caller set is left alone.

    Returns:
        The server, which may not answer yet; None where another one was named. It ends with this process: Prefect's
        clients send their last words in Python's own exit handlers, so that it must not end before them.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    # Otherwise a log line that the page cannot take (its disk is full, its server gone) is put on the terminal instead.
    logging.raiseExceptions = False
    if "PREFECT_API_URL" in os.environ or "PREFECT_HOME" in os.environ:
        return None
    os.environ["PREFECT_HOME"] = str(workspace.prefect_home)
    server = PrefectServer(workspace)
    atexit.register(server.close)
    os.environ["PREFECT_API_URL"] = server.api_url
    for name in ("NO_PROXY", "no_proxy"):
        known = os.environ.get(name)
        os.environ[name] = f"{known},127.0.0.1" if known else "127.0.0.1"
    return server
