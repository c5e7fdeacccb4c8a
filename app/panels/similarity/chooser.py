"""Similarity page: choice of two models."""

import streamlit as st

from app.shell import chrome, urls
from app.state import pages
from itda_core.library.manifest import DictionaryManifest

go = urls.Binding(pages.SimilarityState, "similarity").go


def models() -> dict[str, DictionaryManifest]:
    """Return a dictionary of each model in the library, by the model's display name."""
    found: dict[tuple, DictionaryManifest] = {}
    for record in chrome.sound_records():
        found.setdefault(identity(record), record)
    names = [record.model for record in found.values()]
    return {record.model if names.count(record.model) == 1 else _long_name(record): record for record in found.values()}


def identity(record: DictionaryManifest) -> tuple:
    """Return the key that identifies one model, as captured on one corpus."""
    return record.model, record.weights_sha256, record.revision, record.corpus, record.site.hook, record.cut


def _long_name(record: DictionaryManifest) -> str:
    """Return a model's name with all that may distinguish it from its namesakes."""
    weights, revision = (record.weights_sha256 or "")[:8], (record.revision or "")[:8]
    cut = f"{record.cut.context} tokens, {record.cut.windows}" + (", first kept" if record.cut.keep_first else "")
    return " · ".join(filter(None, [record.model, record.site.hook, record.corpus, cut, weights, revision]))


def show_chooser(shown: pages.SimilarityState, found: dict[str, DictionaryManifest]) -> None:
    """Show the choice of two models.

    A is down the side of the heatmap, B along it.
    """
    by_identity = {identity(record): name for name, record in found.items()}
    records = {record.id: record for record in chrome.sound_records()}
    for column, side, now in zip(st.columns(2), ("a", "b"), (shown.a, shown.b), strict=True):
        key = f"similarity_{side}"
        st.session_state[key] = by_identity.get(identity(records[now])) if now in records else None

        def changed(side: str = side, key: str = key) -> None:
            chosen = st.session_state[key]
            go(**{side: found[chosen].id if chosen else "", "layer": None, "other": None})

        column.selectbox(
            f"Model {side.upper()}", list(found), index=None, placeholder="choose a model", key=key, on_change=changed
        )
