"""What is in an image, for whoever must know: a CycloneDX bill of materials with every wheel and every package, and licences.

Read from what the image takes: wheels from their METADATA, packages from the base's dpkg record, and what its makers built
beside dpkg from the files that tell of it. It holds nothing random and
no time but the release's, so the same image has the same bill.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from edgewright.errors import ImageError
from edgewright.pipeline.images.base import BaseImage
from edgewright.pipeline.images.os_packages import OsPackage
from edgewright.pipeline.images.python_metadata import read_metadata
from edgewright.pipeline.images.wheel_lock import LockedWheel

MEDIA_TYPE = "application/vnd.cyclonedx+json"


@dataclass(frozen=True)
class Bill:
    """A bill of materials.

    Attributes:
        data: The document.
        licences: All licences that it names, each once, in order.
    """

    data: bytes
    licences: tuple[str, ...]


def write_bill(
    name: str,
    version: str,
    image_digest: str,
    base: BaseImage,
    wheels: Sequence[tuple[LockedWheel, Path]],
    application_version: str,
    application_diff_id: str,
    epoch: int,
) -> Bill:
    """Write the bill of an image.

    Args:
        name: The image's name, ``digits.linux-x86``.
        version: Its version.
        image_digest: Digest of the image's manifest.
        base: What it stands on.
        wheels: The wheels in it and their files.
        application_version: edgewright's.
        application_diff_id: Digest of the content of the layer that holds edgewright: two states of the code have one
            version.
        epoch: The release's time, seconds since 1970.

    Raises:
        ImageError: A wheel has no METADATA.
    """
    image = Component(
        name=name,
        version=version,
        type=ComponentType.CONTAINER,
        bom_ref=f"image:{name}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=image_digest.removeprefix("sha256:"))],
    )
    components = [_of_package(package, base.distribution) for package in base.packages]
    components += _of_base_python(base)
    components += [_of_wheel(wheel, path) for wheel, path in wheels]
    components.append(_of_application(application_version, application_diff_id))
    bom = Bom(components=components, serial_number=uuid5(NAMESPACE_URL, f"edgewright:{image_digest}"))
    bom.metadata.component = image
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    bom.metadata.tools.components.clear()  # the library names itself, with its version: that is no part of the image
    bom.metadata.properties.add(Property(name="dev.edgewright:base", value=f"{base.name} {base.digest}"))
    bom.register_dependency(image, components)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    licences = {text for component in components for text in _words(component)}
    return Bill(text.encode() + b"\n", tuple(sorted(licences)))


def wheel_licence(wheel: Path) -> str:
    """Read the licence that a wheel's METADATA states.

    Raises:
        ImageError: It has no METADATA.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1]
        if not names:
            raise ImageError(f"{wheel} holds no METADATA: it is no wheel.")
        return read_metadata(archive.read(names[0])).licence or "see the licence files of the wheel"


def _of_wheel(wheel: LockedWheel, path: Path) -> Component:
    component = _component(wheel.name, wheel.version, _pypi(wheel.name, wheel.version), (wheel_licence(path),))
    component.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=wheel.sha256))
    return component


def _of_application(version: str, diff_id: str) -> Component:
    component = _component("edgewright", version, _pypi("edgewright", version), ())
    component.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=diff_id.removeprefix("sha256:")))
    return component


def _of_base_python(base: BaseImage) -> list[Component]:
    """CPython and distributions that the base's makers brought without dpkg."""
    found = []
    if base.python_version:
        purl = PackageURL("generic", None, "python", base.python_version)
        found.append(_component("python", base.python_version, purl, ("PSF-2.0",)))
    for package in base.python_packages:
        found.append(
            _component(package.name, package.version, _pypi(package.name, package.version), (package.licence,), "base:")
        )
    return found


def _of_package(package: OsPackage, distribution: str) -> Component:
    family = distribution.partition("-")[0]
    purl = PackageURL(
        "deb", family, package.name, package.version, {"arch": package.architecture, "distro": distribution}
    )
    component = _component(
        package.name, package.version, purl, package.licences or (f"see /usr/share/doc/{package.name}/copyright",)
    )
    component.properties.add(Property(name="dev.edgewright:source-package", value=package.source))
    return component


def _component(name: str, version: str, purl: PackageURL, licences: Sequence[str], place: str = "") -> Component:
    """Give a component; one that is in an image twice needs a place before its reference."""
    reference = f"{place}{purl.to_string()}"
    component = Component(name=name, version=version, type=ComponentType.LIBRARY, purl=purl, bom_ref=reference)
    factory = LicenseFactory()
    if len(licences) == 1:
        component.licenses.add(factory.make_from_string(licences[0]))
    else:  # of several the format takes names, or one expression; a copyright file does not say how they combine
        for licence in licences:
            known = factory.make_from_string(licence)
            component.licenses.add(known if isinstance(known, DisjunctiveLicense) else DisjunctiveLicense(name=licence))
    return component


def _pypi(name: str, version: str) -> PackageURL:
    return PackageURL("pypi", None, name, version)


def _words(component: Component) -> list[str]:
    return [
        each.id or each.name or "" if isinstance(each, DisjunctiveLicense) else each.value
        for each in component.licenses
    ]
