"""What a device receives: a folder with a model, a manifest (the contract) and golden samples.

The SHA-256 of the manifest's bytes is the bundle's identity. ``docs/decisions/0005-bundle-format.md`` says why a bundle
is a folder of three files.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgewright.bundle_file import GOLDEN_NAME, MANIFEST_MAX_BYTES, MANIFEST_NAME, BundleFile, sha256_hex
from edgewright.durable import flush_folder, write_new_file
from edgewright.engines.engine import EngineSettings
from edgewright.errors import BundleError, IntegrityError
from edgewright.golden import GOLDEN_TOLERANCE, Golden, golden_from_bytes, golden_to_bytes
from edgewright.manifest import Manifest, model_file_name, parse_manifest
from edgewright.postprocessing import Postprocessing
from edgewright.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle, its bytes in memory: what was verified is what will run.

    Attributes:
        folder: Where it was read from.
        sha256: Digest of the manifest's bytes: the bundle's identity.
        manifest: The contract.
        model: Bytes of the model file.
        golden: The golden samples.
    """

    folder: Path
    sha256: str
    manifest: Manifest
    model: bytes
    golden: Golden


def write_bundle(
    folder: Path,
    *,
    model: bytes,
    golden: Golden,
    model_name: str,
    target: str,
    variant: str,
    platform: str,
    engine: str,
    settings: EngineSettings,
    input_name: str,
    preprocessing: Preprocessing,
    postprocessing: Postprocessing,
    build: str,
    data_sha256: str,
    golden_tolerance: float = GOLDEN_TOLERANCE,
) -> Bundle:
    """Write a bundle in one step: after a crash the folder is there whole, or not at all.

    Args:
        folder: Where it shall stand. When it already holds exactly this bundle, nothing is written.
        model: Bytes of the model file.
        golden: The golden samples, from `edgewright.golden.choose_golden`.
        model_name: The manifest's ``model``; the others are the manifest's fields of the same name.
        target: See `Manifest`.
        variant: See `Manifest`.
        platform: See `Manifest`.
        engine: See `Manifest`.
        settings: See `Manifest`.
        input_name: See `Manifest`.
        preprocessing: See `Manifest`.
        postprocessing: See `Manifest`.
        build: See `Manifest`.
        data_sha256: See `Manifest`.
        golden_tolerance: See `Manifest`.

    Raises:
        BundleError: A field breaks a rule, or the folder holds something else.
    """
    contents = {model_file_name(engine): model, GOLDEN_NAME: golden_to_bytes(golden)}
    manifest = Manifest(
        model=model_name,
        target=target,
        variant=variant,
        platform=platform,
        engine=engine,
        settings=settings,
        input_name=input_name,
        preprocessing=preprocessing,
        postprocessing=postprocessing,
        golden_samples=len(golden),
        golden_tolerance=golden_tolerance,
        files=tuple(BundleFile(name, sha256_hex(data), len(data)) for name, data in sorted(contents.items())),
        build=build,
        data_sha256=data_sha256,
    )
    contents[MANIFEST_NAME] = manifest.to_bytes()
    if not folder.exists():
        _install_folder(folder, contents)
    return read_bundle(folder, sha256_hex(contents[MANIFEST_NAME]))


def _install_folder(folder: Path, contents: dict[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        temporary.chmod(0o755)  # mkdtemp gives 0700, which the user of a container could not enter
        for name, data in contents.items():
            write_new_file(temporary / name, data)
        flush_folder(temporary)
        temporary.rename(folder)
        flush_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_bundle(folder: Path, expected_sha256: str | None = None) -> Bundle:
    """Read and verify a bundle: its manifest, every promised file, and that nothing else is there.

    Args:
        folder: The bundle's folder.
        expected_sha256: The bundle's identity, where it is known; without it only inner consistency is verified.

    Raises:
        IntegrityError: A digest or a size is not the promised one.
        BundleError: The folder is no bundle, or the manifest breaks a rule.
    """
    manifest_bytes = _read_file(folder / MANIFEST_NAME, MANIFEST_MAX_BYTES)
    sha256 = sha256_hex(manifest_bytes)
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise IntegrityError(f"{folder} is the bundle {sha256}, expected {expected_sha256}.")
    manifest = parse_manifest(manifest_bytes, str(folder / MANIFEST_NAME))
    found = {path.name for path in folder.iterdir()}
    promised = {MANIFEST_NAME, *(file.name for file in manifest.files)}
    if found != promised:
        extra, lacking = sorted(found - promised), sorted(promised - found)
        raise BundleError(f"{folder} does not match its manifest: extra files {extra}, missing files {lacking}.")
    contents = {}
    for file in manifest.files:
        contents[file.name] = _read_file(folder / file.name, file.size_bytes)
        file.check(contents[file.name], str(folder / file.name))
    golden = golden_from_bytes(contents[GOLDEN_NAME])
    if len(golden) != manifest.golden_samples:
        raise BundleError(f"{folder} holds {len(golden)} golden samples, its manifest says {manifest.golden_samples}.")
    return Bundle(folder, sha256, manifest, contents[manifest.model_file], golden)


def _read_file(path: Path, limit_bytes: int) -> bytes:
    """Read a plain file, at most one byte above the limit: the caller sees that it is too long."""
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{path} is missing or no plain file: {path.parent} is not a bundle.")
    with path.open("rb") as stream:
        data = stream.read(limit_bytes + 1)
    if path.name == MANIFEST_NAME and len(data) > limit_bytes:
        raise BundleError(f"{path} is larger than {limit_bytes} bytes: it is not a manifest.")
    return data
