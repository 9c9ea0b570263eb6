"""What results depend on that belongs to the machine."""

from __future__ import annotations

from edgewright.pipeline.stages.machine import machine_type, this_machine


def test_the_kind_of_machine_says_nothing_of_the_one_machine() -> None:
    assert set(machine_type()) == {"cpu", "architecture", "accelerator"}
    assert machine_type()["accelerator"] in {"none", "cuda"}
    assert all(machine_type().values())


def test_the_very_machine_is_known_by_its_name_and_cores_too() -> None:
    assert this_machine().items() > machine_type().items()
    assert {"host", "cores"} <= set(this_machine())
