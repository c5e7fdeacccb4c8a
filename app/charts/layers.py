"""Plotly figures of layer similarity.

Independent of Streamlit. Untrusted labels are escaped for Plotly.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import hex_to_rgb, label_rgb, sample_colorscale

from app.charts.atoms import SCALE, ink
from app.format.tables import each
from app.format.text import in_figure, number

_ROOMY = 12  # largest number of layers at which cells have room for their number
_CELL = 44  # pixels
_LINES = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#2f97d0", "#b87a00", "#7d7a2d", "#7f7f7f", "#6a5acd", "#b5485d",
    "#1d8a99",
)  # fmt: skip
"""Line colours with a contrast of 3:1 or more on light and dark pages; with the symbols, colour-blind safe."""
_RANKED_LINES = [[0, "#6a5acd"], [0.25, "#2f78b5"], [0.5, "#2a9190"], [0.75, "#4f9f55"], [1, "#c0641f"]]
"""Colour scale of ordered lines. (SCALE is for filled cells: lines in its end colours would hardly be visible.)"""
_GREY = "#8a8f94"
"""Visible on light and dark pages."""
_ROW = 64  # pixels
_LIFTS = (0.0, -0.14, 0.14)  # vertical offsets of dots that would hide each other, in rows
_SYMBOLS = (
    "circle",
    "diamond",
    "square",
    "triangle-up",
    "x",
    "cross",
    "star",
    "triangle-down",
    "hourglass",
    "pentagon",
    "bowtie",
)


def layers_heatmap(values: Sequence[Sequence[float]], names: tuple[str, str], chosen: tuple[int, int]) -> go.Figure:
    """Draw the similarity of every layer of A (down) to every layer of B (across).

    A ring marks each row's best match, a frame the chosen cell.

    Args:
        values: [layers of A][layers of B], larger is more similar.
        names: names of the two models.
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
    # Plotly reports no clicks on a heatmap, so nearly transparent squares are drawn over it.
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
    """Draw shares against a logarithmic axis, one line for each name.

    Args:
        points: columns name, x, y.
        names: all possible names, so that each has the same colour in every such figure.
        x_title: title of the horizontal axis.
    """
    shapes = {name: (_LINES[at % len(_LINES)], _SYMBOLS[at % len(_SYMBOLS)]) for at, name in enumerate(names)}
    figure = _lines(points, shapes, x_title, "share of layers")
    # The names are long: a legend beside the lines would leave them no room on a small screen.
    figure.update_layout(
        height=300 + 18 * points["name"].nunique(), legend={"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"}
    )
    return figure


def convergence_lines(points: pd.DataFrame) -> go.Figure:
    """Draw the IoU of each layer's dictionary with the final one over training.

    Each layer has a line; the colours follow the order of the layers.

    Args:
        points: columns layer, step, IoU.
    """
    layers = sorted(int(layer) for layer in points["layer"].unique())
    scale = [[at, label_rgb(hex_to_rgb(colour))] for at, colour in _RANKED_LINES]
    colours = [str(colour) for colour in sample_colorscale(scale, list(np.linspace(0, 1, len(layers))))]
    names = [f"layer {layer}" for layer in layers]
    shapes = {name: (colours[at], _SYMBOLS[at % len(_SYMBOLS)]) for at, name in enumerate(names)}
    drawn = pd.DataFrame(
        {"name": [f"layer {layer}" for layer in points["layer"]], "x": points["step"], "y": points["IoU"]}
    )
    return _lines(drawn, shapes, "training steps", "IoU with the finished model")


def union_strip(pairs: pd.DataFrame) -> go.Figure:
    """Draw the IoU of pairs of models, a row for each kind and a dot for each pair.

    Args:
        pairs: columns kind (its row; rows are from top to bottom in order of appearance), pair (its name), IoU, chance
            (drawn as a short line), low and high. The last two are NaN except for the user's pair, which is marked and
            has its interval drawn.
    """
    figure = go.Figure()
    for row, (kind, part) in enumerate(pairs.groupby("kind", sort=False)):
        part = part.sort_values("IoU")
        figure.add_scatter(
            x=part["IoU"],
            y=[row + _LIFTS[at % len(_LIFTS)] for at in range(len(part))],
            mode="markers",
            marker={
                "size": [12 if is_own else 9 for is_own in part["low"].notna()],
                "symbol": ["diamond" if is_own else "circle" for is_own in part["low"].notna()],
                "color": [_LINES[1] if is_own else _LINES[0] for is_own in part["low"].notna()],
                "opacity": 0.85,
            },
            error_x={
                "array": part["high"] - part["IoU"],
                "arrayminus": part["IoU"] - part["low"],
                "color": _LINES[1],
                "thickness": 2,
                "width": 4,
            },
            hovertext=[f"{in_figure(pair.pair)}<br>IoU {number(pair.IoU)}" for pair in each(part)],
            hovertemplate="%{hovertext}<extra></extra>",
        )
        by_chance = part["chance"].dropna().unique()
        figure.add_scatter(
            x=by_chance,
            y=[row] * len(by_chance),
            mode="markers",
            marker={"symbol": "line-ns", "size": 20, "line": {"width": 3, "color": _GREY}},
            hovertemplate="by chance %{x:.3f}<extra></extra>",
        )
        figure.add_annotation(
            text=in_figure(str(kind)),
            xref="paper",
            x=0,
            xanchor="left",
            y=row - 0.26,
            yanchor="bottom",
            showarrow=False,
            font={"size": 13},
        )
    ends = pairs[["IoU", "low", "high", "chance"]].to_numpy(float)
    figure.update_xaxes(
        title="IoU of the sources of all layers",
        range=[max(0, np.nanmin(ends) - 0.03), min(1.01, np.nanmax(ends) + 0.03)],
        zeroline=False,
        fixedrange=True,
    )
    rows = pairs["kind"].nunique()
    figure.update_yaxes(
        range=[rows - 0.6, -0.75], showgrid=False, zeroline=False, showticklabels=False, fixedrange=True
    )
    figure.update_layout(
        height=60 + _ROW * rows,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        showlegend=False,
        dragmode=False,
        hovermode="closest",
    )
    return figure


def _lines(points: pd.DataFrame, shapes: Mapping[str, tuple[str, str]], x_title: str, y_title: str) -> go.Figure:
    """Draw shares against a logarithmic axis, one line for each name.

    `points` has the columns name, x, y; `shapes` has the colour and the symbol of each name.
    """
    figure = go.Figure(
        [
            go.Scatter(
                x=part["x"],
                y=part["y"],
                name=in_figure(name),
                mode="lines+markers",
                line={"width": 2, "color": colour},
                marker={"symbol": symbol, "size": 8},
            )
            for name, (colour, symbol) in shapes.items()
            for part in [points.loc[points["name"] == name].sort_values("x")]
            if len(part)
        ]
    )
    shown = sorted(points["x"].unique())
    figure.update_xaxes(title=x_title, type="log", tickvals=shown, ticktext=[f"{x:,g}" for x in shown])
    figure.update_yaxes(title=y_title, range=[-0.03, 1.05])
    figure.update_layout(
        height=320,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "v"},
        hovermode="x unified",
    )
    return figure
