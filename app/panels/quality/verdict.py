"""Quality page: verdicts and key figures.

They show whether a dictionary is better than random atoms, and how two subjects compare.
"""

import streamlit as st

from app.format.text import count, inert, number
from app.panels.quality.points import (
    RANDOM,
    Subject,
    are_alike_measured,
    interval,
    leads_text,
    own_point,
    setting,
    shown,
    verdict,
)
from itda_core.reports.quality import QUALITY_METRICS, Point, paired_differences

MEASURE_HELP = {
    "ce_loss_score": "Share of the model’s loss that the reconstructions recover: 1 with its own activations, 0 with "
    "zeros in their place. Larger is better.",
    "variance_explained": "Share of the activations’ variance that the reconstructions explain. Larger is better.",
    "relative_error": "Squared error divided by the activation’s squared norm, mean over tokens. Smaller is better.",
    "ce_loss": "Next-token cross-entropy of the model on the reconstructions, in nats per token. Smaller is better.",
    "kl": "KL divergence between the predictions of the unchanged model and those on the reconstructions, in nats per "
    "token. Smaller is better.",
    "l0": "Non-zero coefficients, mean over tokens; fewer than the pursuit steps where an atom is selected twice.",
    "density": "Share of tokens on which a latent is active, geometric mean over the latents that are active at all.",
    "dead": "Share of latents that are active on none of the measured tokens; it falls with more tokens. Smaller is "
    "better.",
    "negative": "Share of coefficients that are negative, which subtract the atom.",
    "large_negative": "Share of coefficients below minus a quarter of the activation’s norm.",
}
"""Explanation of each measure, in a sentence or two."""
INTERVALS = (
    "Random atoms are as many activations of the same text, drawn at random. Intervals are 95 % bootstrap intervals "
    "over documents. Better and worse mean that the interval of the paired difference excludes 0."
)
"""Explanation of the baseline, the intervals and the verdicts."""
FIGURES = ("ce_loss_score", "variance_explained", "relative_error", "dead")
"""Measures that are shown above the curves."""


def show_answer(subject: Subject, is_alone: bool) -> None:
    """Show whether a side is better than random atoms, and its key figures.

    The figures are those of the side as it was built, each beside that of random atoms.
    """
    own = own_point(subject.own, subject)
    if own is None:
        st.text("The report has no point of its own: delete its quality.json and measure again.")
        return
    random = own_point(subject.series(RANDOM), subject)
    if random is not None and (random.latents, random.l0) != (own.latents, own.l0):
        random = None  # another setting would not be comparable
    if random is not None and not subject.quality.is_seen:
        clause = "these atoms are" if is_alone else f"{subject.side.upper()}’s atoms are"
        ahead = paired_differences(own, subject.quality, random, subject.quality)
        st.subheader(inert(verdict(ahead, clause, "equally many random atoms")))
        st.caption(inert(leads_text(ahead, clause)))
    is_exact = subject.is_sae or (own.latents, own.l0) == (subject.latents, subject.l0)
    at = "With" if is_exact else "Nearest measured setting:"
    st.caption(f"{at} {setting(own, 'latents' if subject.is_sae else 'atoms')}")
    with st.grid(len(FIGURES), min_column_width=165) as grid:
        for name in FIGURES:
            if name in own.measured:
                with grid.cell():
                    show_figure(name, own, random)


def show_figure(name: str, own: Point, random: Point | None) -> None:
    """Show one key figure with its interval, and that of random atoms."""
    measured, words = own.measured[name], QUALITY_METRICS[name]
    with st.container(border=True, gap="xsmall", height="stretch"):
        st.metric(words[0].upper() + words[1:], shown(name, measured.value), help=MEASURE_HELP[name])
        st.caption(interval(name, measured))
        if random is not None and name in random.measured:
            other = random.measured[name]
            st.caption(f"Random atoms: {shown(name, other.value)}  \n{interval(name, other)}")


def show_between(a: Subject, b: Subject) -> None:
    """Show how A and B compare as they were built, if their values are comparable."""
    one, other = own_point(a.own, a), own_point(b.own, b)
    if one is None or other is None:
        return
    if a.quality.is_seen or b.quality.is_seen:
        return
    if are_alike_measured(a.quality, b.quality):
        ahead = paired_differences(one, a.quality, other, b.quality)
        st.subheader(inert(verdict(ahead, "A is", "B")))
        settings = [setting(point, "latents" if each.is_sae else "atoms") for each, point in ((a, one), (b, other))]
        is_equal = (one.latents, one.l0) == (other.latents, other.l0)
        difference = "" if is_equal else " They differ in size or L0: compare the curves where they are equal."
        st.caption(inert(f"A with {settings[0]}, B with {settings[1]}. {leads_text(ahead, 'A is')}{difference}"))
    else:
        st.caption(
            "A and B were measured on different predictions: their scores are only roughly comparable, their losses "
            "not at all."
        )


def show_basis(subjects: list[Subject]) -> None:
    """Show the data on which everything was measured."""
    bases = [basis_of(subject) for subject in subjects]
    if len(set(bases)) == 1:
        st.caption(inert(f"Measured {bases[0]}"), help=INTERVALS)
    else:
        for subject, words in zip(subjects, bases, strict=True):
            st.caption(inert(f"{subject.side.upper()} is measured {words}"), help=INTERVALS)


def basis_of(subject: Subject) -> str:
    """Return the data on which one side was measured, as text."""
    quality = subject.quality
    on = f"on {count(quality.tokens)} tokens of {count(quality.documents)} documents"
    if quality.is_seen:
        on += ", from which the dictionary was built: the figures are optimistic and not compared"
    if quality.ce_original is None or quality.ce_zero is None:
        reason = "makes no predictions" if quality.with_model else "could not be run"
        return f"{on}. The model {reason}, so there are no losses."
    return (
        f"{on}. The unchanged model’s loss is {number(quality.ce_original)} nats per token, and "
        f"{number(quality.ce_zero)} with zeros in place of the activations."
    )
