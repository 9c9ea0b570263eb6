"""What a kill, or a hand in the registry's pages, left between aliases and signed metadata: found, and set right.

The alias is what people intend, so it leads where the workshop attests its version: that is signed now. Where it does
not, or names an older release than the signed one, the alias goes back to what is signed, with a tag that says why.
"""

from __future__ import annotations

from edgewright.errors import EdgewrightError
from edgewright.pipeline.lease import LeaseHeldError, hold_lease
from edgewright.pipeline.signing.mirror import mend_mirror
from edgewright.pipeline.signing.publisher import Signing, sign_champion
from edgewright.pipeline.signing.repository import Repository
from edgewright.pipeline.tracking import Tracking, champion, registered_names, versions
from edgewright.pipeline.tracking.signing_tags import set_champion_back

_HOLDER = "reconcile"


def heal_updates(repository: Repository, tracking: Tracking) -> tuple[list[str], list[str]]:
    """Sign what was left unsigned, set back what must not be, and send what the registry lacks.

    Returns:
        One sentence for each thing that was done, and for each that only a person can decide.

    Raises:
        RegistryError: The registry cannot be reached.
        TrustError: The own copy is damaged.
    """
    done: list[str] = []
    open_: list[str] = []
    with repository.locked(_HOLDER):
        generation = repository.read()
        sent = mend_mirror(tracking, generation) if generation is not None else ()
    if sent:
        done.append(f"signed metadata in the registry was missing or changed, and was sent again: {', '.join(sent)}")
    for name in registered_names(tracking):
        model, _, target = name.partition(".")
        try:
            with hold_lease(repository.shared, f"promotion.{model}", holder=_HOLDER):
                _heal(repository, tracking, model, target, done, open_)
        except LeaseHeldError:
            continue  # a promotion is under way: it signs
        except EdgewrightError as error:  # what is wrong with one model keeps no other one's devices waiting
            open_.append(f"{name}: {error}")
    return done, open_


def _heal(
    repository: Repository, tracking: Tracking, model: str, target: str, done: list[str], open_: list[str]
) -> None:
    signing = sign_champion(repository, tracking, model, target, holder=_HOLDER)
    if signing.standing == "signed":
        done.append(signing.note)
    elif signing.standing == "waits":
        open_.append(signing.note)
    elif signing.standing == "refused" or signing.standing == "none":
        said = _set_back(repository, tracking, model, target, signing)
        if said:
            done.append(said)
        elif signing.note:
            open_.append(signing.note)


def _set_back(repository: Repository, tracking: Tracking, model: str, target: str, signing: Signing) -> str:
    """Set an alias back to what is signed; empty where nothing is, or the registry no longer has it."""
    generation = repository.read()
    release = None if generation is None else generation.release(signing.name)
    if release is None:
        return ""
    known = {version.version: version for version in versions(tracking, model, target)}
    signed = known.get(release.version)
    if signed is None or signed.bundle_sha256 != release.bundle_sha256:
        return ""
    why = (
        signing.note
        or f"{signing.name}: the alias champion was removed; devices are told to run version {signed.version}."
    )
    set_champion_back(tracking, signed, champion(tracking, model, target), why)
    return f"{why} The alias is back at version {signed.version}."
