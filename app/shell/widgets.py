"""Links, figures and downloads."""

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.charts import atoms
from app.components.token_strip import Row, Token, token_strip
from app.format.tables import csv_of
from app.format.text import number, share
from itda_core.library.manifest import DictionaryManifest

_UNITS = {"relative": "of |x|²", "squared": "|x−x̂|²", "cosine": "cosine, mean over dimensions"}


def threshold_of(record: DictionaryManifest) -> str:
    """Format a dictionary's threshold with its unit."""
    unit = _UNITS[record.settings.error]
    if record.settings.center == "mean" and record.settings.error == "relative":
        unit = "of |x−mean|²"
    return f"{record.settings.threshold:.4g} {unit}"


def explained_of(record: DictionaryManifest) -> str:
    """Format what a dictionary explains and leaves of activations, as the end of "its atoms …"."""
    error = f"leave a relative error of {number(record.relative_error)}"
    if record.variance_explained is None:
        return error
    return f"explain {share(record.variance_explained)} of the variance and {error}"


def when(moment: str) -> str:
    """Format a moment in UTC, as ISO 8601, in the reader's own time zone; other text is returned unchanged."""
    try:
        zone = ZoneInfo(st.context.timezone) if st.context.timezone else UTC
        return datetime.fromisoformat(moment).astimezone(zone).strftime("%-d %B %Y, %H:%M" + " UTC" * (zone is UTC))
    except (ValueError, OverflowError, ZoneInfoNotFoundError):
        return moment


def link(text: str, address: str, icon: str = "", *, key: str, side: str = "") -> None:
    """Show a link to a page with its parameters.

    (Not st.page_link: where the page is open already, for another dictionary, it leaves the URL as it is.)
    """
    row = Row([Token(text)], href=address, icon=icon, sides=side)
    token_strip([row], key=key, style="links")


def tabs(name: str, titles: dict[str, str], now: str, go: Callable[..., None]) -> DeltaGenerator:
    """Show tabs, of which the URL's `tab` names the open one; return its container.

    Args:
        name: prefix of the widget's key.
        titles: title of each tab, by name.
        now: name of the open tab; what the others show is not computed.
        go: changes the page's state.
    """
    key = f"{name}_tab"
    st.session_state[key] = titles[now]

    def changed() -> None:
        opened = st.session_state[key]
        go(tab=next((each for each, title in titles.items() if title == opened), now))

    shown = st.tabs(list(titles.values()), key=key, on_change=changed)
    return shown[list(titles).index(now)]


def figure(
    drawn: go.Figure, data: pd.DataFrame | Callable[[], pd.DataFrame], *, key: str, alt: str, file: str, **options
) -> dict:
    """Show a figure with a button that downloads its data; return its selection.

    The figure can be enlarged.
    """
    event = st.plotly_chart(drawn, key=key, alt=alt, config=atoms.CONFIG, **options)
    download(data, key=f"{key}_data", file=file)
    return dict(event["selection"]) if isinstance(event, dict) and "selection" in event else {}


def download(
    data: pd.DataFrame | Callable[[], pd.DataFrame], *, key: str, file: str, label: str = "Data as CSV"
) -> None:
    """Show a tertiary button that downloads a table as CSV.

    If `data` is a function, it is called when the button is clicked.
    """
    st.download_button(
        label,
        lambda: csv_of(data() if callable(data) else data),
        file_name=file,
        mime="text/csv",
        key=key,
        type="tertiary",
        icon=":material/download:",
        on_click="ignore",
    )
