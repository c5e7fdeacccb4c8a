"""Quality page: choice of a dictionary, and of one to compare it with."""

import streamlit as st

from app import resources
from app.panels.quality import saes as sae_view
from app.resources import SaeRecord
from app.shell import chrome, urls
from app.state import pages
from itda_core.common.errors import DamagedError, UserError
from itda_core.library.manifest import DictionaryManifest

go = urls.Binding(pages.QualityState, "quality").go


def show_chooser(shown: pages.QualityState, saes: dict[str, SaeRecord]) -> None:
    """Show the choice of a dictionary, and of a second one or an SAE to compare."""
    names = chrome.dictionary_names()
    a = next((record for record in chrome.sound_records() if record.id == shown.a), None)
    others = names | sae_view.names(saes.values(), a)
    for column, side, now, label in zip(
        st.columns(2),
        ("a", "b"),
        (shown.a, shown.b),
        ("Dictionary A", "Compare with B (or an SAE)"),
        strict=True,
    ):
        choices = names if side == "a" else others
        key = f"quality_{side}"
        st.session_state[key] = now if now in choices else None

        def changed(side: str = side, key: str = key) -> None:
            go(**{side: st.session_state[key] or "", "sae": "", "lines": None})

        with column:
            st.selectbox(
                label,
                list(choices),
                index=None,
                format_func=choices.__getitem__,
                placeholder="choose a dictionary" if side == "a" else "none",
                key=key,
                on_change=changed,
            )


def record_of(chosen: str, saes: dict[str, SaeRecord]) -> DictionaryManifest | SaeRecord:
    """Return the dictionary or SAE with an id.

    Raises UserError, which lists the existing ones, for an unknown id.
    """
    try:
        return saes[chosen] if chosen in saes else resources.library().record(chosen)
    except DamagedError:
        raise
    except UserError as error:
        if not saes:
            raise
        raise UserError(f"{error}; and these SAEs: {', '.join(list(saes)[:10])}") from error
