"""Terminal tables of `itda bench scale`."""

from itda_core.benchmarks.scale.results import ScalePlan, ScaleReport, ScaleResult
from itda_core.common.columns import columns


def scale_table(report: ScaleReport) -> str:
    """Format a scale report as text.

    It has the measurements at each width, then the cost of a layer over each corpus.
    """
    settings = report.settings
    return "\n".join(
        [
            f"{report.origin}, laid into each width with {settings.noise:.0%} noise; L0 {settings.l0}, "
            f"threshold {settings.threshold}, {report.machine.cores} cores",
            "",
            *columns([_SCALE_HEADS, *(_scale_cells(row) for row in report.rows)]),
            "",
            f"one layer over a corpus, on a line of {settings.megabits:.0f} Mbit/s:",
            "",
            *columns([_PLAN_HEADS, *(_plan_cells(plan) for plan in report.plans)]),
        ]
    )


_SCALE_HEADS = ("model", "width", "atoms", "rows", "build", "prepare", "encode", "error", "dictionary", "Gram", "peak")


def _scale_cells(row: ScaleResult) -> tuple[str, ...]:
    return (
        row.model,
        f"{row.d_model:,}",
        f"{row.atoms:,}",
        f"{row.build_rows:,}",
        f"{row.build_seconds:.0f} s",
        f"{row.prepare_seconds:.0f} s",
        f"{row.rows_per_second:,.0f}/s",
        f"{row.relative_error:.3f}",
        f"{row.dictionary_mb:,.0f} MB",
        f"{row.gram_mb:,.0f} MB",
        "?" if row.peak_mb is None else f"{row.peak_mb:,.0f} MB",
    )


_PLAN_HEADS = ("model", "tokens", "a token", "shards", "transfer and disk", "transfer", "build", "encode", "index")


def _plan_cells(plan: ScalePlan) -> tuple[str, ...]:
    return (
        plan.model,
        f"{plan.tokens:,}",
        f"{plan.token_bytes:,} B",
        f"{plan.shards:,}",
        f"{plan.transfer_gb:.1f} GB",
        f"{plan.transfer_hours:.1f} h",
        f"{plan.build_hours:.1f} h",
        f"{plan.encode_hours:.1f} h",
        f"{plan.index_gb:.1f} GB",
    )
