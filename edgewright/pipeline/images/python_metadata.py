"""What a Python distribution's METADATA says of it: name, version, and its licence in SPDX's words where they are known."""

from __future__ import annotations

from dataclasses import dataclass
from email.parser import BytesParser

_CLASSIFIER = "License :: OSI Approved :: "
_LONG = 100  # some METADATA hold a licence's whole text where its name belongs
# Classifiers' words where SPDX has others.
_SPDX = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


@dataclass(frozen=True)
class PythonMetadata:
    """A distribution's own words; an empty text where it has none.

    Attributes:
        name: Its name.
        version: Its version.
        licence: Its licence, or several as one expression.
    """

    name: str
    version: str
    licence: str


def read_metadata(data: bytes) -> PythonMetadata:
    """Read the bytes of a METADATA file."""
    fields = BytesParser().parsebytes(data, headersonly=True)

    def word(field: str) -> str:
        return str(fields.get(field) or "").strip()

    licence = word("License-Expression")
    if not licence:
        named = word("License")
        if named.lower() != "unknown" and len(named) <= _LONG and "\n" not in named:
            licence = named
    if not licence:
        classified = [
            str(each).removeprefix(_CLASSIFIER) for each in fields.get_all("Classifier", ()) if _CLASSIFIER in str(each)
        ]
        licence = " AND ".join(_SPDX.get(each, each) for each in classified)
    return PythonMetadata(word("Name"), word("Version"), licence)
