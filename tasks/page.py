"""What a flow run's page shows of a finished build: the variant table, the verdicts, links."""

from __future__ import annotations

from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from edgewright.pipeline.summary import BuildSummary, TargetSummary, VariantSummary
from edgewright.pipeline.tracking import Promotion


def show_summary(summary: BuildSummary) -> None:
    """Publishes a build's table, verdicts and links as artifacts of the current flow run."""
    for target in summary.targets:
        create_table_artifact(
            table=[_row(summary, target, variant) for variant in target.variants],
            key=f"variants-{target.target}",
            description=f"Variants of {summary.model} on {target.target}, build {summary.build}",
        )
        create_markdown_artifact(
            markdown=f"## {target.note}\n\n{target.verdict.to_markdown()}",
            key=f"verdict-{target.target}",
            description=f"The gate's verdict on {summary.model}.{target.target}",
        )
        name = f"{summary.model}.{target.target}"
        _link(summary.tracking_uri, f"models/{name}/versions/{target.version}", f"{name} version {target.version}")
        for variant in target.variants:
            _link(summary.tracking_uri, f"runs/{variant.run_id}", f"run {variant.variant}@{target.target}")


def show_promotion(done: Promotion, why: str, tracking_uri: str) -> str:
    """Publishes what a person's decision came to; returns it as one sentence."""
    before = f", in place of version {done.replaced}" if done.replaced and done.changed else ""
    said = f"{done.name}: version {done.champion} is champion{before if done.changed else ' already'}."
    create_markdown_artifact(
        markdown=f"**{said}**\n\n{why}",
        key=f"decision-{_key(done.name)}",
        description=f"What devices of {done.name} run",
    )
    _link(tracking_uri, f"models/{done.name}/versions/{done.champion}", f"{done.name} version {done.champion}")
    return said


def show_table(rows: list[dict[str, Any]], key: str, description: str) -> None:
    """Publishes a table."""
    create_table_artifact(table=rows, key=_key(key), description=description)


def show_text(markdown: str, key: str, description: str) -> None:
    """Publishes a page of Markdown."""
    create_markdown_artifact(markdown=markdown, key=_key(key), description=description)


def _link(tracking_uri: str, place: str, text: str) -> None:
    if tracking_uri.startswith("http"):
        create_link_artifact(link=f"{tracking_uri}/#/{place}", link_text=text, key=f"link-{_key(text)}")


def _key(text: str) -> str:
    """An artifact's key: lower case letters, digits and dashes."""
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower())


def _row(summary: BuildSummary, target: TargetSummary, variant: VariantSummary) -> dict[str, Any]:
    metrics = variant.metrics
    return {
        "variant": variant.variant + (" (chosen)" if variant.variant == target.chosen else ""),
        f"{summary.quality} %": round(metrics[f"{summary.quality_key}_pct"], 2),
        "drop points": round(metrics[f"{summary.quality_key}_drop_points"], 2),
        "size KiB": round(metrics["size_kib"]),
        "p95 ms": _rounded(metrics.get("latency_p95_ms"), 3),
        "speed-up": _rounded(metrics.get("speedup_x"), 2),
        "on": variant.provider,
        "verdict": _verdict(target, variant),
    }


def _verdict(target: TargetSummary, variant: VariantSummary) -> str:
    if variant.variant == target.chosen:
        return target.verdict.said
    return variant.outcome or "not put to the gate"


def _rounded(value: float | None, digits: int) -> float | str:
    return "not measured" if value is None else round(value, digits)
