"""Moving aliases: what devices run is one write, the alias ``champion``, and it is the last one that decides anything.

Everything before that write only prepares: a kill in between leaves the old champion in office, and the next call under
the same lock takes back or redoes what was prepared. What comes after it are pages for people, which decide nothing. A
promotion writes to the promoted version alone: its ``edgewright.replaced`` names the champion before it and its
``edgewright.line`` those before that, newest first. Going back marks what leaves as withdrawn and never goes to a withdrawn
release, so it always ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edgewright.errors import RegistryError
from edgewright.pipeline.tracking.client import Tracking, alias_lock, open_client, registry_errors
from edgewright.pipeline.tracking.model_version import (
    BASELINE,
    CANDIDATE,
    CHAMPION,
    PREVIOUS,
    ModelVersion,
    get_version,
    registered_name,
    versions,
)
from edgewright.pipeline.tracking.pages import refresh_pages

REPLACED = "edgewright.replaced"
LINE = "edgewright.line"
NONE = "none"
PINNED = "edgewright.baseline_pinned"
WAIVER = "edgewright.waiver"
WITHDRAWN = ("edgewright.withdrawn", "edgewright.withdrawn_by", "edgewright.withdrawn_at")

# Going back further than this many releases is no rollback any more; it also keeps the tag readable.
LINE_LENGTH = 50

Known = dict[int, ModelVersion]


class ChampionMovedError(RegistryError):
    """Another champion took office after the verdict was reached: judge against it, then promote."""


@dataclass(frozen=True)
class Promotion:
    """What a promotion or a rollback did.

    Attributes:
        name: The registered model.
        champion: The version that devices run now.
        replaced: The version that they ran before; None when there was none.
        changed: False when ``champion`` was in office already.
    """

    name: str
    champion: int
    replaced: int | None
    changed: bool


@registry_errors("promoting a version")
def promote(
    tracking: Tracking,
    model: str,
    target: str,
    version: int,
    *,
    reason: str,
    who: str,
    waiver: str | None = None,
    judged_against: int | None = None,
    allow_withdrawn: bool = False,
    on_decided: Callable[[ModelVersion], None] = lambda chosen: None,
) -> Promotion:
    """Make ``version`` the champion; of one that is champion already, only a waiver that it lacks is written.

    Args:
        tracking: Where the registry is.
        model: The model's name.
        target: The target's name.
        version: The version to promote.
        reason: Why; stored with the version.
        who: Who or what promotes; stored with the version.
        waiver: A person's reason to let pass what the gate did not; stored with the version.
        judged_against: The champion that the verdict compared with, 0 for none: when another is in office by now the
            verdict does not speak about it. None skips the check.
        allow_withdrawn: Promote also what was rolled back. For a person's explicit wish, never for an automatic build,
            which would undo the rollback every night.
        on_decided: Told what takes, or keeps, the office, after every check and before anything is written.

    Raises:
        ChampionMovedError: The champion is not the one that the verdict compared with.
        RegistryError: The verdict is not ``pass`` and there is no waiver, the version is half registered, has no bundle
            or was withdrawn, or ``reason`` or ``who`` is empty.
    """
    name = registered_name(model, target)
    _check_words(reason=reason, who=who, **({} if waiver is None else {"waiver": waiver}))
    with alias_lock(tracking, name):
        found = _holder(_known(tracking, model, target), CHAMPION)
        if found is not None and found.version == version:
            # Before mending, which takes a champion's withdrawal for that of a rollback that was killed.
            _check_promotable(found, waiver, allow_withdrawn)
        mend_aliases(tracking, model, target)
        known = _known(tracking, model, target)
        current, chosen = _holder(known, CHAMPION), known.get(version) or get_version(tracking, model, target, version)
        if current is not None and current.version == version:
            on_decided(current)
            if waiver is not None and current.waiver != waiver:
                _set_tags(open_client(tracking), current, {WAIVER: waiver, **_signature(reason, who)})
                refresh_pages(tracking, model, target, version)
            return Promotion(name, version, current.replaced, changed=False)
        _check_judged(name, current, judged_against)
        _check_promotable(chosen, waiver, allow_withdrawn)
        on_decided(chosen)
        client = open_client(tracking)
        line = [] if current is None else [current.version, *(each.version for each in _line(known, current))]
        tags = {
            **({} if waiver is None else {WAIVER: waiver}),
            REPLACED: str(current.version) if current else NONE,
            LINE: " ".join([str(each) for each in line if each != version][:LINE_LENGTH]) or NONE,
            **_signature(reason, who),
        }
        _set_tags(client, chosen, tags)
        _delete_tags(client, chosen, WITHDRAWN)
        if current is not None:
            client.set_registered_model_alias(name, PREVIOUS, str(current.version))
        elif _holder(known, BASELINE) is None:
            client.set_registered_model_alias(name, BASELINE, str(version))
        if CANDIDATE in chosen.aliases:
            client.delete_registered_model_alias(name, CANDIDATE)
        client.set_registered_model_alias(name, CHAMPION, str(version))
        refresh_pages(tracking, model, target, version)
        return Promotion(name, version, current.version if current else None, changed=True)


@registry_errors("rolling back")
def rollback(
    tracking: Tracking,
    model: str,
    target: str,
    *,
    reason: str,
    who: str,
    on_decided: Callable[[ModelVersion, ModelVersion], None] = lambda leaving, chosen: None,
) -> Promotion:
    """Give the office back to the release that the champion replaced. Twice goes back twice, never forth.

    The release that leaves is marked as withdrawn, with the reason.

    Args:
        tracking: Where the registry is.
        model: The model's name.
        target: The target's name.
        reason: Why; stored with both versions.
        who: Who decides; stored with both versions.
        on_decided: Told what leaves and what takes its place, after every check and before anything is written.

    Raises:
        RegistryError: There is no champion, nothing to go back to, or what to go back to must not be champion.
    """
    name = registered_name(model, target)
    _check_words(reason=reason, who=who)
    with alias_lock(tracking, name):
        mend_aliases(tracking, model, target)
        known = _known(tracking, model, target)
        current = _holder(known, CHAMPION)
        if current is None:
            raise RegistryError(f"{name} has no champion: there is nothing to roll back")
        earlier = _predecessor(known, current)
        if earlier is None:
            raise RegistryError(
                f"{name} version {current.version} has no earlier release that could take its place: nothing to go "
                f"back to. Promote another version (`edgewright compare {model}` lists them)"
            )
        on_decided(current, earlier)
        client = open_client(tracking)
        _set_tags(client, current, dict(zip(WITHDRAWN, (reason, who, _now()), strict=True)))
        _set_tags(client, earlier, _signature(reason, who))
        beyond = [each for each in _line(known, earlier) if each.version != current.version]
        _point_previous(client, name, known, beyond[0] if beyond else None)
        client.set_registered_model_alias(name, CHAMPION, str(earlier.version))
        refresh_pages(tracking, model, target, earlier.version)
        return Promotion(name, earlier.version, current.version, changed=True)


@registry_errors("setting the candidate")
def set_candidate(tracking: Tracking, model: str, target: str, version: int) -> None:
    """Point ``candidate`` to a release that passed or awaits a measurement; the champion needs no candidacy.

    Raises:
        RegistryError: The version failed or is half registered.
    """
    name = registered_name(model, target)
    with alias_lock(tracking, name):
        chosen = get_version(tracking, model, target, version)
        if not chosen.is_complete or chosen.verdict == "fail":
            raise RegistryError(
                f"{name} version {version} cannot be candidate: "
                f"{'its verdict is fail' if chosen.is_complete else 'it is half registered'}; build another one"
            )
        if not chosen.is_champion and CANDIDATE not in chosen.aliases:
            open_client(tracking).set_registered_model_alias(name, CANDIDATE, str(version))
            refresh_pages(tracking, model, target)


@registry_errors("pinning the baseline")
def pin_baseline(tracking: Tracking, model: str, target: str, version: int, *, reason: str, who: str) -> None:
    """Let slow drift be judged against ``version`` from now on.

    Raises:
        RegistryError: The version could not be champion either, or ``reason`` or ``who`` is empty.
    """
    name = registered_name(model, target)
    _check_words(reason=reason, who=who)
    with alias_lock(tracking, name):
        chosen = get_version(tracking, model, target, version)
        _check_promotable(chosen, None, allow_withdrawn=True)
        client = open_client(tracking)
        client.set_model_version_tag(name, str(version), PINNED, f"{reason} ({who}, {_now()})")
        client.set_registered_model_alias(name, BASELINE, str(version))
        refresh_pages(tracking, model, target, version)


def mend_aliases(tracking: Tracking, model: str, target: str) -> list[str]:
    """Take back what a killed promotion or rollback prepared; call it with ``alias_lock`` held.

    Returns:
        One sentence for each thing that was mended.
    """
    name, known = registered_name(model, target), _known(tracking, model, target)
    client = open_client(tracking)
    current, first, waiting = (_holder(known, alias) for alias in (CHAMPION, BASELINE, CANDIDATE))
    mended: list[str] = []
    if current is None:
        if first is not None and PINNED not in first.tags:
            client.delete_registered_model_alias(name, BASELINE)
            mended.append(f"{name}: version {first.version} is no baseline, it never became champion")
        return mended
    if current.withdrawn:
        _delete_tags(client, current, WITHDRAWN)
        mended.append(f"{name}: version {current.version} is not withdrawn, its rollback did not take place")
    if waiting is not None and (waiting is current or waiting.verdict == "fail"):
        client.delete_registered_model_alias(name, CANDIDATE)
        mended.append(f"{name}: version {waiting.version} is no candidate any longer")
    line = _line(known, current)
    # Where the champion does not say what it replaced it was moved by hand: then the alias is all there is to know.
    if (LINE in current.tags or _holder(known, PREVIOUS) is current) and _point_previous(
        client, name, known, line[0] if line else None
    ):
        mended.append(f"{name}: previous is {f'version {line[0].version}' if line else 'nothing'} again")
    if first is None:
        oldest = (line or [current])[-1]
        client.set_registered_model_alias(name, BASELINE, str(oldest.version))
        mended.append(f"{name}: baseline is version {oldest.version}")
    return mended


def _known(tracking: Tracking, model: str, target: str) -> Known:
    return {each.version: each for each in versions(tracking, model, target)}


def _holder(known: Known, alias: str) -> ModelVersion | None:
    return next((each for each in known.values() if alias in each.aliases), None)


def _line(known: Known, version: ModelVersion) -> list[ModelVersion]:
    """The champions before ``version`` that could take office again, newest first."""
    numbers = [int(word) for word in version.tags.get(LINE, "").split() if word.isdecimal()]
    earlier = [known[number] for number in numbers if number in known and number != version.version]
    return [each for each in earlier if _objection(each, None) is None and not each.withdrawn]


def _predecessor(known: Known, current: ModelVersion) -> ModelVersion | None:
    line = _line(known, current)
    if line or LINE in current.tags:
        return line[0] if line else None
    previous = _holder(known, PREVIOUS)
    usable = previous is not None and previous is not current and _objection(previous, None) is None
    return previous if previous is not None and usable and not previous.withdrawn else None


def _point_previous(client: Any, name: str, known: Known, wanted: ModelVersion | None) -> bool:
    """Make ``previous`` say ``wanted``; whether it said something else."""
    if _holder(known, PREVIOUS) is wanted:
        return False
    if wanted is None:
        client.delete_registered_model_alias(name, PREVIOUS)
    else:
        client.set_registered_model_alias(name, PREVIOUS, str(wanted.version))
    return True


def _objection(version: ModelVersion, waiver: str | None) -> str | None:
    """Why ``version`` must not be champion, with the remedy; None when it may."""
    if not version.is_complete:
        return "is half registered: run its build again, which repairs it"
    if not version.bundle_sha256:
        return "names no bundle (tag edgewright.bundle_sha256): devices could not check it; build it again"
    if version.verdict != "pass" and waiver is None and not version.waiver:
        remedy = "build a better one"
        if version.verdict == "not_measurable":
            remedy = (
                "its page says which checks are open: more data or groups decide those of quality, a device's report "
                "(`edgewright-agent bench`, `edgewright record-bench`) those of latency and memory"
            )
        return f"has the verdict {version.verdict!r}, only 'pass' is promoted: {remedy}, or give a waiver with a reason"
    return None


def _check_promotable(version: ModelVersion, waiver: str | None, allow_withdrawn: bool) -> None:
    objection = _objection(version, waiver)
    if objection is None and version.withdrawn and not allow_withdrawn:
        objection = (
            f"was rolled back ({version.withdrawn}): nothing automatic promotes it again. "
            "A person may, with `edgewright promote` and a reason"
        )
    if objection is not None:
        raise RegistryError(f"{version.name} version {version.version} {objection}")


def _check_judged(name: str, current: ModelVersion | None, judged_against: int | None) -> None:
    now = current.version if current else 0
    if judged_against is not None and judged_against != now:
        raise ChampionMovedError(
            f"{name}: the verdict compares with {f'version {judged_against}' if judged_against else 'no champion'}, "
            f"but {f'version {now}' if now else 'none'} is in office now: judge again, then promote"
        )


def _check_words(**words: str) -> None:
    for what, value in words.items():
        if not value.strip():
            raise RegistryError(f"{what} is empty: say it in a few words, it is stored with the version")


def _signature(reason: str, who: str) -> dict[str, str]:
    return {"edgewright.reason": reason, "edgewright.promoted_by": who, "edgewright.promoted_at": _now()}


def _set_tags(client: Any, version: ModelVersion, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        client.set_model_version_tag(version.name, str(version.version), key, value)


def _delete_tags(client: Any, version: ModelVersion, keys: tuple[str, ...]) -> None:
    for key in keys:
        if key in version.tags:
            client.delete_model_version_tag(version.name, str(version.version), key)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
