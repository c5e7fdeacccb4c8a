"""Terminal tables of `itda bench layers`."""

from collections.abc import Sequence

from itda_core.benchmarks.layers.results import Accuracy, LayersReport
from itda_core.common.columns import columns
from itda_core.reports.layers import BENCHED
from itda_core.reports.paper import PAPER_ACCURACY


def layers_table(report: LayersReport) -> str:
    """Format a layers report as text.

    It has the models, the accuracy of each measure, the sweeps, comparisons of complete models, and training.
    """
    main, settings = report.main, report.settings
    layers, width = report.models[report.seeds[0]]
    lines = [
        f"{', '.join(report.seeds)}: {layers} layers of width {width}; {main.tokens:,} tokens of {report.corpus}, "
        f"L0 {settings.l0}, threshold {main.threshold:g} ({_atoms(main)} atoms)",
        f"layer matching over {report.n_pairs} ordered pairs, with 95 % bootstrap intervals",
        *_held_out(report),
        "",
        *columns([_HEADS, *(_cells(report, name) for name in BENCHED)]),
        *_leads(report),
        "",
        "against the number of tokens:",
        *_sweep([*report.budgets, main], [f"{a.tokens:,} × {a.draws}" for a in [*report.budgets, main]]),
        "",
        "against the threshold (atoms):",
        *_sweep(report.thresholds, [f"{a.threshold:g} ({_atoms(a)})" for a in report.thresholds]),
    ]
    if report.across:
        lines += [
            "",
            f"between {', '.join(report.seeds)} and {', '.join(report.others)}, by relative depth, against tokens:",
            *_sweep(report.across, [f"{a.tokens:,} × {a.draws}" for a in report.across]),
        ]
    for name, accuracy in report.foreign.items():
        lines += [
            "",
            f"between {', '.join(report.seeds)} and {name}, which has another tokenizer, by relative depth, on tokens:",
            *_sweep([accuracy], [f"{accuracy.tokens:,}"]),
        ]
    if report.equal_threshold:
        equal = ", ".join(f"{name} {threshold:.3f}" for name, threshold in report.equal_threshold.items())
        lines += ["", f"thresholds that give as many sources as the seeds have: {equal}"]
    lines += ["", "union of all layers, IoU:"]
    for union in report.unions:
        ranges = ", ".join(map(_range, union.ranges.items()))
        lines.append(f"{union.sources:,} sources of each model: {ranges}, by chance {union.chance:.3f}")
    if report.convergence["model"] is not None:
        lines += ["", f"{report.convergence['model']}: IoU of each layer's dictionary with the final one"]
        rows = zip(report.convergence["steps"], report.convergence["iou"], strict=True)
        lines += columns([[f"step {step:,}", *(f"{iou:.2f}" for iou in ious)] for step, ious in rows])
    return "\n".join(lines)


_HEADS = (
    "measure",
    "accuracy",
    "interval",
    "held out",
    "GPT-2 small",
    "medium",
    "prepare a site",
    "compare two",
    "peak",
)


def _cells(report: LayersReport, name: str) -> list[str]:
    paper = [f"{value:.2f}" for value in PAPER_ACCURACY.get(name, ())] or ["", ""]
    if name not in report.main.accuracy:
        return [BENCHED[name], "too few tokens", "", "", *paper, "", "", ""]
    held_out = report.held_out
    cost, interval = report.cost[name], report.main.interval[name]
    sites = sum(report.models[seed][0] for seed in report.seeds)
    return [
        BENCHED[name],
        f"{report.main.accuracy[name]:.2f}",
        "" if interval is None else f"{interval[0]:.2f}–{interval[1]:.2f}",
        f"{held_out.accuracy[name]:.2f}" if held_out is not None and name in held_out.accuracy else "",
        *paper,
        f"{1000 * cost.prepare_seconds / sites:.0f} ms",
        f"{cost.compare_ms:.1f} ms",
        "?" if cost.peak_mb is None else f"{cost.peak_mb:,.0f} MB",
    ]


def _leads(report: LayersReport) -> list[str]:
    """Format the lead of the most accurate measure over each other."""
    rows = [
        [
            BENCHED[name],
            f"{lead.difference:.2f}",
            "" if lead.interval is None else "{:.2f} to {:.2f}".format(*lead.interval),
        ]
        for name, lead in report.lead.items()
    ]
    best = next(iter(report.lead.values())).best
    return ["", f"{BENCHED[best]} is ahead by:", *columns(rows)]


def _held_out(report: LayersReport) -> list[str]:
    if report.held_out is None:
        return []
    return [f"held out: between {', '.join(report.held_out_seeds)} alone, which no setting was chosen by"]


def _atoms(accuracy: Accuracy) -> str:
    """Format the mean size of the dictionaries of all models in the comparison."""
    return f"{sum(accuracy.atoms.values()) / len(accuracy.atoms):,.0f}"


def _sweep(accuracies: Sequence[Accuracy], heads: Sequence[str]) -> list[str]:
    names = [name for name in BENCHED if any(name in each.accuracy for each in accuracies)]
    values = [[f"{a.accuracy[name]:.2f}" if name in a.accuracy else "–" for a in accuracies] for name in names]
    return columns([["measure", *heads], *([BENCHED[name], *row] for name, row in zip(names, values, strict=True))])


def _range(kind: tuple[str, tuple[float, float] | None]) -> str:
    name, ends = kind
    return f"{name} architecture none" if ends is None else f"{name} architecture {ends[0]:.3f}–{ends[1]:.3f}"
