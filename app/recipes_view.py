"""What each way to choose atoms, and to encode with them, gives and costs, as `itda bench recipes` found it.

The bench is its report as JSON has it (`itda_core/benchmarks/recipes.py`).
"""

from typing import Any

import pandas as pd
import streamlit as st

from app import parts, resources
from app.text import inert

PUBLISHED, FITTED = "published", ", refitted"
WORDS = {
    "published": "over the threshold, as published",
    "random": "random",
    "pruned": "pruned: those that carry most",
}


def show_recipes() -> None:
    """Every recipe beside the published one; nothing where the project was installed without its results."""
    bench = resources.recipes_bench()
    if bench is None:
        return
    table = recipes_table(bench)
    sites = dict.fromkeys(f"{row['model']} layer {row['layer']}" for row in bench["rows"])
    st.subheader("Would another recipe be better?")
    st.caption(
        inert(
            f"With as many atoms and the same L0, in {len(bench['rows'])} settings on models that no recipe was chosen "
            f"on ({', '.join(sites)}): the mean difference from the published recipe, and in how many settings it is "
            "for the better. Less variance left unexplained is better, and a higher CE loss score. Fitting "
            "makes encoding take two to seven times as long, which building does not count. Build has both under More, "
            "as recipe and method; itda bench recipes measures them again."
        )
    )
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "variance unexplained": st.column_config.NumberColumn(format="%+.1f %%"),
            "CE loss score": st.column_config.NumberColumn(format="%+.4f"),
            "building takes": st.column_config.NumberColumn(format="%.1f ×"),
        },
    )
    parts.download(table, key="recipes_csv", file="recipes.csv")


def recipes_table(bench: dict[str, Any]) -> pd.DataFrame:
    """A row for each recipe and way to encode: means over all settings, of the differences from the published one."""
    settings = [row["recipes"] for row in bench["rows"]]
    spent = {name: sum(each[name]["seconds"] for each in settings) for name in settings[0]}
    rows = []
    for name in settings[0]:
        pairs = [(each[name], each[PUBLISHED]) for each in settings]
        left = [100 * (own["unexplained"][0] / base["unexplained"][0] - 1) for own, base in pairs]
        score = [own["ce_loss_score"][0] - base["ce_loss_score"][0] for own, base in pairs]
        rows.append(
            {
                "atoms": WORDS[name.removesuffix(FITTED)],
                "coefficients": "fitted together" if name.endswith(FITTED) else "by pursuit",
                "variance unexplained": sum(left) / len(left),
                "less in": f"{sum(each < 0 for each in left)} of {len(left)}",
                "CE loss score": sum(score) / len(score),
                "higher in": f"{sum(each > 0 for each in score)} of {len(score)}",
                "building takes": spent[name] / spent[PUBLISHED],
            }
        )
    return pd.DataFrame(rows)
