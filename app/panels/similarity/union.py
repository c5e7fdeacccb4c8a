"""Similarity page: two models compared over all their layers.

The sources of all layers of a model are pooled; other pairs of models are shown beside the user's.
"""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app.charts import layers
from app.format.text import count, inert, number
from app.panels import overlap
from app.shell import widgets
from itda_core.reports.layers import LayerSimilarity
from itda_core.reports.paper import PAPER_UNION

KINDS = {"same": "same architecture, another seed", "different": "different architectures"}
"""Kinds of pairs in the bench."""
OWN = "A and B"
"""Kind of the user's pair."""
_SOURCES = ("sources A", "sources B")


def pairs_table(found: LayerSimilarity | None, bench: dict[str, Any] | None) -> pd.DataFrame:
    """Return all pairs of models of which the union is known.

    The bench's pairs are first and the user's is last. Columns: kind, pair, IoU, low, high (95 % interval), chance,
    tokens, sources A, sources B. The bench's pairs have no interval; they are those whose models have the number of
    sources nearest to the user's.
    """
    rows = []
    union = _nearest(found, bench)
    if union is not None and bench is not None:
        seeds = set(bench["seeds"])
        for pair, iou in union["pairs"].items():
            a, b = pair.split()
            kind = KINDS["same" if (a in seeds) == (b in seeds) else "different"]
            of = dict.fromkeys(_SOURCES, union["sources"]) | {"tokens": bench["main"]["tokens"]}
            rows.append({"kind": kind, "pair": f"{a} and {b}", "IoU": iou, "chance": union["chance"], **of})
    rows.sort(key=lambda row: list(KINDS.values()).index(row["kind"]))
    if found is not None:
        low, high = found.union_interval
        own = {"kind": OWN, "pair": f"{found.a} and {found.b}", "IoU": found.union, "low": low, "high": high}
        of = dict(zip(_SOURCES, found.union_sources, strict=True)) | {"tokens": found.tokens}
        rows.append({**own, "chance": found.union_chance, **of})
    table = pd.DataFrame(rows, columns=["kind", "pair", "IoU", "low", "high", "chance", "tokens", *_SOURCES])
    return table.astype(dict.fromkeys(("IoU", "low", "high", "chance"), np.float64))


def _nearest(found: LayerSimilarity | None, bench: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the bench's pairs with the number of sources nearest to the user's."""
    if bench is None or not bench["unions"]:
        return None
    wanted = 0.0 if found is None else sum(found.union_sources) / 2

    def distance(union: dict[str, Any]) -> float:
        return abs(union["sources"] - wanted)

    return min(bench["unions"], key=distance)


def show_wholes(found: LayerSimilarity | None, bench: dict[str, Any] | None) -> None:
    """Show how alike the two models are over all layers, and how alike others are.

    Args:
        found: the measurements of the user's two models; None where there are none.
        bench: the report of `itda bench layers`; None where there is none.
    """
    table = pairs_table(found, bench)
    if table.empty:
        return
    st.subheader(
        "Similarity over all layers",
        help="Intersection over union of the sources of all layers of the two models (ITDA paper, 5.2).",
    )
    if found is not None:
        with st.grid(3, min_column_width=150):
            overlap.show_iou(
                found.union,
                found.union_interval,
                found.union_chance,
                both="any layer of A and any layer of B chose",
                either="any layer of either model chose",
                blind=f"A chose {count(found.union_sources[0])} and B {count(found.union_sources[1])} of the "
                f"{count(found.tokens)} tokens at random",
            )
    widgets.figure(
        layers.union_strip(table),
        table,
        key="wholes",
        alt="IoU of the sources of all layers, a dot for each pair of models; the download has the numbers",
        file="model-similarity.csv",
    )
    words = []
    union = _nearest(found, bench)
    if union is not None and bench is not None:
        words.append(
            f"Dots: pairs of this project's models, with {count(union['sources'])} sources each from "
            f"{count(bench['main']['tokens'])} tokens: {ranges(union['ranges'])}. "
        )
    same, different = (" to ".join(f"{end:.2f}" for end in PAPER_UNION[kind]) for kind in KINDS)
    words.append(
        f"The paper reports {same} between seeds of GPT-2 small or medium, and {different} between small and medium."
    )
    if found is not None:
        words.append(" The diamond is your pair, with its interval.")
    words.append(" Grey lines: chance.")
    if found is not None and union is not None:
        a, b = map(count, found.union_sources)
        words.append(
            f" Your models have {a} and {b} sources from {count(found.tokens)} tokens. IoU and chance depend on the "
            "number of sources per token, so the comparison with the dots is approximate."
        )
    st.caption(inert("".join(words)))


def ranges(union: dict[str, list[float] | None]) -> str:
    """Return the lowest and the highest IoU of each kind of pairs, as text."""
    notes = {
        kind: name + " " + (number(ends[0]) if ends[0] == ends[1] else f"{number(ends[0])} to {number(ends[1])}")
        for kind, name in KINDS.items()
        if (ends := union[kind]) is not None
    }
    return "; ".join(notes.values())
