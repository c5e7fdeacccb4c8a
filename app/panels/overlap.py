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
        both: who chose what is in the intersection, as the end of "Sources that …".
        either: who chose what is in the union.
        blind: the assumption behind the chance value, as the end of "The IoU to expect if …".
    """
    st.metric(
        "Shared sources (IoU)",
        number(iou),
        border=True,
        help=f"Sources that {both}, of all that {either}: the intersection over the union.",
    )
    st.metric(
        "95 % interval",
        "–" if interval is None else " to ".join(map(number, interval)),
        border=True,
        help="How far the IoU depends on which documents were read: a bootstrap over documents.",
    )
    st.metric("By chance", number(chance), border=True, help=f"The IoU to expect if {blind}.")
