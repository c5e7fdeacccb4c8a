"""Atom page: key figures and the histogram of activations."""

import streamlit as st

from app.charts import atoms
from app.format.text import count, number, share
from app.shell import widgets
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Atom, Index

_UNIT_WORDS = {
    ("relative", "none"): "as a share of its length squared",
    ("relative", "mean"): "as a share of its squared distance from the mean activation",
}


def show_figures(atom: Atom, record: DictionaryManifest) -> None:
    """Show the atom's key figures."""
    with st.grid(4, min_column_width=150):
        st.metric("Fires on", f"{count(atom.count)} tokens", border=True, help="Captured tokens with a coefficient")
        st.metric("Share of tokens", share(atom.density), border=True)
        st.metric(
            "Strongest",
            number(atom.strongest),
            border=True,
            help="Largest absolute coefficient. Atoms have length 1, so it is a length in the model's own units.",
        )
        st.metric(
            "Error when admitted",
            number(atom.admission_error),
            border=True,
            help="What the dictionary could not yet say of this activation when it came by, "
            + _UNIT_WORDS.get((record.settings.error, record.settings.center), "in the build's unit")
            + ". – for an atom that was taken without being judged by its error.",
        )


def show_histogram(atom: Atom, index: Index) -> None:
    """Show the histogram of the atom's coefficients."""
    bins = index.histogram(atom.atom)
    st.subheader(f"Coefficients, {share(atom.density)} of tokens")
    if bins.empty:
        st.caption("It never fires on the captured tokens.")
        return
    if atom.maximum == atom.minimum:
        st.text(f"Its coefficient is {number(atom.maximum)} wherever it fires.")
        return
    widgets.figure(
        atoms.histogram(bins),
        bins,
        key="histogram",
        alt=f"Histogram of the coefficients of atom {atom.atom}",
        file=f"atom-{atom.atom}-histogram.csv",
    )
