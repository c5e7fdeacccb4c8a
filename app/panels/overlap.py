"""Overlap of the sources of two dictionaries or two models.

Every page that reports an overlap shows these figures.
"""

import streamlit as st

from app.format.text import number


def show_iou(
    iou: float, interval: tuple[float, float] | None, chance: float | None, *, both: str, either: str, blind: str
) -> None:
    """Show the IoU, its interval and the IoU expected by chance, as three metrics.

    Args:
        iou: intersection over union of the sources.
        interval: its 95 % bootstrap interval over documents; None where it was not computed.
        chance: the IoU of random choices; None where it was not computed.
        both: who chose what is in the intersection, as the end of "the sources that …".
        either: who chose what is in the union.
        blind: the assumption behind the chance value, as the end of "Expected IoU if …".
    """
    st.metric(
        "Shared sources (IoU)",
        number(iou),
        border=True,
        help=f"Intersection over union: the sources that {both}, divided by those that {either}.",
    )
    st.metric(
        "95 % interval",
        "–" if interval is None else " to ".join(map(number, interval)),
        border=True,
        help="Bootstrap interval of the IoU over documents.",
    )
    st.metric("By chance", number(chance), border=True, help=f"Expected IoU if {blind}.")
