"""A device's first trust, written by the workshop: the newest root, the champion's bundle, and a configuration to complete.

The bundle is what signed metadata names, byte by byte, wherever it was fetched from.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from edgewright.durable import replace_file
from edgewright.errors import EnrolmentError, UsageError
from edgewright.pipeline.signing.repository import Repository
from edgewright.pipeline.tracking import Tracking, download, get_version
from edgewright.signed_release import SignedRelease, role_name

CONFIGURATION, ROOT, FACTORY = "agent.toml", "root.json", "factory"
# Whatever the umask: the agent reads them as another user, in a container for one, and nothing in them is secret.
_FOLDER_MODE, _FILE_MODE = 0o755, 0o644


def write_enrolment(
    repository: Repository, tracking: Tracking, model: str, target: str, folder: Path, configuration: str
) -> SignedRelease:
    """Write what a device begins with.

    Args:
        repository: The signed metadata.
        tracking: The registry, for the bundle's files.
        model: Name of the model.
        target: Name of the target.
        folder: Where to; made where it is missing, and refused where it holds an enrolment.
        configuration: Text of the agent's configuration.

    Returns:
        The release that is the device's factory bundle.

    Raises:
        UsageError: The folder holds an enrolment already.
        EnrolmentError: Nothing is signed for the model and target.
        IntegrityError: The registry has other bytes than were signed.
    """
    if any((folder / name).exists() for name in (CONFIGURATION, ROOT, FACTORY)):
        raise UsageError(f"{folder} holds an enrolment already: name another folder, or remove that one.")
    generation = repository.read()
    release = None if generation is None else generation.release(role_name(model, target))
    if generation is None or release is None:
        raise EnrolmentError(
            f"nothing is signed for {model}.{target}: promote a release (`edgewright promote`), or, where its key is "
            f"offline, sign its champion (`edgewright release sign {model} --target {target}`)."
        )
    if not folder.is_dir():
        folder.mkdir(parents=True)
        folder.chmod(_FOLDER_MODE)
    version = get_version(tracking, model, target, release.version)
    with tempfile.TemporaryDirectory(prefix=".enrol-", dir=folder) as scratch:
        fetched = download(tracking, version, "bundle", Path(scratch))
        for file in release.files:
            path = fetched / file.name
            file.check(
                path.read_bytes() if path.is_file() else b"", f"{version.name} version {version.version}: {file.name}"
            )
        made = Path(scratch) / FACTORY
        made.mkdir()
        for file in release.files:
            shutil.copyfile(fetched / file.name, made / file.name)
            (made / file.name).chmod(_FILE_MODE)
        made.chmod(_FOLDER_MODE)
        made.replace(folder / FACTORY)
    replace_file(folder / ROOT, generation.files[f"{generation.root.version}.root.json"])
    replace_file(folder / CONFIGURATION, configuration.encode())
    for name in (ROOT, CONFIGURATION):
        (folder / name).chmod(_FILE_MODE)
    return release
