"""Terminal tables of `itda bench recipes`."""

from collections.abc import Callable

from itda_core.benchmarks.recipes.results import PUBLISHED, SAE, RecipeRow, RecipesReport
from itda_core.common.columns import columns


def recipes_table(report: RecipesReport) -> str:
    """Format a recipes report as text.

    It has a table of unexplained variance and one of the cross-entropy added, with a line for each site, size and L0,
    and the advantage of each recipe over the published one.
    """
    settings = report.settings
    draws, names = settings.draws, settings.names
    lines = [
        f"{settings.tokens:,} tokens of {report.corpus}, a tenth of the documents held out to measure on "
        f"({', '.join(f'{name} {tokens:,} tokens' for name, tokens in report.held_out.items())})",
        f"random and pruned: the mean of {draws} {'draw' if draws == 1 else 'draws'}",
    ]
    shown = [*names, *([SAE] if any(row.sae for row in report.rows) else [])]
    heads = ("model", "layer", "atoms", "L0")
    places = [(row.model, str(row.layer), f"{row.atoms:,}", str(row.l0)) for row in report.rows]
    tables: dict[str, Callable[[RecipeRow, str], str]] = {
        "Unexplained variance": lambda row, name: _interval(row.recipes[name].unexplained),
        "CE loss score": lambda row, name: _interval(row.recipes[name].ce_loss_score),
        "CE loss added, nats": lambda row, name: f"{row.ce_added(name):.4f}",
    }
    for title, cell in tables.items():
        cells = [[cell(row, name) if name in row.recipes else "–" for name in shown] for row in report.rows]
        table = [(*heads, *shown), *((*place, *row) for place, row in zip(places, cells, strict=True))]
        lines += ["", f"{title}:", *columns(table)]
    lines += ["", f"Against {PUBLISHED}, over {len(report.rows)} rows:"]
    for name, lead in report.leads.items():
        lines.append(
            f"{name}: leaves {lead.unexplained:.1%} less of the variance unexplained (less in "
            f"{lead.unexplained_better}); its CE loss score is {lead.ce_loss_score:+.4f} (higher in {lead.ce_better}, "
            f"significantly in {lead.surely_better}, significantly lower in {lead.surely_worse}); it adds "
            f"{lead.ce_added:.2f} × the CE loss; it takes {lead.seconds:.1f} × the time to build and "
            f"{lead.encode_seconds:.1f} × to encode"
        )
    return "\n".join(lines)


def _interval(value: tuple[float, float, float]) -> str:
    return f"{value[0]:.4f} ±{(value[2] - value[1]) / 2:.4f}"
