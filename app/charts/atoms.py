"""Plotly figures of dictionaries and atoms.

Independent of Streamlit. Untrusted labels are escaped for Plotly.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.format.tables import each
from app.format.text import in_figure, quoted, share, signed

POSITIVE, NEGATIVE = "#d55e00", "#0072b2"
"""Colours of positive and negative coefficients, colour-blind safe; the token strip has the same."""
SCALE = [[0, "#4a539e"], [0.33, "#2e8b9d"], [0.66, "#58b16c"], [1, "#ecbc22"]]
"""Colour scale of all measures: rising in lightness, colour-blind safe, visible on light and dark pages."""

CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["autoScale2d"],
    "toImageButtonOptions": {"format": "svg"},
}
"""Plotly's toolbar: it saves figures as SVG, and names no outside service."""

_DARK_HALF = 0.35  # below this position on the scale, white text is more legible than black
_ROOMY = 16  # largest number of layers at which cells have room for text
_FAINT = "rgba(140, 140, 140, 0.10)"
_GREY = "rgba(140, 140, 140, 0.35)"
_CLEAR = "rgba(0, 0, 0, 0)"


def ink(position: np.ndarray) -> np.ndarray:
    """Return the text colours for positions on SCALE, from 0 to 1."""
    return np.where(position < _DARK_HALF, "white", "#0d1b17")


def library_grid(cells: pd.DataFrame, rows: Sequence[str], layers: Sequence[int]) -> go.Figure:
    """Draw the grid of dictionaries: models down, layers across, one cell each.

    Args:
        cells: columns id, row (an index into `rows`), layer, value (the measure), text (in the cell), detail (on
            hovering).
        rows: names of the rows, from top to bottom.
        layers: layers to show, including those without a dictionary.
    """
    column = {layer: at for at, layer in enumerate(layers)}
    values = np.full((len(rows), len(layers)), np.nan)
    for cell in each(cells):
        values[cell.row, column[cell.layer]] = cell.value
    names = [in_figure(name).replace("↵", "<br>") for name in rows]
    is_roomy = len(layers) <= _ROOMY
    across, down = list(range(len(layers))), list(range(len(rows)))
    empty = go.Heatmap(
        x=across,
        y=down,
        z=np.zeros(values.shape),
        colorscale=[[0, _FAINT], [1, _FAINT]],
        showscale=False,
        xgap=3,
        ygap=3,
        hoverinfo="skip",
    )
    grid = go.Heatmap(
        x=across,
        y=down,
        z=values,
        colorscale=SCALE,
        xgap=3,
        ygap=3,
        hoverinfo="skip",
        showscale=cells["value"].nunique() > 1,
        colorbar={"thickness": 8, "outlinewidth": 0, "len": 1, "nticks": 3},
    )
    value = cells["value"].to_numpy(float)
    known = value[~np.isnan(value)]  # an imported dictionary may not have been measured
    position = (value - known.min(initial=np.inf)) / max(float(np.ptp(known)) if len(known) else 0.0, 1e-12)
    # Plotly reports no clicks on a heatmap, so nearly transparent squares are drawn over it.
    squares = go.Scatter(
        x=[column[layer] for layer in cells["layer"]],
        y=cells["row"],
        mode="markers+text" if is_roomy else "markers",
        marker={"symbol": "square", "size": 46 if is_roomy else 14, "color": "rgba(0, 0, 0, 0.004)"},
        text=[in_figure(text).replace("↵", "<br>") for text in cells["text"]],
        textfont={"size": 12, "color": ink(position)},
        customdata=cells["id"],
        hovertext=[in_figure(detail).replace("↵", "<br>") for detail in cells["detail"]],
        hovertemplate="%{hovertext}<extra></extra>",
        # A selection opens a dictionary, so unselected cells must not fade.
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
        showlegend=False,
    )
    figure = go.Figure([empty, grid, squares])
    figure.update_xaxes(
        title="layer", tickvals=across, ticktext=layers, showgrid=False, zeroline=False, side="bottom", fixedrange=True
    )
    figure.update_yaxes(
        tickvals=down, ticktext=names, autorange="reversed", showgrid=False, zeroline=False, fixedrange=True
    )
    figure.update_layout(
        height=96 + 52 * len(rows),
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        clickmode="event+select",
        dragmode=False,
        hovermode="closest",
    )
    return figure


