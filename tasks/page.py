"""What a flow run's page shows of a finished build: the variant table, the verdicts, links."""

from __future__ import annotations

from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from edgewright.pipeline.summary import BuildSummary, TargetSummary, VariantSummary


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
        if summary.tracking_uri.startswith("http"):
            name = f"{summary.model}.{target.target}"
            create_link_artifact(
                link=f"{summary.tracking_uri}/#/models/{name}/versions/{target.version}",
                link_text=f"{name} version {target.version}",
                key=f"model-{target.target}",
            )


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
