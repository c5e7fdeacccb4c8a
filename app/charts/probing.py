"""Plotly figures of probing results.

Independent of Streamlit. Untrusted labels are escaped for Plotly.
"""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from app.format.text import in_figure
from itda_core.reports.probing import DIMENSIONS, DIRECTIONS, ITDA, RANDOM_ATOMS

_SHAPES = {
    ITDA: ("#d55e00", "diamond"),
    RANDOM_ATOMS: ("#b87a00", "square"),
    DIMENSIONS: ("#0072b2", "circle"),
    DIRECTIONS: ("#7f7f7f", "x"),
}
"""Colour and symbol of each probed coder: contrast of 3:1 or more on light and dark pages, colour-blind safe."""
_SAES = (("#009e73", "triangle-up"), ("#cc79a7", "star"), ("#2f97d0", "cross"), ("#7d7a2d", "hourglass"))
"""Colours and symbols of SAEs, assigned in their order."""
_GREY = "#8a8f94"
"""Visible on light and dark pages."""


def probe_lines(points: pd.DataFrame, coders: Sequence[tuple[str, str]]) -> go.Figure:
    """Draw balanced accuracy against the number of latents, one line per coder.

    The lines have 95 % intervals; a dotted line at 0.5 marks chance.

    Args:
        points: columns coder (its name), k (as text, in the order of the axis), accuracy, low, high.
        coders: name and display text of each coder, so that each has the same colour in every such figure.
    """
    others = [name for name, _ in coders if name not in _SHAPES]
    figure = go.Figure()
    ks = list(dict.fromkeys(points["k"]))
    for name, words in coders:
        part = points.loc[points["coder"] == name]
        if part.empty:
            continue
        colour, symbol = _SHAPES.get(name) or _SAES[others.index(name) % len(_SAES)]
        figure.add_scatter(
            x=part["k"],
            y=part["accuracy"],
            name=in_figure(words),
            mode="lines+markers",
            line={"width": 3 if name == ITDA else 2, "color": colour},
            marker={"symbol": symbol, "size": 8},
            error_y={
                "array": part["high"] - part["accuracy"],
                "arrayminus": part["accuracy"] - part["low"],
                "thickness": 1,
                "width": 2,
                "color": colour,
            },
            hovertemplate="%{y:.3f}",
        )
    figure.add_hline(y=0.5, line={"color": _GREY, "dash": "dot", "width": 1})
    figure.update_xaxes(
        title="latents that the probe reads, k",
        type="category",
        categoryorder="array",
        categoryarray=ks,
        fixedrange=True,
    )
    figure.update_yaxes(title="balanced accuracy", range=[0.44, 1.02], dtick=0.1, fixedrange=True)
    figure.update_layout(
        height=400,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
        dragmode=False,
        hovermode="x unified",
    )
    return figure
