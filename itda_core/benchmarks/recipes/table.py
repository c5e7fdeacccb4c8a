"""Terminal tables of `itda bench recipes`."""

from itda_core.benchmarks.recipes.run import REFITTED, RecipesReport
from itda_core.common.columns import columns

_SHOWN = ("published", "random", "pruned", "pruned" + REFITTED)


def recipes_table(report: RecipesReport) -> str:
    """Format a recipes report as text.

    It has a line for each site, size and L0, and the advantage of the pruned recipe.
    """
    draws = report.settings.draws
    lines = [
        f"{report.settings.tokens:,} tokens of {report.corpus}, a tenth of the documents held out to measure on "
        f"({', '.join(f'{name} {tokens:,} tokens' for name, tokens in report.held_out.items())})",
        f"random and pruned: the mean of {draws} {'draw' if draws == 1 else 'draws'}",
        "",
        *columns(
            [
                ("model", "layer", "atoms", "L0", *(f"{name}" for name in _SHOWN), *(f"CE {name}" for name in _SHOWN)),
                *(
                    (
                        row.model,
                        str(row.layer),
                        f"{row.atoms:,}",
                        str(row.l0),
                        *(_told(row.recipes[name].unexplained) for name in _SHOWN),
                        *(_told(row.recipes[name].ce_loss_score) for name in _SHOWN),
                    )
                    for row in report.rows
                ),
            ]
        ),
        "",
    ]
    leads = [("pruned", *each) for each in report.ahead_of.items()]
    leads += [("pruned" + REFITTED, *each) for each in report.refitted_ahead_of.items()]
    for ahead, name, lead in leads:
        lines.append(
            f"{ahead}: leaves {lead.unexplained:.1%} less of the variance unexplained than {name} (less in "
            f"{lead.unexplained_better} of {len(report.rows)} rows) and has a CE loss score {lead.ce_loss_score:+.4f} "
            f"(higher in {lead.ce_better})"
        )
    for name, (above, below) in report.surely.items():
        lines.append(f"{name}: its CE loss score is surely above the published one's in {above} rows, below in {below}")
    lines.append(f"building pruned takes {report.build_ratio:.1f} × as long as the published one")
    lines.append(f"encoding with fitted coefficients takes {report.refit_ratio:.1f} × as long as matching pursuit")
    return "\n".join(lines)


def _told(value: tuple[float, float, float]) -> str:
    return f"{value[0]:.4f} ±{(value[2] - value[1]) / 2:.4f}"
