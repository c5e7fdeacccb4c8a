"""Plotly figures of dictionary quality.

Independent of Streamlit. Untrusted labels are escaped for Plotly.
"""

from collections.abc import Callable, Sequence

import pandas as pd
import plotly.graph_objects as go

from app.components.sides import LINES
from app.format.tables import each
from app.format.text import count, in_figure

_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross", "star", "triangle-down", "hourglass")
_WIDEST, _THINNEST = 2.6, 1.4
_RANDOM = "random"
_GREY = "#8a8f94"  # visible on light and dark pages
_APART = 1.5  # smallest ratio between ticks of an axis, so that labels fit on a small screen


def quality_lines(
    points: pd.DataFrame,
    across: str,
    titles: tuple[str, str],
    shown: Callable[[float], str],
    marks: Sequence[tuple[float, str]] = (),
) -> go.Figure:
    """Draw a measure against L0 or against the dictionary's size.

    Against L0 there is a line for each size; against the size, a line for each L0. Each side has its colour. Lines of
    random atoms are dotted and have open points, all others are solid. A click on a point returns its side and its
    latents.

    Args:
        points: columns side, series, latents, l0, value, low, high.
        across: the quantity of the horizontal axis, `l0` or `latents`.
        titles: titles of the horizontal and of the vertical axis.
        shown: formats a value as text.
        marks: values with a horizontal reference line, and their names.
    """
    by = "latents" if across == "l0" else "l0"
    figure = go.Figure()
    has_sides = len(set(points["side"])) > 1
    for side, own in points.groupby("side", sort=True):
        # The largest first: its line is the widest, and its symbol does not depend on how many smaller ones there are.
        for rank, key in enumerate(sorted(own[by].unique(), reverse=True)):
            width = max(_THINNEST, _WIDEST - 0.4 * rank)
            for series, line in own.loc[own[by].eq(key), :].groupby("series", sort=True):
                name = f"{count(key)} {'latents' if series == 'sae' else 'atoms'}" if by == "latents" else f"L0 {key}"
                figure.add_trace(
                    _line(
                        line.sort_values(across),
                        across,
                        f"{str(side).upper()}: {name}" if has_sides else name,
                        (LINES[str(side)], _SYMBOLS[rank % len(_SYMBOLS)], width),
                        str(series),
                        shown,
                    )
                )
    for value, name in marks:
        figure.add_hline(
            value,
            line={"color": _GREY, "width": 1.5, "dash": "dash"},
            annotation={"text": in_figure(name), "font": {"size": 12}, "xanchor": "right"},
        )
    ticks = _ticks(sorted(points[across].unique()))
    figure.update_xaxes(title=titles[0], type="log", tickvals=ticks, ticktext=[count(x) for x in ticks])
    figure.update_yaxes(title=in_figure(titles[1]))
    figure.update_layout(
        height=380,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
        clickmode="event+select",
        dragmode=False,
        hovermode="closest",
    )
    return figure


def _line(
    line: pd.DataFrame,
    across: str,
    name: str,
    drawn: tuple[str, str, float],
    series: str,
    shown: Callable[[float], str],
) -> go.Scatter:
    """Return one line of a figure; `drawn` is its colour, symbol and width."""
    colour, symbol, width = drawn
    is_random = series == _RANDOM
    kind = {"itda": "own atoms", _RANDOM: "random atoms", "sae": "latents of the SAE"}.get(series, series)
    opens = {"sae": "click for this SAE", _RANDOM: "click for as many of the dictionary’s own atoms"}.get(
        series, "click to list these atoms"
    )
    return go.Scatter(
        x=line[across],
        y=line["value"],
        name=name,
        mode="lines+markers",
        line={"width": width, "color": colour, "dash": "dot" if is_random else "solid"},
        marker={"symbol": f"{symbol}-open" if is_random else symbol, "size": 9},
        error_y={
            "array": (line["high"] - line["value"]).clip(lower=0),
            "arrayminus": (line["value"] - line["low"]).clip(lower=0),
            "thickness": 1.2,
            "width": 3,
        },
        legendgroup=name,
        # The caption explains dotted lines, so one legend entry stands for both lines and hides both.
        showlegend=not is_random,
        customdata=[f"{point.side} {point.latents}" for point in each(line)],
        hovertext=[
            f"{point.side.upper()}: {count(point.latents)} {in_figure(kind)}, L0 {point.l0}<br>{shown(point.value)} "
            f"({shown(point.low)} to {shown(point.high)})<br>{opens}"
            for point in each(line)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        # A selection opens what a point stands for, so unselected points must not fade.
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )


def _ticks(values: Sequence[float]) -> list[float]:
    """Return the values that get a tick on a logarithmic axis.

    A value whose label would overlap the previous one is left out.
    """
    ticks: list[float] = []
    for value in values:
        if value > 0 and (not ticks or value >= _APART * ticks[-1]):
            ticks.append(value)
    return ticks
