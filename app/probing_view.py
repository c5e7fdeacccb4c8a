"""How much single atoms tell of a token: the report on probes, for the page on how good a dictionary is."""

import pandas as pd
import streamlit as st

from app import jobs_view, parts, probing_figures, resources
from app.components.token_strip import Row, Token, token_strip
from app.text import count, inert, share, signed
from itda_core.evaluation.labels import property_of
from itda_core.library import DictionaryRecord
from itda_core.probing_results import ITDA, Probe, ProbedProperty, Probing, Score
from itda_core.queries import Index
from itda_core.types import DamagedError

ALL = "all"
"""How k is written where a probe reads all latents."""
_WHAT = (
    "Take what can be read off the text itself (is this token in code? a number?), and predict it from a few latents "
    "alone: the k that differ most between tokens of both kinds, put together by a logistic regression. "
    "The higher the line at small k, the more single latents mean something that has a name."
)


def show_probing(record: DictionaryRecord) -> None:
    """What probes found of a dictionary; where there is no report yet, the way to it."""
    st.subheader("What do single atoms tell?")
    st.caption(_WHAT)
    try:
        report = resources.probing(record)
    except DamagedError as error:  # the rest of the page is sound
        parts.show_error(error, icon=":material/broken_image:")
        return
    if report is None:
        jobs_view.offer_work(
            "This is measured once, on text that the dictionary was not built from, and kept.",
            "Probe this dictionary",
            ":material/troubleshoot:",
            ["probe", record.id],
            follow=False,
        )
        return
    shown = [(each.name, each.words) for each in report.coders]
    points = points_of("mean", report.means, report)
    parts.figure(
        probing_figures.probe_lines(points, shown, is_large=True),
        points,
        key="probing_mean",
        alt="Balanced accuracy against the number of latents, mean of all properties; the download has the numbers",
        file=f"{record.id}-probing-mean.csv",
    )
    st.caption(inert(_about(report)))
    with st.grid(2, min_column_width=340):
        for each in report.properties:
            with st.container(border=True):
                _show_property(record, report, each, shown)
    if report.left_out:
        said = (f"{property_of(name).words} ({why})" for name, why in report.left_out.items())
        st.caption(inert(f"Left out: {'; '.join(said)}."))
    _show_table(record, report)


