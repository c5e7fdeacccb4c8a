"""Tables of `itda bench layers` as they stand in `data/results/similarity.md`."""

from itda_core.benchmarks.layers.results import Accuracy, LayersReport
from itda_core.common.columns import columns
from itda_core.reports.layers import BENCHED
from itda_core.reports.paper import PAPER_ACCURACY


def layers_page(report: LayersReport) -> str:
    """Format a layers report for its page: the measures, other settings and models, complete models, and training."""
    return "\n".join([*_measures(report), *_others(report), *_unions(report), *_training(report)])


def _measures(report: LayersReport) -> list[str]:
    budgets = [f"{each.tokens:,}" for each in report.budgets]
    heads = ["measure", "paper", "accuracy (95 %)", "behind the best", "held out", *budgets]
    rows = []
    for name in report.main.accuracy:
        cost, lead = report.cost[name], report.lead.get(name)
        sites = sum(report.models[seed][0] for seed in report.seeds)
        rows.append(
            [
                BENCHED[name],
                " / ".join(f"{value:.2f}" for value in PAPER_ACCURACY.get(name, ())),
                _value(report.main, name) + _within(report.main.interval[name]),
                "" if lead is None else f"{lead.difference:.2f}{_within(lead.interval)}",
                *(_value(each, name) for each in (report.held_out, *report.budgets)),
                f"{1000 * cost.prepare_seconds / sites:.0f} ms",
                f"{cost.compare_ms:.1f} ms",
                "" if cost.peak_mb is None else f"{cost.peak_mb:,.0f} MB",
            ]
        )
    return columns([[*heads, "prepare one", "compare two", "memory"], *rows])


def _others(report: LayersReport) -> list[str]:
    """Format the accuracy at other thresholds, and to models of another architecture or tokenizer."""
    of = {f"τ {each.threshold:g} ({_atoms(each)} atoms)": each for each in report.thresholds}
    if report.across:
        of[f"to {', '.join(report.others)}"] = max(report.across, key=lambda each: each.tokens)
    of |= {f"to {name}": each for name, each in report.foreign.items()}
    rows = [[measure, *(_value(each, name) for each in of.values())] for name, measure in BENCHED.items()]
    return columns([["measure", *of], *rows])


def _unions(report: LayersReport) -> list[str]:
    kinds = ("same", "different")
    rows = [
        [f"{union.sources:,}", *(_ends(union.ranges[kind]) for kind in kinds), f"{union.chance:.2f}"]
        for union in report.unions
    ]
    return columns([["sources of each", "same architecture", "different", "by chance"], *rows])


def _training(report: LayersReport) -> list[str]:
    by_step = zip(report.convergence["steps"], report.convergence["iou"], strict=True)
    return columns([["step", "IoU"], *([f"{step:,}", _ends((min(ious), max(ious)))] for step, ious in by_step)])


def _value(accuracy: Accuracy | None, name: str) -> str:
    return f"{accuracy.accuracy[name]:.2f}" if accuracy is not None and name in accuracy.accuracy else ""


def _within(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ({_ends(interval)})"


def _ends(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.2f}–{interval[1]:.2f}"


def _atoms(accuracy: Accuracy) -> str:
    """Format the mean size of the dictionaries of all models in the comparison."""
    return f"{sum(accuracy.atoms.values()) / len(accuracy.atoms):,.0f}"
