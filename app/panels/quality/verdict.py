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

SAID = {
    "ce_loss_score": "How well the model predicts when it runs on the reconstructions: 1 is as well as on its own "
    "activations, 0 is no better than with zeros in their place. Larger is better.",
    "variance_explained": "The share of the activations’ variance that the reconstructions explain. Larger is "
    "better, 1 at most.",
    "relative_error": "The squared error as a share of the activation’s squared length, mean over tokens. Smaller is "
    "better.",
    "ce_loss": "The model’s next-token cross-entropy when it runs on the reconstructions, in nats a token. "
    "Smaller is better.",
    "kl": "How far the predictions move away from those of the unchanged model when it runs on the reconstructions, "
    "in nats a token. Smaller is better.",
    "l0": "Coefficients that are not 0, mean over tokens. It is below the pursuit steps where an atom is picked twice.",
    "density": "The share of tokens that a latent is active on, of those latents that are active at all; the mean is "
    "geometric, as a few are active nearly everywhere.",
    "dead": "The share of latents that are active on none of the measured tokens. Smaller is better, and it falls with "
    "the number of tokens that are measured.",
    "negative": "The share of coefficients below zero: the atom is taken away rather than added.",
    "large_negative": "The share of coefficients below zero by more than a quarter of the activation’s length.",
}
"""Explanation of each measure, in a sentence or two."""
FIGURES = ("ce_loss_score", "variance_explained", "relative_error", "dead")
"""Measures that are shown above the curves."""


def show_answer(subject: Subject, is_alone: bool) -> None:
    """Show whether a side is better than random atoms, and its key figures.

    The figures are those of the side as it was built, each beside that of random atoms.
    """
    own = own_point(subject.own, subject)
    if own is None:
        st.text("Its report has no point of its own: delete its quality.json and measure again.")
        return
    random = own_point(subject.series(RANDOM), subject)
    if random is not None and (random.latents, random.l0) != (own.latents, own.l0):
        random = None  # another setting would not be comparable
    if random is not None and not subject.quality.is_seen:
        who = "these atoms are" if is_alone else f"{subject.side.upper()}’s atoms are"
        ahead = paired_differences(own, subject.quality, random, subject.quality)
        st.subheader(inert(verdict(ahead, who, "equally many random atoms")))
        st.caption(inert(leads_text(ahead, who)))
    is_exact = subject.is_sae or (own.latents, own.l0) == (subject.latents, subject.l0)
    at = "With" if is_exact else "Nearest to how it was built: with"
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
        st.metric(words[0].upper() + words[1:], shown(name, measured.value), help=SAID[name])
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
        unlike = "" if is_equal else " They differ in size or L0: compare the curves where they are equal."
        st.caption(inert(f"A with {settings[0]}, B with {settings[1]}. {leads_text(ahead, 'A is')}{unlike}"))
    else:
        st.caption(
            "A and B were not measured on the same predictions of one model. Compare their scores only roughly, and do "
            "not compare their losses."
        )


def show_basis(subjects: list[Subject]) -> None:
    """Show the data on which everything was measured."""
    bases = [basis_of(subject) for subject in subjects]
    if len(set(bases)) == 1:
        st.caption(inert(f"Measured {bases[0]}"))
    else:
        for subject, words in zip(subjects, bases, strict=True):
            st.caption(inert(f"{subject.side.upper()} is measured {words}"))
    st.caption(
        "Random atoms are as many activations of the same text, drawn at random. 95 % intervals show how much a value "
        "depends on which documents were read. Better and worse are told by the interval of the difference, "
        "with the same documents drawn for both: it is surer than two intervals side by side, which may still overlap."
    )


def basis_of(subject: Subject) -> str:
    """Return the data on which one side was measured, as text."""
    quality = subject.quality
    on = f"on {count(quality.tokens)} tokens of {count(quality.documents)} documents"
    if quality.is_seen:
        on += (
            ", from which the dictionary was built: nothing was held out, so the figures flatter, and nothing is judged"
        )
    if quality.ce_original is None or quality.ce_zero is None:
        why = "makes no predictions" if quality.with_model else "could not be run"
        return f"{on}. The model {why}, so there are no losses."
    return (
        f"{on}. There the unchanged model’s loss is {number(quality.ce_original)} nats a token, and "
        f"{number(quality.ce_zero)} with zeros in place of these activations."
    )
