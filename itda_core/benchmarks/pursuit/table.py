"""Terminal tables of `itda bench pursuit`."""

from itda_core.benchmarks.pursuit.results import PursuitReport, SizeResult
from itda_core.benchmarks.pursuit.wide import FullReport
from itda_core.common.columns import columns


def pursuit_table(report: PursuitReport, full: FullReport | None = None) -> str:
    """Format a pursuit report as text.

    It has the machine, a table with one line per size, the sequential scan, and the results of `full`.
    """
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
