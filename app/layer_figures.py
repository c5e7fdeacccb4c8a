"""Figures about the layers of models. Nothing here knows Streamlit; labels from strangers come escaped for Plotly."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.figures import SCALE, ink
from app.text import in_figure, number

_ROOMY = 12  # layers whose cells have room for their number
_CELL = 44  # pixels
_LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a7f2d", "#7f7f7f", "#6a5acd")
"""Told apart by colour-blind readers too, together with the shapes."""
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross", "star")


def layers_heatmap(values: Sequence[Sequence[float]], names: tuple[str, str], chosen: tuple[int, int]) -> go.Figure:
    """Layers of A down, layers of B across; a ring on each row's best match, a frame on the chosen cell.

    Args:
        values: [layers of A][layers of B], larger is more alike.
        names: of the two models.
        chosen: layer of A and layer of B.
    """
    z = np.array(values, float)
    down, across = (axis.ravel() for axis in np.indices(z.shape))
    share = (z - z.min()) / max(float(np.ptp(z)), 1e-12)
    best = z.argmax(1)
    a, b = map(in_figure, names)
    is_roomy = max(z.shape) <= _ROOMY
    grid = go.Heatmap(
        z=z,
        colorscale=SCALE,
        xgap=2,
        ygap=2,
        hoverinfo="skip",
        colorbar={"thickness": 8, "outlinewidth": 0, "len": 1, "nticks": 4},
    )
    ring = go.Scatter(
        x=best,
        y=np.arange(len(z)),
        mode="markers",
        marker={
            "symbol": "circle-open",
            "size": 32 if is_roomy else 12,
            "line": {"width": 2},
            "color": ink(share[np.arange(len(z)), best]),
        },
        hoverinfo="skip",
        showlegend=False,
    )
    # Plotly reports no clicks on a heatmap, so squares that are all but clear lie over it.
    squares = go.Scatter(
        x=across,
        y=down,
        mode="markers+text" if is_roomy else "markers",
        marker={"symbol": "square", "size": _CELL if is_roomy else 14, "color": "rgba(0, 0, 0, 0.004)"},
        text=[number(value, 2) for value in z.ravel()],
        textfont={"size": 12, "color": ink(share.ravel())},
        customdata=[f"{i} {j}" for i, j in zip(down, across, strict=True)],
        hovertext=[
            f"layer {i} of {a}<br>layer {j} of {b}<br>{number(z[i, j])}" for i, j in zip(down, across, strict=True)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
        showlegend=False,
    )
    figure = go.Figure([grid, ring, squares])
    i, j = chosen
    figure.add_shape(type="rect", x0=j - 0.5, x1=j + 0.5, y0=i - 0.5, y1=i + 0.5, line={"width": 3, "color": "#d55e00"})
    plain = {"showgrid": False, "zeroline": False, "fixedrange": True, "dtick": 1 if is_roomy else 4}
    figure.update_xaxes(title=f"layer of B, {b}", range=[-0.5, z.shape[1] - 0.5], **plain)
    figure.update_yaxes(title=f"layer of A, {a}", range=[z.shape[0] - 0.5, -0.5], **plain)
    figure.update_layout(
        height=min(760, 110 + max(240, _CELL * z.shape[0])),
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        clickmode="event+select",
        dragmode=False,
        hovermode="closest",
    )
    return figure


def layers_lines(points: pd.DataFrame, names: Sequence[str], x_title: str) -> go.Figure:
    """Shares over a logarithmic axis, a line for each name.

    Args:
        points: name, x, y.
        names: all that there may be, so that each has the same colour in every such figure.
        x_title: what x is.
    """
    figure = go.Figure(
        [
            go.Scatter(
                x=part["x"],
                y=part["y"],
                name=in_figure(name),
                mode="lines+markers",
                line={"width": 2, "color": _LINES[at % len(_LINES)]},
                marker={"symbol": _SYMBOLS[at % len(_SYMBOLS)], "size": 8},
            )
            for at, name in enumerate(names)
            for part in [points.loc[points["name"] == name].sort_values("x")]
            if len(part)
        ]
    )
    shown = sorted(points["x"].unique())
    figure.update_xaxes(title=x_title, type="log", tickvals=shown, ticktext=[f"{x:,g}" for x in shown])
    figure.update_yaxes(title="share of layers", range=[-0.03, 1.05])
    figure.update_layout(
        height=320,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "v"},
        hovermode="x unified",
    )
    return figure