def growth(points: pd.DataFrame) -> go.Figure:
    """Draw the growth of dictionaries: atoms against the activations seen.

    Columns of `points`: dictionary, rows, atoms.
    """
    figure = go.Figure(
        [
            go.Scatter(x=part["rows"], y=part["atoms"], name=in_figure(str(name)), mode="lines", line={"width": 2})
            for name, part in points.groupby("dictionary", sort=True)
        ]
    )
    figure.update_xaxes(title="activations seen", rangemode="tozero")
    figure.update_yaxes(title="atoms", rangemode="tozero")
    figure.update_layout(
        height=220,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        showlegend=points["dictionary"].nunique() > 1,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        hovermode="x unified",
    )
    return figure


def histogram(bins: pd.DataFrame) -> go.Figure:
    """Draw the histogram of an atom's coefficients, with logarithmic counts.

    Columns of `bins`: low, high, count.
    """
    middle = (bins["low"] + bins["high"]) / 2
    figure = go.Figure(
        go.Bar(
            x=middle,
            y=bins["count"],
            width=bins["high"] - bins["low"],
            marker={"color": np.where(middle >= 0, POSITIVE, NEGATIVE), "line": {"width": 0}},
            customdata=bins[["low", "high"]],
            hovertemplate="%{customdata[0]:.3g} to %{customdata[1]:.3g}: %{y:,} tokens<extra></extra>",
        )
    )
    most = bins["count"].to_numpy().max()
    figure.update_xaxes(title="coefficient", zeroline=True)
    figure.update_yaxes(
        title="tokens (log scale)",
        type="log",
        range=[np.log10(0.5), np.log10(most * 1.6)],
        dtick=1,
        exponentformat="none",
    )
    figure.update_layout(height=230, margin={"l": 8, "r": 8, "t": 8, "b": 8}, bargap=0.04, dragmode=False)
    return figure


