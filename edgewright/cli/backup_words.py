"""The words of ``edgewright backup``, ``restore`` and ``prepare-team``; imports nothing: every ``--help`` asks for them."""

from __future__ import annotations

import argparse
from pathlib import Path

DATABASES_VARIABLE, BUCKET_VARIABLE = "EDGEWRIGHT_BACKUP_DATABASES", "EDGEWRIGHT_BACKUP_BUCKET"


def add_words(command: str, parser: argparse.ArgumentParser) -> None:
    """The words of one of the commands."""
    if command == "prepare-team":
        parser.add_argument("--bucket", metavar="S3", help="bucket to make unless it is there, e.g. s3://edgewright")
        for word, what in (("--account", "that reads"), ("--administrator", "that may do everything, to build with")):
            parser.add_argument(
                word,
                action="append",
                default=[],
                metavar="NAME=VARIABLE",
                help=f"account of the registry {what}, and the variable with its password; made, or given that password",
            )
        return
    if command == "backup":
        parser.add_argument("folder", type=Path, metavar="INTO", help="new folder for the backup")
    else:
        parser.add_argument("folder", type=Path, metavar="FROM", help="folder that `edgewright backup` made")
        parser.add_argument(
            "--yes", action="store_true", help="restore; without it the backup is only proved to be whole"
        )
    parser.add_argument(
        "--databases",
        metavar="NAMES",
        help=f"of a team's servers: PostgreSQL databases, what refers to another before it (default: ${DATABASES_VARIABLE})",
    )
    parser.add_argument(
        "--bucket", metavar="S3", help=f"of a team's servers: s3://bucket (default: ${BUCKET_VARIABLE})"
    )
