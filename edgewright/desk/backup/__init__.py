"""Backup and restore of a desk, or of a team's servers: databases, artifacts, everything that people decided.

A backup is one folder: dumps of the databases, every other file or object once by its digest, lists that say where each
belongs, and a manifest with the digest of all of it. It is taken while everything runs, databases first (``taking.py`` says
why), and it is a folder of that name only when it is whole.
"""

from edgewright.desk.backup.manifest import Manifest, read_manifest, verify
from edgewright.desk.backup.restoring import restore_desk, restore_team
from edgewright.desk.backup.sources import Source, desk_source, team_source
from edgewright.desk.backup.taking import take_backup

__all__ = [
    "Manifest",
    "Source",
    "desk_source",
    "read_manifest",
    "restore_desk",
    "restore_team",
    "take_backup",
    "team_source",
    "verify",
]