def falling_error(terms: pd.DataFrame, left_by_mean: float | None = None) -> go.Figure:
    """Draw the reconstruction error as terms are added, the largest first.

    Args:
        terms: columns coefficient, left (error with the terms up to this one), label.
        left_by_mean: error with the mean alone, of a dictionary with centring.
    """
    left = [1.0 if left_by_mean is None else left_by_mean, *terms["left"]]
    colours = [_GREY, *np.where(terms["coefficient"] >= 0, POSITIVE, NEGATIVE)]
    hover = [
        "no term yet" if left_by_mean is None else "the mean alone",
        *(f"{signed(term.coefficient)} · {in_figure(quoted(term.label))}" for term in each(terms)),
    ]
    figure = go.Figure(
        go.Bar(
            x=list(range(len(left))),
            y=left,
            marker={"color": colours, "line": {"width": 0}},
            customdata=hover,
            hovertemplate="%{customdata}<br>error %{y:.3g}<extra></extra>",
        )
    )
    figure.update_xaxes(title="terms, the largest first", rangemode="tozero", dtick=max(1, len(terms) // 5))
    figure.update_yaxes(title="error left", rangemode="tozero")
    figure.update_layout(height=250, margin={"l": 8, "r": 8, "t": 8, "b": 8}, bargap=0.15, dragmode=False)
    return figure


def atom_map(
    places: pd.DataFrame,
    shown: np.ndarray,
    values: np.ndarray,
    log: bool = False,
    tick: Callable[[float], str] = share,
    region: Sequence[tuple[float, float]] | None = None,
    picked: int | None = None,
    circling: bool = False,
) -> go.Figure:
    """Draw the map of atoms.

    Atoms that the filter excludes are grey. Only numbers are sent to the page, no text.

    Args:
        places: columns atom, x, y.
        shown: [n] bool, which atoms pass the filter.
        values: [n] values that colour the atoms.
        log: whether to colour by the logarithm, for values that span several orders of magnitude.
        tick: format of a value at the colour bar of logarithms.
        region: corners of the selection, drawn as an outline.
        picked: an atom to mark with a ring.
        circling: whether dragging selects atoms with a lasso. Otherwise it pans the map, and only then does Streamlit
            report clicks.
    """
    # Single precision halves the data sent, and is finer than the eye can resolve.
    places = places.astype({"atom": "int32", "x": "float32", "y": "float32"})
    values = np.asarray(values, np.float32)
    lit, rest = places[shown], places[~shown]
    size = float(np.clip(260 / np.sqrt(max(len(places), 1)), 3, 9))
    common = {"mode": "markers", "showlegend": False, "unselected": {"marker": {"opacity": 1}}}
    figure = go.Figure(
        [
            go.Scattergl(
                x=rest["x"],
                y=rest["y"],
                customdata=rest["atom"],
                marker={"size": size * 0.8, "color": _GREY},
                hovertemplate="atom %{customdata}<extra></extra>",
                **common,
            ),
            go.Scattergl(
                x=lit["x"],
                y=lit["y"],
                customdata=lit["atom"],
                marker={
                    "size": size,
                    "color": np.log10(np.maximum(values[shown], 1e-9)) if log else values[shown],
                    "colorscale": SCALE,
                    "colorbar": {"thickness": 8, "outlinewidth": 0, **(_log_ticks(values[shown], tick) if log else {})},
                    "opacity": 0.9,
                },
                hovertemplate="atom %{customdata}<extra></extra>",
                **common,
            ),
        ]
    )
    if picked is not None:
        at = places[places["atom"] == picked]
        figure.add_scattergl(
            x=at["x"],
            y=at["y"],
            mode="markers",
            marker={"size": size + 9, "color": _CLEAR, "line": {"width": 2.5, "color": POSITIVE}},
            hoverinfo="skip",
            showlegend=False,
        )
    if region:
        corners = " L ".join(f"{x} {y}" for x, y in region)
        figure.add_shape(type="path", path=f"M {corners} Z", line={"color": POSITIVE, "width": 1.5, "dash": "dot"})
    for axis in (figure.update_xaxes, figure.update_yaxes):
        axis(showgrid=False, zeroline=False, showticklabels=False, ticks="")
    figure.update_yaxes(scaleanchor=None)
    figure.update_layout(
        height=470,
        margin={"l": 4, "r": 4, "t": 4, "b": 4},
        dragmode="lasso" if circling else "pan",
        clickmode="event+select",
        hovermode="closest",
    )
    return figure


def _log_ticks(values: np.ndarray, tick: Callable[[float], str]) -> dict[str, Any]:
    """Return ticks of a logarithmic colour bar.

    They are at 1, 2 and 5 of each order of magnitude.
    """
    found = values[values > 0]
    if not len(found):
        return {}
    steps = [m * 10.0**power for power in range(-9, 7) for m in (1, 2, 5)]
    steps = [step for step in steps if found.min() * 0.99 <= step <= found.max() * 1.01]
    return {"tickvals": [float(np.log10(step)) for step in steps], "ticktext": [tick(step) for step in steps]}


def inside(places: pd.DataFrame, region: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return which places are inside a polygon (even-odd rule), as [n] bool."""
    x, y = places["x"].to_numpy(float), places["y"].to_numpy(float)
    within = np.zeros(len(places), dtype=bool)
    for (x1, y1), (x2, y2) in zip(region, [*region[1:], region[0]], strict=True):
        if y1 != y2:
            within ^= ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return within
