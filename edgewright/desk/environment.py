"""What the parts of the desk are told: where they are, to stay on this machine, and to keep quiet."""

from __future__ import annotations

import os

from edgewright.errors import UsageError
from edgewright.pipeline.workspace import VARIABLE, Workspace

# A run that has said nothing for several of these has lost its process (deployments/automations/).
HEARTBEAT_S = 30
_SERVERS = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")
# A profile of the person's lies in the person's own Prefect home, and the desk has another one.
_NOT_INHERITED = ("PREFECT__", "PREFECT_PROFILE", "EDGEWRIGHT_DESK")
_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def refuse_other_servers() -> None:
    """The desk is for servers of its own; where others are named, it would be unclear which a run goes to.

    Raises:
        UsageError: Names the variable, its value and the remedy.
    """
    named = [f"{name} is {os.environ[name]!r}" for name in _SERVERS if os.environ.get(name)]
    if named:
        raise UsageError(
            f"{' and '.join(named)}: the desk starts servers of its own on this machine. Unset that to open it; or leave "
            "the desk closed and work with the servers named there."
        )


def client_environment(workspace: Workspace, api_url: str) -> dict[str, str]:
    """For whatever speaks to the desk's Prefect server: the worker, its flows, ``prefect deploy``.

    MLflow is not named: a flow finds the tracking server of its workspace, and starts it where it has died.
    """
    return {
        **_QUIET,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
        # The run's page gets the log; the terminal gets what must not be missed.
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        **_inherited(),
        "PREFECT_HOME": str(workspace.prefect_home),
        "PREFECT_API_URL": api_url,
        VARIABLE: str(workspace.home),
        **_no_proxy(),
    }


def server_environment(workspace: Workspace, port: int) -> dict[str, str]:
    """For the desk's Prefect server."""
    url = f"http://127.0.0.1:{port}"
    return {
        **_QUIET,
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # The other design of its pages loads a tracker from the internet, whatever the settings say.
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        **_inherited(),
        "PREFECT_HOME": str(workspace.prefect_home),
        # With the port alone, its pages would still call port 4200.
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": f"{url}/api",
        "PREFECT_UI_URL": url,
        # No other page of the browser may start a flow.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{url},http://localhost:{port}",
        VARIABLE: str(workspace.home),
        **_no_proxy(),
    }


def _inherited() -> dict[str, str]:
    """What the caller set, but for what names a process or a server."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _SERVERS and not name.startswith(_NOT_INHERITED)
    }


def _no_proxy() -> dict[str, str]:
    """Keeps requests to loopback from a proxy of the environment."""
    found = {}
    for name in ("NO_PROXY", "no_proxy"):
        known = [entry for entry in os.environ.get(name, "").split(",") if entry]
        found[name] = ",".join(dict.fromkeys([*known, "127.0.0.1"]))
    return found
