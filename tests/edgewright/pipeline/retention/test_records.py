"""Which stage records must stay: as a rule over digests, for any records there may be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgewright.pipeline.retention.records import StageRecord, digests_in, needed, read_records

_DIGESTS = [f"{number:064x}" for number in range(12)]
_SETS = st.frozensets(st.sampled_from(_DIGESTS), max_size=4)


@st.composite
def records(draw: Any) -> tuple[StageRecord, ...]:
    """Records that name and hold any of a dozen digests; circles are among them."""
    parts = draw(st.lists(st.tuples(_SETS, _SETS), max_size=10))
    return tuple(
        StageRecord(Path(f"{index}.json"), "train", str(index), inputs, holds, 0.0, 1)
        for index, (inputs, holds) in enumerate(parts)
    )


@given(records(), st.data())
def test_what_stays_is_whole(found: tuple[StageRecord, ...], data: st.DataObject) -> None:
    kept = data.draw(st.lists(st.sampled_from(found), unique=True)) if found else []
    digests = data.draw(_SETS)
    stay = needed(found, kept, digests)
    assert set(kept) <= stay
    for record in found:
        if record.holds & digests:
            assert record in stay, "whatever holds what must stay known, stays"
        if any(record.holds & each.inputs for each in stay):
            assert record in stay, "what went into something that stays, stays"


@given(records(), st.data())
def test_nothing_stays_without_a_reason(found: tuple[StageRecord, ...], data: st.DataObject) -> None:
    kept = data.draw(st.lists(st.sampled_from(found), unique=True)) if found else []
    digests = data.draw(_SETS)
    stay = needed(found, kept, digests)
    for record in stay - set(kept):
        assert record.holds & digests or any(record.holds & each.inputs for each in stay), record
    assert needed(tuple(stay), kept, digests) == stay, "a second look finds nothing more to remove"


@given(records(), _SETS, _SETS)
def test_to_need_more_never_removes_more(found: tuple[StageRecord, ...], some: Any, more: Any) -> None:
    assert needed(found, [], some) <= needed(found, [], some | more)


def test_digests_are_found_wherever_they_stand() -> None:
    one, two, three = _DIGESTS[1], _DIGESTS[2], "abc3" * 16
    value = {
        one: [{"artifact": {"path": f"sha256/00/{two}"}}, "no digest", 3, None],
        "longer": "a" * 65,
        "b": three.upper(),
    }
    assert set(digests_in(value)) == {one, two}


def test_a_record_that_cannot_be_read_holds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "stages" / "train"
    folder.mkdir(parents=True)
    content = {"content": {"inputs": {"data": _DIGESTS[1]}, "result": {"weights": {"sha256": _DIGESTS[2]}}}}
    (folder / "a.json").write_text(json.dumps(content))
    (folder / "b.json").write_text("{torn")
    (folder / "c.json").write_text("[]")
    first, *others = read_records(tmp_path)
    assert (first.stage, first.key) == ("train", "a")
    assert (first.inputs, first.holds) == ({_DIGESTS[1]}, {_DIGESTS[2]})
    assert [(each.key, each.holds) for each in others] == [("b", frozenset()), ("c", frozenset())]
