"""Terminal tables of `itda bench capture`."""

from itda_core.benchmarks.capture.results import CaptureReport, CaptureResult
from itda_core.common.columns import columns


def capture_table(report: CaptureReport) -> str:
    """Format a capture report as text.

    It has the run's settings, a table with one line per set of layers, and the memory.
    """
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


_CAPTURE_HEADS = (
    "numbers", "layers", "nnsight", "hooks", "ratio", "hooks that stop", "ratio", "tokens", "of the peak", "difference",
    "from float32",
)  # fmt: skip


def _capture_cells(row: CaptureResult) -> tuple[str, ...]:
    return (
        row.dtype,
        ",".join(map(str, row.layers)),
        f"{row.capture_ms:.1f} ms",
        f"{row.hooks_ms:.1f} ms",
        f"{row.ratio:.3f} ×",
        f"{row.stopped_hooks_ms:.1f} ms",
        f"{row.stopped_ratio:.3f} ×",
        f"{row.tokens_per_second:,.0f}/s",
        f"{row.peak_share:.0%}",
        f"{row.largest_difference:.1g}",
        f"{row.deviation:.1%}",
    )
