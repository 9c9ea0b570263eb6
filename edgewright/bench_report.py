"""What a device measured of its bundle, as a file that travels back to the workshop."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from edgewright.bundle_file import SHA256_PATTERN
from edgewright.errors import BundleError
from edgewright.golden import GoldenReplay
from edgewright.measurement import Measurement, speedup
from edgewright.strict_json import Fields, dump_json, load_json

REPORT_FORMAT_VERSION = 1


@dataclass(frozen=True)
class BenchReport:
    """One bundle, measured on one device.

    Attributes:
        bundle_sha256: The bundle's identity.
        model: Name of the model.
        target: The target that the bundle is for.
        variant: Its variant.
        build: Its build.
        platform: What it really ran on, e.g. ``linux/arm64``.
        cpu_model: The processor's own name, or ``unknown``.
        golden: How the golden samples were reproduced there.
        measurement: The bundle's figures.
        reference_sha256: The reference's bundle, or None when it was not measured.
        reference: The reference's figures, measured in the same rounds, or None.
    """

    bundle_sha256: str
    model: str
    target: str
    variant: str
    build: str
    platform: str
    cpu_model: str
    golden: GoldenReplay
    measurement: Measurement
    reference_sha256: str | None = None
    reference: Measurement | None = None

    @property
    def speedup_rounds(self) -> tuple[float, ...]:
        """How many times faster than the reference, per round; empty without a reference."""
        return () if self.reference is None else speedup(self.reference, self.measurement)

    @property
    def speedup_x(self) -> float | None:
        """Median over the rounds, or None without a reference."""
        rounds = self.speedup_rounds
        return statistics.median(rounds) if rounds else None

    def to_bytes(self) -> bytes:
        """Give the JSON form; what was not measured is absent."""
        value: dict[str, Any] = {
            "format_version": REPORT_FORMAT_VERSION,
            "bundle_sha256": self.bundle_sha256,
            "model": self.model,
            "target": self.target,
            "variant": self.variant,
            "build": self.build,
            "platform": self.platform,
            "cpu_model": self.cpu_model,
            "golden": {
                "samples": self.golden.samples,
                "agreeing": self.golden.agreeing,
                "deviation": self.golden.deviation,
                "tolerance": self.golden.tolerance,
                "worst_sample": self.golden.worst_sample,
            },
            "measurement": self.measurement.to_json(),
        }
        if self.reference is not None:
            value["reference"] = {
                "bundle_sha256": self.reference_sha256,
                "measurement": self.reference.to_json(),
                "speedup_rounds": list(self.speedup_rounds),
                "speedup_x": self.speedup_x,
            }
        return dump_json(value)


def parse_report(data: bytes, place: str) -> BenchReport:
    """Read a report strictly.

    Raises:
        BundleError: It is not one, has a newer format, or its figures contradict each other.
    """
    fields = Fields(load_json(data, place, BundleError), place, BundleError)
    version = fields.integer("format_version", 1)
    if version > REPORT_FORMAT_VERSION:
        raise BundleError(
            f"{place}: format_version {version} is newer than {REPORT_FORMAT_VERSION}: update this program."
        )
    reference = fields.inner("reference") if fields.has("reference") else None
    report = BenchReport(
        bundle_sha256=_sha256(fields),
        model=fields.text("model"),
        target=fields.text("target"),
        variant=fields.text("variant"),
        build=fields.text("build"),
        platform=fields.text("platform"),
        cpu_model=fields.text("cpu_model"),
        golden=_parse_golden(fields.inner("golden")),
        measurement=Measurement.from_json(fields.take("measurement")),
        reference_sha256=_sha256(reference) if reference else None,
        reference=Measurement.from_json(reference.take("measurement")) if reference else None,
    )
    fields.end()
    if reference is not None:
        if len(report.measurement.processes) != len(report.reference.processes if report.reference else ()):
            raise BundleError(f"{place}: bundle and reference were not measured in the same rounds.")
        if reference.numbers("speedup_rounds") != report.speedup_rounds:
            raise BundleError(f"{place}: speedup_rounds do not follow from the measurements.")
        if reference.number("speedup_x") != report.speedup_x:
            raise BundleError(f"{place}: speedup_x is not the median of speedup_rounds.")
        reference.end()
    return report


def _sha256(fields: Fields) -> str:
    value = fields.text("bundle_sha256")
    if not SHA256_PATTERN.fullmatch(value):
        raise fields.fail("bundle_sha256", "64 hexadecimal digits", value)
    return value


def _parse_golden(fields: Fields) -> GoldenReplay:
    samples = fields.integer("samples", 1)
    replay = GoldenReplay(
        samples=samples,
        agreeing=fields.integer("agreeing", 0, samples),
        deviation=fields.number("deviation"),
        tolerance=fields.number("tolerance"),
        worst_sample=fields.integer("worst_sample", 0, samples - 1),
    )
    fields.end()
    return replay
