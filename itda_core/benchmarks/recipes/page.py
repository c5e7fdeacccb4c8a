"""Tables of `itda bench recipes` as they stand in `data/results/recipes.md`."""

from itda_core.benchmarks.recipes.results import SAE, RecipeRow, RecipesReport
from itda_core.benchmarks.sae.page import ratio
from itda_core.common.columns import columns

_SHOWN = ("published", "random", "pruned", "published, centred", "pruned, centred", "pruned, centred, refitted")
"""Recipes whose values are shown by site; of the others the page has the means."""


def recipes_page(report: RecipesReport) -> str:
    """Format a recipes report for its page.

    It has values by site, size and L0, means against the published recipe, and the SAEs if any were trained.
    """
    names = [name for name in _SHOWN if name in report.settings.names]
    heads = ["model, layer", "atoms", "L0", f"unexplained: {names[0]}", *names[1:]]
    heads += [f"CE loss added, nats: {names[0]}", *names[1:]]
    tables = [columns([heads, *(_cells(row, names) for row in report.rows)]), _leads(report)]
    if any(row.sae for row in report.rows):
        tables.append(_saes(report, names))
    return "\n".join(line for table in tables for line in table)


def _cells(row: RecipeRow, names: list[str]) -> list[str]:
    unexplained = [f"{row.recipes[name].unexplained[0]:.3f}" for name in names]
    added = [f"{row.ce_added(name):.3f}" for name in names]
    return [f"`{row.model}`, {row.layer}", f"{row.atoms:,}", str(row.l0), *unexplained, *added]


def _leads(report: RecipesReport) -> list[str]:
    heads = ("", "unexplained variance", "CE loss score", "significantly higher, lower", "CE loss added")
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


def _saes(report: RecipesReport, names: list[str]) -> list[str]:
    """Return the table of where each SAE reaches the recipes' scores."""
    rows = []
    for row in report.rows:
        if row.sae is None:
            continue
        end, result = row.sae.curve[-1], row.recipes[SAE]
        sae = f"{result.unexplained[0]:.3f}", f"{row.ce_added(SAE):.3f}", f"{result.seconds:,.0f} s", f"{end.tokens:,}"
        for name in names:
            own, reach = row.recipes[name], row.reached[name]
            time = f"{reach.seconds:,.0f} s, {reach.tokens:,.0f} tokens" if reach.reached else "never"
            share = ratio(reach.time_ratio, reach.bound)
            recipe = f"`{name}`", f"{own.unexplained[0]:.3f}", f"{row.ce_added(name):.3f}", f"{own.seconds:,.1f} s"
            rows.append((f"`{row.model}`, {row.layer}", f"{row.atoms:,}", str(row.l0), *recipe, *sae, time, share))
    heads = ("model, layer", "atoms", "L0", "recipe", "unexplained", "CE loss added", "build", "TopK SAE: unexplained")
    return columns([(*heads, "CE loss added", "trained", "tokens", "reaches the recipe's", "build over it"), *rows])
