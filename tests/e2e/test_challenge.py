"""Later builds: a challenger is judged against who is in office, a rollback stays, what is refused changes nothing."""

from __future__ import annotations

from typing import Any

from edgewright.pipeline.tracking import Tracking, champion, versions
from edgewright.pipeline.tracking.model_version import get_version


def test_another_seed_challenges_the_champion_and_what_was_rolled_back_stays_back(
    workshop: Any, registry: Tracking
) -> None:
    done, summary = workshop.build(None, "--seed", "4")
    assert done.err == ""
    here = summary["targets"][0]
    checks = {check["name"]: check for check in here["verdict"]["checks"]}
    for name in ("accuracy against reference", "accuracy against champion", "accuracy against baseline"):
        assert checks[name]["samples"] == 10_000, "judged as pairs on the same samples"
    assert here["version"] == 2
    assert done.status == {"pass": 0, "fail": 3, "not_measurable": 4}[here["outcome"]]
    assert here["champion"] == (2 if here["outcome"] == "pass" else 1)
    assert here["outcome"] == "pass", "the margin of this recipe lets nearly everything pass"
    second = champion(registry, "tiny", "here")
    assert second is not None
    assert (second.version, second.replaced) == (2, 1)
    assert second.tags["edgewright.reason"] == f"build {summary['build']} passed the gate"

    words = ["--target", "here", "--reason", "misreads sevens"]
    done = workshop.edgewright("rollback", "tiny", *words)
    assert (done.status, done.out, done.err) == (0, "tiny.here: version 1 is champion, in place of version 2.\n", "")

    done, summary = workshop.build(None, "--seed", "4")
    assert (done.status, done.err) == (0, "")
    assert summary["targets"][0]["champion"] == 1
    assert "version 2 was rolled back before (misreads sevens): promote it by hand" in done.out
    first = champion(registry, "tiny", "here")
    assert first is not None
    assert first.version == 1
    assert [each.version for each in versions(registry, "tiny", "here")] == [2, 1]


def test_a_recipe_that_must_fail_leaves_the_champion_untouched_and_says_why(workshop: Any, registry: Tracking) -> None:
    before = champion(registry, "tiny", "here")
    done, summary = workshop.build(workshop.write_recipe("strict.yaml", gate__floor_pct=99.9))
    assert (done.status, done.err) == (3, "")
    assert champion(registry, "tiny", "here") == before
    for target in summary["targets"]:
        refused = get_version(registry, "tiny", target["target"], target["version"])
        assert (refused.verdict, refused.aliases) == ("fail", ())
        (check,) = [check for check in target["verdict"]["checks"] if check["outcome"] == "fail"]
        # Check, figure, limit, consequence and remedy, for a person.
        assert check["name"] == "accuracy floor"
        assert f"accuracy {check['figure']:.2f} %" in done.out
    assert "the floor is 99.90" in done.out
    assert f"verdict: fail (tiny.here keeps version {before.version if before else None}" in done.out
    assert "Try: train longer or on more data." in done.out


def test_a_device_cannot_pull_what_was_refused_by_its_alias(workshop: Any, registry: Tracking) -> None:
    done = workshop.agent(
        *(
            "pull",
            "--registry",
            registry.uri,
            "--model",
            "tiny",
            "--target",
            "board",
            "--into",
            workshop.folder / "none",
        )
    )
    assert done.status == 1
    assert done.err.count("\n") == 1, "no champion on that target: one line"
    assert "champion" in done.err
