"""Provenance: an in-toto statement about the image's digest, naming everything that went into it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgewright.pipeline.images.base import BaseImage
from edgewright.pipeline.images.provenance import ProvenanceFacts, write_statement
from edgewright.pipeline.images.wheel_lock import LockedWheel

BASE = BaseImage("base.tar", "sha256:" + "b" * 64, (), "/usr/bin/python3.11", {}, (), "debian-12")
WHEELS = (LockedWheel("numpy", "2.4.6", "1" * 64),)
FACTS = ProvenanceFacts("b1", "tiny", "e" * 64, "c" * 40, "d" * 64, "run1", "a" * 40)
LAYER = "sha256:" + "9" * 64


def test_it_names_image_recipe_commit_data_run_bundle_base_and_wheels() -> None:
    data = write_statement("tiny.box", "sha256:" + "a" * 64, {"target": "box"}, FACTS, BASE, WHEELS, "f" * 64, LAYER)
    statement = json.loads(data)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "tiny.box", "digest": {"sha256": "a" * 64}}]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {
        "target": "box",
        "recipe": {"name": "tiny", "sha256": "e" * 64, "build": "b1"},
    }
    materials = {each["uri"]: each["digest"] for each in definition["resolvedDependencies"]}
    assert materials == {
        "base:base.tar": {"sha256": "b" * 64},
        "pkg:pypi/numpy@2.4.6": {"sha256": "1" * 64},
        "bundle:tiny.box": {"sha256": "f" * 64},
        "data": {"sha256": "d" * 64},
        "layer:application": {"sha256": "9" * 64},
        "git:edgewright": {"gitCommit": "a" * 40},
        "git:edgewright:training": {"gitCommit": "c" * 40},
    }
    assert statement["predicate"]["runDetails"]["metadata"] == {"invocationId": "run1"}
    assert definition["internalParameters"]["compressor"].startswith("deflate-6-")


def test_what_is_not_known_is_left_out_and_the_same_facts_are_the_same_bytes() -> None:
    arguments = ("tiny.box", "sha256:" + "a" * 64, {}, ProvenanceFacts(), BASE, WHEELS, None, LAYER)
    data = write_statement(*arguments)
    assert data == write_statement(*arguments)
    uris = [each["uri"] for each in json.loads(data)["predicate"]["buildDefinition"]["resolvedDependencies"]]
    assert uris == ["base:base.tar", "pkg:pypi/numpy@2.4.6", "layer:application"]


@pytest.mark.parametrize(
    ("commit", "material"),
    [
        ("a" * 40 + "-dirty", {"digest": {"gitCommit": "a" * 40}, "annotations": {"dirty": True}}),
        ("release-7", {"annotations": {"revision": "release-7"}}),
    ],
)
def test_a_digest_of_a_commit_is_one_and_what_else_is_said_stands_beside_it(
    commit: str, material: dict[str, object]
) -> None:
    facts = replace(FACTS, commit=commit)
    statement = json.loads(write_statement("tiny.box", "sha256:" + "a" * 64, {}, facts, BASE, WHEELS, None, LAYER))
    found = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"uri": "git:edgewright", **material} in found
