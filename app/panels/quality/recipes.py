"""Quality page: effect and cost of recipes, as `itda bench recipes` measured them.

A recipe is a way to choose atoms; the bench also compares ways to encode with them. The bench is its report as read
from JSON (`itda_core/benchmarks/recipes/`).
"""

from typing import Any

import pandas as pd
import streamlit as st

from app import resources
from app.format.text import inert
from app.shell import widgets

PUBLISHED, CENTRED, FITTED = "published", ", centred", ", refitted"
WORDS = {
    "published": "above the threshold (published)",
    "random": "random",
    "pruned": "pruned to the most used",
}


def show_recipes() -> None:
    """Show every recipe beside the published one.

    Nothing is shown where the project was installed without its results.
    """
    bench = resources.recipes_bench()
    if bench is None:
        return
    table = recipes_table(bench)
    sites = dict.fromkeys(f"{row['model']} layer {row['layer']}" for row in bench["rows"])
    st.subheader("Recipes, on this project’s models")
    st.caption(
        inert(
            f"Mean difference from the published recipe at equal size and L0, in {len(bench['rows'])} settings "
            f"({', '.join(sites)}), not of the dictionary above. Lower unexplained variance and a higher CE loss score "
            "are better. Significant: settings whose 95 % interval of the difference in CE loss score is above 0, and "
            f"below 0. {_fitting(bench)}On the Build page: Recipe, Centring and Method."
        )
    )
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "unexplained variance": st.column_config.NumberColumn(format="%+.1f %%"),
            "CE loss score": st.column_config.NumberColumn(format="%+.4f"),
            "build time": st.column_config.NumberColumn(format="%.1f ×"),
        },
    )
    widgets.download(table, key="recipes_csv", file="recipes.csv")


def _fitting(bench: dict[str, Any]) -> str:
    lead = bench["leads"].get(PUBLISHED + FITTED)
    if lead is None:
        return ""
    return f"Fitting makes encoding take {lead['encode_seconds']:.1f} times as long. "


def recipes_table(bench: dict[str, Any]) -> pd.DataFrame:
    """Return a row for each recipe and way to encode.

    Values are means, over all settings, of the differences from the published one.
    """
    settings = [row["recipes"] for row in bench["rows"]]
    spent = {name: sum(each[name]["seconds"] for each in settings) for name in settings[0]}
    rows = []
    for name in settings[0]:
        pairs = [(each[name], each[PUBLISHED]) for each in settings]
        left = [100 * (own["unexplained"][0] / base["unexplained"][0] - 1) for own, base in pairs]
        score = [own["ce_loss_score"][0] - base["ce_loss_score"][0] for own, base in pairs]
        rows.append(
            {
                "atoms": WORDS[name.removesuffix(FITTED).removesuffix(CENTRED)],
                "mean": "subtracted" if CENTRED in name else "kept",
                "coefficients": "fitted" if name.endswith(FITTED) else "pursuit",
                "unexplained variance": sum(left) / len(left),
                "lower in": f"{sum(each < 0 for each in left)} of {len(left)}",
                "CE loss score": sum(score) / len(score),
                "higher in": f"{sum(each > 0 for each in score)} of {len(score)}",
                "significant": _significant([own["ce_lead"] for own, _ in pairs]),
                "build time": spent[name] / spent[PUBLISHED],
            }
        )
    return pd.DataFrame(rows)


def _significant(leads: list[list[float]]) -> str:
    return f"{sum(low > 0 for _, low, _ in leads)}, {sum(high < 0 for *_, high in leads)}"
