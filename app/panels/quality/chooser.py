"""Quality page: choice of an SAE to compare with, and what the URL names."""

import streamlit as st

from app import resources
from app.panels.quality import saes as sae_view
from app.resources import SaeRecord
from app.shell import chrome, urls
from app.state import pages
from itda_core.common.errors import DamagedError, UserError
from itda_core.library.manifest import DictionaryManifest

go = urls.Binding(pages.QualityState, "quality").go


def show_sae_choice(shown: pages.QualityState, saes: dict[str, SaeRecord]) -> None:
    """Show the choice of an SAE to compare with, where there is one of A's site."""
    a = next((record for record in chrome.sound_records() if record.id == shown.a), None)
    names = sae_view.names((each for each in saes.values() if a is not None and each.is_of(a)), a)
    if not names:
        return
    st.session_state["quality_sae"] = shown.b if shown.b in names else None
    st.selectbox(
        "Compare with an SAE",
        list(names),
        index=None,
        format_func=names.__getitem__,
        placeholder="none",
        key="quality_sae",
        on_change=lambda: go(b=st.session_state["quality_sae"] or "", sae="", lines=None),
        width=420,
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
