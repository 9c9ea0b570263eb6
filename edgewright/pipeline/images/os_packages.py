"""Packages of the distribution in a base: names and versions from dpkg's record, licences from their copyright files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgewright.pipeline.images.layer import Entry

_STATUS, _STATUS_FOLDER = "var/lib/dpkg/status", "var/lib/dpkg/status.d/"
_FORMAT = re.compile(r"(?im)^format(-specification)?:.*copyright-format|^format(-specification)?:.*dep5")
_LICENCE = re.compile(r"(?im)^license:[ \t]*(\S[^\n]*)")
_REFERRED = re.compile(r"/usr/share/common-licenses/([A-Za-z]+(?:-[0-9][0-9.]*[0-9]|-[0-9])?)")
# Debian's short names where SPDX has others.
_SPDX = {
    "expat": "MIT",
    "mit": "MIT",
    "zlib": "Zlib",
    "public-domain": "LicenseRef-public-domain",
    "psf-2": "PSF-2.0",
    "psf": "PSF-2.0",
    "openssl": "OpenSSL",
    "apache-2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "isc": "ISC",
    "mpl-2.0": "MPL-2.0",
}
# What a copyright file in free words says of its licences.
_PHRASES = (
    (r"(?i)python software foundation license", "PSF-2"),
    (r"(?i)lesser\s+general\s+public\s+license", "LGPL"),
    (r"(?i)redistributions of source code must(?s:.*)neither the name", "BSD-3-Clause"),
)
_GNU = re.compile(r"(?i)(L?GPL|GFDL)-?(\d)(?:\.(\d))?(\+?)(?: with .*)?")


@dataclass(frozen=True)
class OsPackage:
    """One package.

    Attributes:
        name: Its name.
        version: Its version.
        architecture: Its architecture, or ``all``.
        source: The source package that it was built from.
        licences: What its copyright file names: SPDX's words where they are known, Debian's elsewhere.
    """

    name: str
    version: str
    architecture: str
    source: str
    licences: tuple[str, ...]


def read_packages(members: Mapping[str, Entry]) -> tuple[OsPackage, ...]:
    """Read dpkg's record of a base, in order of the packages' names.

    Args:
        members: The base's files.
    """
    records = [path for path in sorted(members) if path == _STATUS or path.startswith(_STATUS_FOLDER)]
    packages = []
    for path in records:
        if members[path].kind != "file" or path.endswith(".md5sums"):
            continue
        for paragraph in members[path].read().decode("utf-8", "replace").split("\n\n"):
            fields = dict(re.findall(r"(?m)^([A-Za-z-]+):[ \t]*(.*)$", paragraph))
            if "Package" in fields and fields.get("Status", "install ok installed").endswith(" installed"):
                name = fields["Package"]
                source = str(fields.get("Source", name)).partition(" ")[0]
                licences = _licences(_copyright(members, name))
                packages.append(
                    OsPackage(name, fields.get("Version", ""), fields.get("Architecture", "all"), source, licences)
                )
    return tuple(sorted(packages, key=lambda package: package.name))


def _copyright(members: Mapping[str, Entry], package: str) -> str:
    """A package's copyright file; its folder may be a link to that of its source's main package."""
    folder = f"usr/share/doc/{package}"
    for _ in range(4):
        if folder in members and members[folder].kind == "link":
            folder = posixpath.normpath(posixpath.join(posixpath.dirname(folder), members[folder].target)).lstrip("/")
            continue
        break
    entry = members.get(f"{folder}/copyright")
    if entry is not None and entry.kind == "link":
        entry = members.get(posixpath.normpath(posixpath.join(folder, entry.target)).lstrip("/"))
    return entry.read().decode("utf-8", "replace") if entry is not None and entry.kind == "file" else ""


def _licences(text: str) -> tuple[str, ...]:
    """The licences that a copyright file names; those it refers to where it is not of the machine-readable kind."""
    if _FORMAT.search(text[:2000]):
        found = [part for line in _LICENCE.findall(text) for part in re.split(r"\s+(?:and|or)\s+|,\s*", line.strip())]
    else:
        found = _REFERRED.findall(text)
        found += [name for phrase, name in _PHRASES if re.search(phrase, text)]
    return tuple(sorted({_spdx(each.strip().rstrip(".")) for each in found if each.strip()}))


def _spdx(name: str) -> str:
    if (gnu := _GNU.fullmatch(name)) is not None:
        suffix = "or-later" if gnu[4] else "only"
        return f"{gnu[1].upper()}-{gnu[2]}.{gnu[3] or '0'}-{suffix}"
    return _SPDX.get(name.lower(), name)