def points_of(words: str, scores: tuple[Score, ...], report: Probing) -> pd.DataFrame:
    """Scores as a table, in the order of the report's coders, and of k in each.

    Columns: property (as named), coder, k (as text), accuracy, low, high, the lead over the atoms with its ends; and
    what there is of single probes only: AUC, precision, recall, latents.
    """
    order = [each.name for each in report.coders]
    rows = []
    for score in sorted(scores, key=lambda score: order.index(score.coder)):  # stable
        accuracy, lead = score.accuracy, score.lead
        row = {"property": words, "coder": score.coder, "k": ALL if score.k is None else str(score.k)}
        row |= {"accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high}
        row |= dict(zip(("lead over atoms", "lead low", "lead high"), lead or (None,) * 3, strict=True))
        if isinstance(score, Probe):
            row |= {"AUC": score.auc, "precision": score.precision, "recall": score.recall}
            row["latents"] = " ".join(map(str, score.latents))
        rows.append(row)
    return pd.DataFrame(rows)


def _about(report: Probing) -> str:
    """What the lines are, and what they rest on."""
    atoms = next(each for each in report.coders if each.name == ITDA)
    return (
        f"The mean over {len(report.properties)} properties. Balanced accuracy is the mean of the share of tokens with "
        "a property, and of those without it, that are told right; 0.5 (dotted) is what a guess has. Probes were "
        f"trained on {count(report.tokens - report.test_tokens)} tokens and tested on {count(report.test_tokens)} of "
        f"{count(report.test_documents)} other documents; bars are 95 % intervals over these. An atom is active on "
        f"{share(atoms.active / max(1, atoms.latents))} of the tokens on average, and what is never active on a token "
        "can tell nothing of it; a dimension of the model, and a random direction, is never silent, and has no source "
        "to read. Random atoms are as many activations drawn by lot; random directions are as many, and all of them "
        "together tell what the model's dimensions tell, so they have no last point."
    )


def _show_property(
    record: DictionaryRecord, report: Probing, found: ProbedProperty, shown: list[tuple[str, str]]
) -> None:
    about = property_of(found.name)
    st.markdown(f"**{inert(about.words[:1].upper() + about.words[1:])}**")
    st.caption(
        inert(
            f"{about.said} {count(found.tokens)} of {count(report.tokens)} tokens have it, in "
            f"{count(found.documents)} documents. Without the model, knowing which token it is gives "
            f"{found.by_token:.2f}, and its position alone {found.by_position:.2f}."
        )
    )
    points = points_of(about.words, found.probes, report)
    parts.figure(
        probing_figures.probe_lines(points, shown),
        points,
        key=f"probing_of_{found.name}",
        alt=f"Balanced accuracy for {about.words} against the number of latents; the download has the numbers",
        file=f"{record.id}-probing-{found.name.replace(':', '-')}.csv",
    )
    best = next((probe for probe in found.probes if (probe.coder, probe.k) == (ITDA, 1)), None)
    if best is not None:
        _show_atom(record, best, found, report)


def _show_atom(record: DictionaryRecord, probe: Probe, found: ProbedProperty, report: Probing) -> None:
    """The atom that the probe of one atom reads: its source, a link to it, and what its coefficient says."""
    (number_,) = probe.latents
    way = "larger" if probe.signs[0] > 0 else "smaller"
    st.text(f"The atom that tells most on its own; its coefficient is {way} on these tokens. Its source:")
    token_strip([_source(record, resources.index(record.id), number_)], key=f"probing_atom_{found.name}")
    if probe.precision is None:
        st.caption("A probe on it alone says of no token that it has the property.")
        return
    st.caption(
        inert(
            f"Where a probe on it alone says yes, that is right for {share(probe.precision)}, against "
            f"{share(found.test_tokens / report.test_tokens)} of all tokens; it says so of {share(probe.recall)} of "
            "the tokens that have the property."
        )
    )


def _source(record: DictionaryRecord, index: Index, number_: int) -> Row:
    atom = index.atom(number_)
    tokens = [Token(atom.before), Token(atom.label, is_centre=True), Token(atom.after)]
    note = f"{atom.document_name}, token {atom.position}"
    return Row(tokens, href=parts.atom_address(record.id, number_), lead=str(number_), note=note)


def _show_table(record: DictionaryRecord, report: Probing) -> None:
    """Every accuracy, a line for each property and coder, with all that there is of each probe as CSV."""
    ks = [ALL if k is None else str(k) for k in _ks(report)]
    parts_ = [("mean", report.means), *((property_of(each.name).words, each.probes) for each in report.properties)]
    rows = []
    for words, scores in parts_:
        for coder in report.coders:
            told = {score.k: score.accuracy.value for score in scores if score.coder == coder.name}
            columns = {f"k = {k}": told.get(None if k == ALL else int(k)) for k in ks}
            rows.append({"property": words, "latents": coder.words, **columns})
    with st.expander("All accuracies", type="compact"):
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            column_config={f"k = {k}": st.column_config.NumberColumn(format="%.3f") for k in ks},
        )
        st.caption(inert(_leads(report)))
        parts.download(
            lambda: pd.concat([points_of(words, scores, report) for words, scores in parts_], ignore_index=True),
            key="probing_csv",
            file=f"{record.id}-probing.csv",
        )


def _ks(report: Probing) -> list[int | None]:
    """Numbers of latents that were read, in order."""
    return list(dict.fromkeys(score.k for score in report.means))


def _leads(report: Probing) -> str:
    """By how much the others are ahead of the atoms on average, for each number of latents."""
    words = {each.name: each.words for each in report.coders}
    said = []
    for k in _ks(report):
        leads = [
            f"{words[score.coder]} {signed(score.lead.value, 2)} ({signed(score.lead.low, 2)} to "
            f"{signed(score.lead.high, 2)})"
            for score in report.means
            if score.k == k and score.lead is not None
        ]
        said += [f"{'all' if k is None else f'k = {k}'}: {', '.join(leads)}"] if leads else []
    return f"Against the atoms, on average over the properties, with 95 % intervals. {'; '.join(said)}."
