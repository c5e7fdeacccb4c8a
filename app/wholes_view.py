"""Two models as wholes: the sources of all their layers together, beside other pairs of models."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import iou_view, layer_figures, parts
from app.text import count, inert, number
from itda_core.layers import PAPER_UNION, LayerSimilarity

KINDS = {"same": "same architecture, another seed", "different": "different architectures"}
"""Kinds of pairs that the bench has."""
OWN = "A and B"
"""The kind of the reader's pair."""


def pairs_table(found: LayerSimilarity | None, bench: dict[str, Any] | None) -> pd.DataFrame:
    """All pairs of models of which the union is known, the bench's first and the reader's last.

    Columns: kind, pair, IoU, low, high (95 % interval), chance, tokens, threshold, L0. The bench keeps no interval and
    no chance.
    """
    rows = []
    if bench is not None:
        seeds, main = set(bench["seeds"]), bench["main"]
        for pair, union in bench["union_pairs"].items():
            a, b = pair.split()
            rows.append(
                {
                    "kind": KINDS["same" if (a in seeds) == (b in seeds) else "different"],
                    "pair": f"{a} and {b}",
                    "IoU": union,
                    "tokens": main["tokens"],
                    "threshold": main["threshold"],
                    "L0": bench["settings"]["l0"],
                }
            )
    rows.sort(key=lambda row: list(KINDS.values()).index(row["kind"]))
    if found is not None:
        low, high = found.union_interval
        own = {"kind": OWN, "pair": f"{found.a} and {found.b}", "IoU": found.union, "low": low, "high": high}
        of = {"tokens": found.tokens, "threshold": found.threshold, "L0": found.l0}
        rows.append({**own, "chance": found.union_chance, **of})
    columns = ["kind", "pair", "IoU", "low", "high", "chance", "tokens", "threshold", "L0"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype(dict.fromkeys(("IoU", "low", "high", "chance"), np.float64))


def show_wholes(found: LayerSimilarity | None, bench: dict[str, Any] | None) -> None:
    """How alike the two models are over all their layers, and how alike other pairs are.

    Args:
        found: what was measured of the reader's two models, where it was.
        bench: the report of `itda bench layers`, where there is one.
    """
    table = pairs_table(found, bench)
    if table.empty:
        return
    st.subheader("The models as wholes")
    st.caption(
        "The sources of all layers of a model together: of the tokens that became an atom in any layer of either "
        "model, the share that both models chose (the ITDA paper, 5.2)."
    )
    if found is not None:
        with st.grid(3, min_column_width=150):
            iou_view.show_iou(
                found.union,
                found.union_interval,
                found.union_chance,
                both="some layer of A and some layer of B chose",
                either="any layer of either chose",
                blind=f"A had chosen {count(found.union_sources[0])} and B {count(found.union_sources[1])} of the "
                f"{count(found.tokens)} tokens blindly",
            )
    parts.figure(
        layer_figures.union_strip(table),
        table,
        key="wholes",
        alt="IoU of the sources of all layers, a dot for each pair of models; the download has the numbers",
        file="model-similarity.csv",
    )
    words = []
    if bench is not None:
        words.append(
            f"A dot is a pair of models of this project, measured by itda bench layers on "
            f"{count(bench['main']['tokens'])} tokens at a threshold of {bench['main']['threshold']:g}: "
            f"{ranges(bench['union'])}. "
        )
    same, different = (" to ".join(f"{end:.2f}" for end in PAPER_UNION[kind]) for kind in KINDS)
    words.append(
        f"The paper found {same} between seeds of GPT-2 small or of medium, and {different} between small and medium."
    )
    if found is not None:
        words.append(" The diamond is your pair, with its interval; the line is chance.")
    if found is not None and bench is not None:
        measured = (found.tokens, found.threshold, found.l0)
        if measured != (bench["main"]["tokens"], bench["main"]["threshold"], bench["settings"]["l0"]):
            words.append(
                f" It was measured on {count(found.tokens)} tokens at a threshold of {found.threshold:g} and an L0 of "
                f"{found.l0}. On fewer tokens the IoU is higher, and so is what chance gives, and with a lower "
                "threshold or L0: hold it against the dots only roughly."
            )
    st.caption(inert("".join(words)))


def ranges(union: dict[str, list[float] | None]) -> str:
    """The lowest and the highest IoU of each kind of pairs, in words."""
    said = {
        kind: name + " " + (number(ends[0]) if ends[0] == ends[1] else f"{number(ends[0])} to {number(ends[1])}")
        for kind, name in KINDS.items()
        if (ends := union[kind]) is not None
    }
    return "; ".join(said.values())
