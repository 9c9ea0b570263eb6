"""A night at the desk: samples arrive, a worker retrains, everything is killed while a person is asked, the answer counts."""

from __future__ import annotations

from collections.abc import Iterator

import psutil  # type: ignore[import-untyped]
import pytest

from desk_checkout import DeskCheckout
from edgewright.pipeline.tracking import APPROVAL, champion, metadata


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeskCheckout]:
    checkout = DeskCheckout(tmp_path_factory.mktemp("night"))
    try:
        checkout.up()
        yield checkout
    finally:
        done = checkout.run("down")
        assert done.status == 0, done.out + done.err


def kill_all_of(checkout: DeskCheckout) -> int:
    """SIGKILLs every process of this desk; returns how many there were."""
    home, killed = str(checkout.home), 0
    for process in psutil.process_iter():
        try:
            if process.environ().get("EDGEWRIGHT_HOME") == home:
                process.kill()
                killed += 1
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return killed


def test_from_a_delivery_to_an_approved_release(checkout: DeskCheckout) -> None:
    empty = checkout.ended(checkout.start("nightly-retrain/digits"))
    assert (empty["type"], empty["name"]) == ("COMPLETED", "Nothing new"), empty["message"]

    delivered = checkout.run("data", "deliver", "digits", "--samples", "200")
    assert delivered.status == 0, delivered.err
    run = checkout.start("nightly-retrain/digits")
    asked = checkout.ended(run)
    assert asked["name"] == "Suspended", (asked, checkout.logs(run))
    shown = checkout.artifacts(run)
    assert {"intake-digits", "variants-here", "verdict-here"} <= shown.keys()
    assert any(key.startswith("progress-train") and shown[key]["data"] == 100 for key in shown)
    assert champion(metadata(checkout.home), "digits", "here") is None, "nobody has approved"

    # Everything dies while nobody has answered yet.
    assert kill_all_of(checkout) >= 3
    checkout.up()
    assert checkout.state(run)["name"] == "Suspended"
    checkout.resume(run, decision="promote", reason="looked at the verdict", who="A. Person", targets=[], waiver="")
    ended = checkout.wait(run, lambda state: state["type"] in {"COMPLETED", "FAILED", "CRASHED"})
    assert (ended["type"], ended["name"]) == ("COMPLETED", "Released"), (ended, checkout.logs(run))

    now = champion(metadata(checkout.home), "digits", "here")
    assert now is not None
    assert now.tags[APPROVAL].startswith("promote: looked at the verdict (A. Person, ")
    again = checkout.ended(checkout.start("nightly-retrain/digits"))
    assert again["name"] == "Nothing new", "the samples were learned from"
