"""The bill of materials: every wheel and every package with a licence, valid CycloneDX, the same bytes every time."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from edgewright.errors import ImageError
from edgewright.pipeline.images.base import BaseImage
from edgewright.pipeline.images.os_packages import OsPackage
from edgewright.pipeline.images.python_metadata import PythonMetadata
from edgewright.pipeline.images.sbom import Bill, wheel_licence, write_bill
from image_parts import locked, make_wheel

PACKAGES = (
    OsPackage("libc6", "2.36-9", "amd64", "glibc", ("GPL-2.0-only", "LGPL-2.1-only")),
    OsPackage("libodd1", "1:2+b1", "amd64", "odd", ("of its own kind",)),
    OsPackage("libcrypt1", "4.4", "amd64", "libxcrypt", ()),
)
BASE = BaseImage("base.tar", "sha256:" + "b" * 64, (), "/usr/bin/python3.11", {}, PACKAGES, "debian-12")
LAYER = "sha256:" + "9" * 64


@pytest.fixture
def bill(tmp_path: Path) -> Bill:
    wheels = [
        make_wheel(tmp_path, "numpy", licence="BSD-3-Clause AND MIT"),
        make_wheel(tmp_path, "tuf", licence="Apache-2.0"),
    ]
    pairs = [(locked(path), path) for path in wheels]
    return write_bill("tiny.box", "7", "sha256:" + "a" * 64, BASE, pairs, "0.1.0", LAYER, 1_750_000_000)


def test_it_lists_every_wheel_and_package_with_a_licence(bill: Bill) -> None:
    found = {each["name"]: each for each in json.loads(bill.data)["components"]}
    assert set(found) == {"libc6", "libodd1", "libcrypt1", "numpy", "tuf", "edgewright"}
    assert found["numpy"]["licenses"] == [{"expression": "BSD-3-Clause AND MIT"}]
    assert found["tuf"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert {each["license"]["id"] for each in found["libc6"]["licenses"]} == {"GPL-2.0-only", "LGPL-2.1-only"}
    assert found["libodd1"]["licenses"] == [{"license": {"name": "of its own kind"}}]
    assert "usr/share/doc/libcrypt1/copyright" in found["libcrypt1"]["licenses"][0]["license"]["name"]
    assert found["libc6"]["purl"] == "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12"
    assert found["numpy"]["purl"] == "pkg:pypi/numpy@1.0" and len(found["numpy"]["hashes"][0]["content"]) == 64
    assert "Apache-2.0" in bill.licences and "GPL-2.0-only" in bill.licences


def test_it_is_valid_cyclonedx(bill: Bill) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.data.decode()) is None


def test_it_holds_no_time_but_the_releases_and_nothing_random(bill: Bill, tmp_path: Path) -> None:
    document = json.loads(bill.data)
    assert document["metadata"]["timestamp"] == "2025-06-15T15:06:40+00:00"
    pairs = [(locked(path), path) for path in sorted(tmp_path.glob("*.whl"))]
    again = write_bill("tiny.box", "7", "sha256:" + "a" * 64, BASE, pairs, "0.1.0", LAYER, 1_750_000_000)
    assert again.data == bill.data
    other = write_bill("tiny.box", "7", "sha256:" + "c" * 64, BASE, pairs, "0.1.0", LAYER, 1_750_000_000)
    assert json.loads(other.data)["serialNumber"] != document["serialNumber"]


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT\nLicense: other", "MIT"),
        ("License: Apache-2.0", "Apache-2.0"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License", "MIT"),
        ("License: " + "a whole text " * 20 + "\nClassifier: License :: OSI Approved :: BSD License", "BSD-3-Clause"),
        ("Name: x", "see the licence files of the wheel"),
    ],
)
def test_where_a_wheel_states_its_licence(tmp_path: Path, metadata: str, licence: str) -> None:
    path = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x-1.dist-info/METADATA", f"Metadata-Version: 2.1\n{metadata}\n\nA text.\n")
    assert wheel_licence(path) == licence


def test_a_wheel_without_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.py", "")
    with pytest.raises(ImageError, match="holds no METADATA"):
        wheel_licence(path)


def test_the_agents_code_is_named_by_its_layer(bill: Bill) -> None:
    (found,) = [each for each in json.loads(bill.data)["components"] if each["name"] == "edgewright"]
    assert found["hashes"] == [{"alg": "SHA-256", "content": "9" * 64}]


def test_a_python_that_the_bases_makers_built_is_listed_with_what_they_installed(tmp_path: Path) -> None:
    packages = (PythonMetadata("pip", "24.0", "MIT"), PythonMetadata("numpy", "1.0", "BSD-3-Clause"))
    base = replace(BASE, python_version="3.11.9", python_packages=packages)
    numpy = make_wheel(tmp_path, "numpy")
    image = ("tiny.box", "7", "sha256:" + "a" * 64)
    bill = write_bill(*image, base, [(locked(numpy), numpy)], "0.1.0", LAYER, 1_750_000_000)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.data.decode()) is None
    found = {each["bom-ref"]: each for each in json.loads(bill.data)["components"]}
    python = found["pkg:generic/python@3.11.9"]
    assert python["licenses"] == [{"license": {"id": "PSF-2.0"}}] and python["purl"] == "pkg:generic/python@3.11.9"
    assert found["base:pkg:pypi/pip@24.0"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert {"base:pkg:pypi/numpy@1.0", "pkg:pypi/numpy@1.0"} <= set(found), "one in the base, one of the image"
