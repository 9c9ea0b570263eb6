"""A workshop with a registry of its own, whose releases are signed, and devices enrolled with it.

Releases are registered once per session and each test works on a copy: registering costs more than all that is tested.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgewright.pipeline.signing.attestation import attest, find_attestation
from edgewright.pipeline.signing.ceremony import Exchanged, init_keys
from edgewright.pipeline.signing.deciding import promote_by_person, roll_back
from edgewright.pipeline.signing.mirror import mend_mirror
from edgewright.pipeline.signing.publisher import Signing, sign_champion
from edgewright.pipeline.signing.repository import Repository
from edgewright.pipeline.tracking import ModelVersion, Tracking, get_version
from edgewright.pipeline.tracking.client import artifacts_folder, database_uri, open_client, store_folder
from edgewright.signed_release import REPOSITORY
from registered import release
from signed_updates import Clock, Device, clock, repository

TARGET = "linux-x86"
PASSED, BETTER, FAILED, UNSURE, FOREIGN = 1, 2, 3, 4, 5


class Workshop:
    """What people and flows do in a workshop, in one line each."""

    def __init__(self, tracking: Tracking, scratch: Path, now: Clock) -> None:
        self.tracking, self._scratch, self.now = tracking, scratch, now
        self.offline = scratch / "stick"
        self.mirror = artifacts_folder(tracking.home) / REPOSITORY

    def repository(self, stick: bool = False) -> Repository:
        """The repository, as a flow opens it, or as a person with the stick of offline keys."""
        return repository(self.tracking.home, self.offline if stick else None, self.now)

    def init(self) -> Exchanged:
        """A person makes the proper keys."""
        return self.ceremony(init_keys)

    def ceremony(self, act: Callable[..., Exchanged], *words: Any) -> Exchanged:
        """A person does something with the keys; what was signed reaches the registry."""
        opened = self.repository(stick=True)
        with opened.locked("a test") as lease:
            done = act(opened, *words, lease)
            mend_mirror(self.tracking, done.generation)
        return done

    def attest(self, number: int, **changes: Any) -> None:
        """The workshop's own word about a version changes."""
        version, shared = self.version(number), self.repository().shared
        found = find_attestation(shared, version.name, version.bundle_sha256)
        assert found is not None
        attest(shared, replace(found, **changes))

    def point(self, version: int, model: str = "digits") -> None:
        """Somebody moves the alias by hand."""
        open_client(self.tracking).set_registered_model_alias(f"{model}.{TARGET}", "champion", str(version))

    def promote(self, version: int, model: str = "digits") -> Signing:
        """A version becomes champion, and is signed as a flow does it."""
        promote_by_person(self.tracking, model, TARGET, version, reason="good", who="test")
        return self.sign(model)

    def rollback(self) -> Signing:
        """The champion goes back, and that is signed."""
        roll_back(self.tracking, "digits", TARGET, reason="bad", who="test")
        return self.sign()

    def sign(self, model: str = "digits", stick: bool = False) -> Signing:
        """The champion is signed: by a flow, or by a person with the stick."""
        return sign_champion(self.repository(stick), self.tracking, model, TARGET, by_person=stick)

    def version(self, number: int) -> ModelVersion:
        """A version as it is now."""
        return get_version(self.tracking, "digits", TARGET, number)

    def enrol(self, name: str = "device", like: Device | None = None) -> Device:
        """A device that trusts the first root; or one that knows what another knows."""
        root = self.repository().copy.read("1.root.json")
        assert root is not None
        return Device(self._scratch / name, self.mirror, root, None if like is None else like.folder)


@pytest.fixture(scope="session")
def released_home(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose registry has five versions of ``digits`` (see above) and one of ``motion``, and no champion."""
    home, scratch = tmp_path_factory.mktemp("released") / "home", tmp_path_factory.mktemp("bundles")
    store_folder(home).mkdir(parents=True)
    shutil.copy(migrated_database, store_folder(home) / "mlflow.db")
    tracking = Tracking(database_uri(home), home)
    for build, verdict, attested in (
        ("passed", "pass", True),
        ("better", "pass", True),
        ("failed", "fail", True),
        ("unsure", "not_measurable", True),
        ("foreign", "pass", False),
    ):
        release(tracking, scratch, build, verdict=verdict, attested=attested)
    release(tracking, scratch, "passed", model="motion")
    return home


@pytest.fixture(scope="session")
def signed_home(released_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same workspace, after the first versions of both models were promoted and signed with development keys."""
    folder = tmp_path_factory.mktemp("signed")
    shutil.copytree(released_home, folder / "home")
    made = Workshop(Tracking(database_uri(folder / "home"), folder / "home"), folder, clock())
    made.promote(PASSED), made.promote(1, model="motion")
    return folder / "home"


@pytest.fixture
def open_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Workshop]:
    """A workshop on a copy of a workspace, which is this process's own, too."""

    def opened(home: Path) -> Workshop:
        own = tmp_path / "home"
        shutil.copytree(home, own)
        monkeypatch.setenv("EDGEWRIGHT_HOME", str(own))
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Workshop(Tracking(database_uri(own), own), tmp_path, clock())

    return opened


@pytest.fixture
def workshop(released_home: Path, open_copy: Callable[[Path], Workshop]) -> Workshop:
    """A workshop that has signed nothing yet."""
    return open_copy(released_home)


@pytest.fixture
def signed(signed_home: Path, open_copy: Callable[[Path], Workshop]) -> Workshop:
    """A workshop that signed the first versions of both models with development keys."""
    return open_copy(signed_home)


@pytest.fixture
def proper(workshop: Workshop) -> Workshop:
    """A workshop with proper keys, the offline ones on a stick."""
    workshop.init()
    return workshop
