"""Tables of `itda bench recipes` as they stand in `data/results/recipes.md`."""

from itda_core.benchmarks.recipes.results import RecipeRow, RecipesReport
from itda_core.common.columns import columns

_SHOWN = ("published", "random", "pruned", "published, centred", "pruned, centred", "pruned, centred, refitted")
"""Recipes whose values are shown by site; of the others the page has the means."""


def recipes_page(report: RecipesReport) -> str:
    """Format a recipes report for its page: values by site, size and L0, and means against the published recipe."""
    names = [name for name in _SHOWN if name in report.settings.names]
    heads = ["model, layer", "atoms", "L0", f"unexplained: {names[0]}", *names[1:]]
    heads += [f"CE loss added, nats: {names[0]}", *names[1:]]
    return "\n".join([*columns([heads, *(_cells(row, names) for row in report.rows)]), *_leads(report)])


def _cells(row: RecipeRow, names: list[str]) -> list[str]:
    unexplained = [f"{row.recipes[name].unexplained[0]:.3f}" for name in names]
    added = [f"{row.ce_added(name):.3f}" for name in names]
    return [f"`{row.model}`, {row.layer}", f"{row.atoms:,}", str(row.l0), *unexplained, *added]


def _leads(report: RecipesReport) -> list[str]:
    heads = ("", "unexplained variance", "CE loss score", "surely higher, lower", "CE loss added")
    rows = [
        (
            f"`{name}`",
            f"{-100 * lead.unexplained:+.1f} % ({lead.unexplained_better})".replace("-", "−"),
            f"{lead.ce_loss_score:+.4f} ({lead.ce_better})".replace("-", "−"),
            f"{lead.surely_better}, {lead.surely_worse}",
            f"{lead.ce_added:.2f} ×",
            f"{lead.seconds:.1f} ×",
            f"{lead.encode_seconds:.1f} ×",
        )
        for name, lead in report.leads.items()
    ]
    return columns([(*heads, "build time", "encoding"), *rows])
