"""Reports of benchmarks as text for people."""

from collections.abc import Sequence

from itda_core.benchmarks.results import (
    CaptureReport,
    CaptureResult,
    PursuitReport,
    ScalePlan,
    ScaleReport,
    ScaleResult,
    SizeResult,
)
from itda_core.benchmarks.wide import FullReport


def pursuit_table(report: PursuitReport, full: FullReport | None = None) -> str:
    """A pursuit report in lines: the machine, a table with one line per size, the sequential scan, what `full` adds."""
    machine, scans, data = report.machine, report.sequential, report.activations
    lines = [
        f"{data['rows']:,} activations of width {data['d_model']} from {data['origin']}; L0 {report.settings.l0}",
        f"{machine.cores} cores, memory {machine.bandwidth_gb_s:.1f} GB/s, "
        f"float32 products {machine.product_gflop_s:.0f} GFLOP/s",
        "",
        *columns([_HEADS, *(_cells(row) for row in report.rows)]),
        "",
        f"sequential scan, {scans.rows:,} rows from an empty start: {scans.sequential_seconds:.2f} s for "
        f"{scans.sequential_atoms:,} atoms, {scans.sequential_ratio:.2f} × the batch scan's time "
        f"({scans.batch_seconds:.2f} s for {scans.batch_atoms:,})",
        f"sequential scan in batches of {', '.join(map(str, scans.batches))} rows: "
        f"{'the same bytes' if scans.sequential_identical else 'NOT the same bytes'}",
    ]
    if report.left_out:
        lines.append(f"too few activations for {', '.join(f'{size:,}' for size in report.left_out)} atoms")
    if full is not None:
        wide, memory = full.wide, full.memory
        lines.append(
            f"{wide.atoms:,} atoms, {wide.atoms_made:,} of them made between activations: encode "
            f"{wide.encode_ratio:.1f} ×, {wide.fast_rows_per_second:,.0f} rows/s"
        )
        if memory is not None:
            lines.append(
                f"{memory.rows:,} rows over {memory.atoms:,} atoms: peak {memory.peak_mb:,.0f} MB, dictionary + Gram "
                f"matrix + codes {memory.expected_mb:,.0f} MB"
            )
    return "\n".join(lines)


def capture_table(report: CaptureReport) -> str:
    """A capture report in lines: what was captured, a table with one line per set of layers, the memory."""
    settings, memory = report.settings, report.memory
    lines = [
        f"{settings.model} on {report.corpus}, {settings.batch_windows} windows a batch; "
        f"median of {report.rows[0].batches} batches, {report.machine.cores} cores",
        "",
        *columns([_CAPTURE_HEADS, *(_capture_cells(row) for row in report.rows)]),
    ]
    if memory is not None:
        lines += [
            "",
            f"memory after batch {settings.memory_from}: {memory.first_mb:.0f} MB, after batch {memory.batches}: "
            f"{memory.last_mb:.0f} MB, highest {memory.highest_mb:.0f} MB, {memory.slope_kb:+.1f} kB a batch",
        ]
    return "\n".join(lines)


def scale_table(report: ScaleReport) -> str:
    """A scale report in lines: what was measured at each width, then what a layer takes over each corpus."""
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


_CAPTURE_HEADS = (
    "layers", "nnsight", "hooks", "ratio", "hooks that stop", "ratio", "tokens", "difference",
)  # fmt: skip


def _capture_cells(row: CaptureResult) -> tuple[str, ...]:
    return (
        ",".join(map(str, row.layers)),
        f"{row.capture_ms:.1f} ms",
        f"{row.hooks_ms:.1f} ms",
        f"{row.ratio:.3f} ×",
        f"{row.stopped_hooks_ms:.1f} ms",
        f"{row.stopped_ratio:.3f} ×",
        f"{row.tokens_per_second:,.0f}/s",
        f"{row.largest_difference:.1g}",
    )


_HEADS = (
    "atoms", "threshold", "rows", "build", "plain", "ratio", "IoU", "encode", "plain", "ratio", "prepare", "peak",
    "of memory", "of products", "sklearn",
)  # fmt: skip


def _cells(row: SizeResult) -> tuple[str, ...]:
    return (
        f"{row.atoms:,}",
        f"{row.threshold:.4f}",
        f"{row.build_rows:,}",
        f"{row.fast_build_seconds:.2f} s",
        f"{row.plain_build_seconds:.1f} s",
        f"{row.build_ratio:.1f} ×",
        f"{row.iou:.4f}",
        f"{row.fast_rows_per_second:,.0f}/s",
        f"{row.plain_rows_per_second:,.0f}/s",
        f"{row.encode_ratio:.1f} ×",
        f"{row.prepare_seconds:.2f} s",
        "?" if row.peak_mb is None else f"{row.peak_mb:,.0f} MB",
        f"{row.bandwidth_fraction:.0%}",
        f"{row.product_fraction:.0%}",
        f"{row.sklearn_rows_per_second:,.0f}/s",
    )


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, each column as wide as its widest cell, cells to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
