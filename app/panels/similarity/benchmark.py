"""Similarity page: results of `itda bench layers` on this project's models.

They compare the measures with each other, and follow the layers through training. A bench is its report as read from
JSON (`itda_core/benchmarks/layers/results.py`).
"""

from typing import Any

import pandas as pd
import streamlit as st

from app.charts import layers
from app.format.text import count, inert, number
from app.shell import widgets
from itda_core.reports.layers import BENCHED
from itda_core.reports.paper import CHOSEN_ON, PAPER_ACCURACY

SVCCA = (
    "SVCCA with 99 % of the variance (Raghu et al.) favours layers with few directions, so it rarely finds the "
    "layer of the same depth. The ITDA paper’s code takes 20 directions in every layer, which its 0.50 and 0.44 "
    "are for."
)
"""Explanation of the two forms of SVCCA."""


def show_accuracy(bench: dict[str, Any]) -> None:
    """Show how often each measure finds the right layer, where that is known."""
    st.subheader(
        "Accuracy of the measures",
        help=inert(
            f"Share of layers whose best match in a model with another seed ({', '.join(bench['seeds'])}) has the same "
            f"depth, over {bench['n_pairs']} ordered pairs on {count(bench['main']['tokens'])} tokens, with a 95 % "
            "interval over models. The ITDA paper’s values are for five seeds of GPT-2 small and medium."
        ),
    )
    held_out = (bench["held_out"] or {"accuracy": {}})["accuracy"]
    # The first entry is for all tokens; the table leaves the other budgets out.
    across = bench["across"][0]["accuracy"] if bench["across"] else {}
    others = " and ".join(bench["others"])
    foreign = {name: found["accuracy"] for name, found in bench["foreign"].items()}
    names = [name for name in BENCHED if name in bench["accuracy"]]
    table = pd.DataFrame(
        [
            {
                "measure": BENCHED[name],
                "right": bench["accuracy"][name],
                "interval": " to ".join(f"{end:.2f}" for end in bench["interval"][name] or ["–"]),
                **({"held out": held_out.get(name)} if held_out else {}),
                **({f"with {others}": across.get(name)} if across else {}),
                **{f"to {model}": found.get(name) for model, found in foreign.items()},
                "paper, GPT-2 small": paper[0],
                "medium": paper[1],
            }
            for name in names
            for paper in [[f"{value:.2f}" for value in PAPER_ACCURACY.get(name, ())] or ["–", "–"]]
        ]
    ).sort_values("right", ascending=False, kind="stable")
    shares = [name for name in table.columns if name in ("right", "held out") or name.startswith(("with ", "to "))]
    st.dataframe(
        table,
        hide_index=True,
        column_config={name: st.column_config.NumberColumn(format="%.2f") for name in shares},
    )
    notes = [
        f"To {model}: from these models to one with another tokenizer and depth, by relative depth, on "
        f"{count(found['tokens'])} tokens that end at the same character."
        for model, found in bench["foreign"].items()
    ]
    if across:
        notes.insert(
            0,
            f"With {others}: between these models and those, which have the same tokenizer and another depth, in both "
            "directions, by relative depth.",
        )
    if notes:
        notes.append("The thresholds of these models give as many sources.")
    if held_out:
        seeds = ", ".join(bench["held_out_seeds"])
        notes.insert(0, f"Held out: between {seeds} only, on which no setting was chosen.")
    if set(bench["seeds"]) & set(CHOSEN_ON):
        notes.append("The concordance was selected on these models, so its values here are optimistic.")
    st.caption(f"{inert(' '.join(notes))} {SVCCA}")
    widgets.download(table, key="bench_csv", file="layer-matching.csv")
    for key, axis, title in (
        ("budgets", "tokens", "tokens per model"),
        ("thresholds", "threshold", "threshold of the dictionaries"),
    ):
        points = pd.DataFrame(
            [
                {"name": BENCHED[name], "x": each[axis], "y": value}
                for each in bench[key]
                for name, value in each["accuracy"].items()
                if name in BENCHED
            ]
        )
        if not points.empty:
            widgets.figure(
                layers.layers_lines(points, list(BENCHED.values()), title),
                points,
                key=f"bench_{key}",
                alt=f"Share of layers found against {title}",
                file=f"layer-matching-{key}.csv",
            )


def convergence_table(bench: dict[str, Any]) -> pd.DataFrame:
    """Return the IoU of each layer with its final state, at training checkpoints.

    Columns: model, step, layer, IoU. The table is empty where there are no checkpoints.
    """
    convergence = bench["convergence"]
    rows = [
        {"model": convergence["model"], "step": step, "layer": layer, "IoU": iou}
        for step, ious in zip(convergence["steps"], convergence["iou"], strict=True)
        for layer, iou in enumerate(ious)
    ]
    return pd.DataFrame(rows, columns=["model", "step", "layer", "IoU"])


def show_convergence(bench: dict[str, Any]) -> None:
    """Show when in training the layers of a model settle."""
    table = convergence_table(bench)
    if table.empty:
        return
    last = table.loc[table["step"] == table["step"].max()].sort_values("IoU")
    far, near = last.iloc[0], last.iloc[-1]
    st.subheader("Convergence during training")
    st.caption(
        inert(
            f"IoU of each layer's dictionary with that of the finished model, during training of {near['model']}, from "
            f"the same {count(bench['main']['tokens'])} tokens. At step {count(near['step'])}, the last before the "
            f"end, layer {near['layer']} is nearest with {number(near['IoU'])} and layer {far['layer']} farthest with "
            f"{number(far['IoU'])}. In the ITDA paper (A.4.2, Pythia 70m to 410m), only the first two layers reach 1 "
            "before the end of training."
        )
    )
    widgets.figure(
        layers.convergence_lines(table),
        table,
        key="convergence",
        alt="IoU of each layer's dictionary with the final one against training steps; the download has the numbers",
        file="layer-convergence.csv",
    )
