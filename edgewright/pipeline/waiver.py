"""A waiver: a person lets one check not stand in the way, and says why.

It does not change what the check found. Whoever reads the verdict, wherever it is shown, reads who waived what, and why.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgewright.errors import GateError

# Ten characters are more than "ok" or "urgent"; five hundred still fit into a table.
LEAST_REASON = 10
MOST_REASON = 500
MOST_PERSON = 100


@dataclass(frozen=True)
class Waiver:
    """One check that a person waives.

    Attributes:
        check: Name of the check, e.g. ``accuracy against champion``.
        person: Who answers for it; up to 100 characters.
        reason: Why; 10 to 500 characters, on one line (runs of white space become one space).

    Raises:
        GateError: A field is empty, too short, too long, or holds characters that cannot be printed.
    """

    check: str
    person: str
    reason: str

    def __post_init__(self) -> None:
        """Trim each field and check it."""
        for name, least, most in (
            ("check", 1, None),
            ("person", 1, MOST_PERSON),
            ("reason", LEAST_REASON, MOST_REASON),
        ):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise GateError(f"waiver: {name} is {value!r}, not text")
            text = " ".join(value.split())
            if not text.isprintable():
                raise GateError(f"waiver: {name} {text!r} holds characters that cannot be printed; leave them out")
            if len(text) < least or (most is not None and len(text) > most):
                asked = f"at least {least}" if most is None else f"{least} to {most}"
                remedy = "say why in a sentence" if name == "reason" else f"name the {name}"
                raise GateError(f"waiver: {name} has {len(text)} characters, needs {asked}; {remedy}")
            object.__setattr__(self, name, text)
