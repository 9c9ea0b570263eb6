"""``edgewright-agent run`` and what belongs to it: ``healthy``, ``allow``, ``settings``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.errors import NothingServesError, UsageError

if TYPE_CHECKING:
    from edgewright.device.agent_config import AgentConfig

CONFIG_VARIABLE = "EDGEWRIGHT_AGENT_CONFIG"
DEFAULT_CONFIG = Path("/etc/edgewright/agent.toml")
_SHORTEST_DIGEST = 8


def add_run_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to ``edgewright-agent``."""
    run = commands.add_parser(
        "run",
        help="serve answers, obey signed releases, go back when one misbehaves",
        description="Runs until it is told to end. Answers on http://127.0.0.1:8930 unless serve.listen says otherwise.",
    )
    run.set_defaults(command=_run)
    healthy = commands.add_parser("healthy", help="exit 0 if a running agent serves, 6 if not; for health checks")
    healthy.set_defaults(command=_healthy)
    allow = commands.add_parser("allow", help="take the refusal of a release back, e.g. after three power cuts")
    allow.add_argument("bundle", metavar="SHA256", help="the bundle's digest, or its first 8 digits and more")
    allow.set_defaults(command=_allow)
    settings = commands.add_parser("settings", help="print every setting with its default, bounds and meaning, as TOML")
    settings.set_defaults(command=_settings)
    for parser in (run, healthy, allow):
        add_config_word(parser)


def add_config_word(parser: argparse._ActionsContainer) -> None:
    """Add ``--config``."""
    parser.add_argument(
        "--config",
        type=Path,
        default=Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG),
        metavar="FILE",
        help=f"the agent's configuration (default: ${CONFIG_VARIABLE}, else {DEFAULT_CONFIG})",
    )


def load_config(options: argparse.Namespace) -> AgentConfig:
    """Read the configuration that ``--config`` names.

    Raises:
        AgentConfigError: It breaks rules.
    """
    from edgewright.device.agent_config import load_agent_config

    return load_agent_config(options.config)


def _run(options: argparse.Namespace) -> None:
    config = load_config(options)
    from edgewright.device.service import AgentService

    AgentService(config).run()


def _healthy(options: argparse.Namespace) -> None:
    """Ask the running agent; what it answers is its word, the exit status ours."""
    from edgewright.device.status import ask_agent

    config = load_config(options)
    said, trouble = ask_agent(config.state, config.serve.listen, config.device.id)
    if said is None:
        reason = trouble or f"no agent runs for {config.state}"
        raise NothingServesError(f"{reason}. Start it: edgewright-agent run.")
    if not said.get("serves"):
        raise NothingServesError(f"the agent of {config.state} runs, and nothing serves.")
    print("healthy")


def _allow(options: argparse.Namespace) -> None:
    from edgewright.device.state_holder import StateHolder, state_lock

    wanted = options.bundle.lower()
    if len(wanted) < _SHORTEST_DIGEST or set(wanted) - set("0123456789abcdef"):
        raise UsageError(f"SHA256 must be {_SHORTEST_DIGEST} hexadecimal digits or more, found {options.bundle!r}.")
    config = load_config(options)
    if not config.state.is_dir():
        raise UsageError(f"{config.state} is no folder: no agent ran there.")
    with state_lock(config.state):
        holder = StateHolder(config.state)
        found = [each for each in holder.state.refused if each.bundle_sha256.startswith(wanted)]
        if len(found) != 1:
            known = ", ".join(each.bundle_sha256[:12] for each in holder.state.refused) or "none"
            raise UsageError(f"{options.bundle} names {len(found)} refused bundles here. Refused: {known}.")
        holder.change(lambda state: state.allowing(found[0].bundle_sha256))
    print(
        f"allowed: version {found[0].version}, bundle {found[0].bundle_sha256[:12]}; it was refused: {found[0].reason}"
    )


def _settings(options: argparse.Namespace) -> None:
    from edgewright.device.agent_config import describe_config

    print(describe_config(), end="")
