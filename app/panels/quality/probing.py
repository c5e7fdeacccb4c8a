"""Quality page: the report on probes.

It measures how much single atoms predict of a token's properties.
"""

from collections.abc import Callable, Mapping

import pandas as pd
import streamlit as st

from app import resources
from app.charts import probing
from app.components.token_strip import Row, Token, token_strip
from app.format.text import count, inert, share, signed
from app.panels import jobs
from app.shell import chrome, urls, widgets
from itda_core.common.errors import UserError
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Index
from itda_core.reports.probing import ITDA, SAE, Probe, ProbedProperty, Probing, Score
from itda_core.reports.properties import property_of

ALL = "all"
"""Text of k where a probe reads all latents."""
_METHOD = (
    "A logistic regression predicts a property of a token (in code? a number?) from the k latents that differ most "
    "between tokens with and without it. High accuracy at small k means that single latents represent such properties."
)


Go = Callable[..., None]
"""Callback that changes the page's state, as `chooser.go` does."""


def show_probing(record: DictionaryManifest, chosen: str, go: Go, saes: Mapping[str, str]) -> None:
    """Show the probing results of a dictionary, or the button that computes them.

    Args:
        record: the dictionary.
        chosen: name of the property; empty for the average of all of them.
        go: called with `probed` where another one is chosen.
        saes: names of the SAEs of its site, by id.
    """
    st.subheader("Sparse probing", help=_METHOD)
    try:
        report = resources.probing(record)
    except UserError as error:  # the rest of the page is not affected
        chrome.show_error(error, icon=":material/broken_image:")
        return
    if report is None:
        jobs.offer_work(
            "Measured once, on text that the dictionary was not built from, and stored.",
            "Probe this dictionary",
            ":material/troubleshoot:",
            ["probe", record.id],
            follow=False,
        )
        return
    found = next((each for each in report.properties if each.name == chosen), None)
    if chosen and found is None:
        known = ", ".join(each.name for each in report.properties)
        chrome.show_error(UserError(f"property {chosen!r} was not probed; probed were: {known}"))
    _choose(report, found, go)
    coders = {each.name: saes.get(each.name.removeprefix(SAE), each.words) for each in report.coders}
    if found is None:
        _show_mean(record, report, coders)
    else:
        _show_property(record, report, found, coders)
    st.caption(_reading_notes(report))
    _show_table(record, report, coders)
    probed = {each.name for each in report.coders}
    if missing := [name for sae, name in saes.items() if SAE + sae not in probed]:
        jobs.offer_work(
            f"Not in this report: {', '.join(missing)}. SAEs that cannot be read are left out; the job’s log has the "
            "reason.",
            "Probe again",
            ":material/troubleshoot:",
            ["probe", record.id],
            follow=False,
        )


def _choose(report: Probing, found: ProbedProperty | None, go: Go) -> None:
    """Show the choice of property, which is stored in the URL."""
    words = {"": "all, on average"} | {each.name: property_of(each.name).words for each in report.properties}
    st.session_state["quality_probed"] = "" if found is None else found.name
    st.pills(
        "Property of a token",
        list(words),
        format_func=lambda name: inert(words[name]),
        required=True,
        key="quality_probed",
        on_change=lambda: go(probed=st.session_state["quality_probed"]),
    )


def points_of(words: str, scores: tuple[Score, ...], report: Probing) -> pd.DataFrame:
    """Return scores as a table, in the order of the report's coders, then of k.

    Columns: property (by its display name), coder, k (as text), accuracy, low, high, the lead over the atoms with its
    ends; and, of single probes only: AUC, precision, recall, latents.
    """
    order = [each.name for each in report.coders]
    rows = []
    for score in sorted(scores, key=lambda score: order.index(score.coder)):  # stable: k stays in order
        accuracy, lead = score.accuracy, score.lead
        row = {"property": words, "coder": score.coder, "k": ALL if score.k is None else str(score.k)}
        row |= {"accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high}
        row |= dict(zip(("lead over atoms", "lead low", "lead high"), lead or (None,) * 3, strict=True))
        if isinstance(score, Probe):
            row |= {"AUC": score.auc, "precision": score.precision, "recall": score.recall}
            row["latents"] = " ".join(map(str, score.latents))
        rows.append(row)
    return pd.DataFrame(rows)


def _show_lines(
    record: DictionaryManifest, points: pd.DataFrame, name: str, words: str, coders: Mapping[str, str]
) -> None:
    """Show accuracy against the number of latents, one line per coder."""
    widgets.figure(
        probing.probe_lines(points, list(coders.items())),
        points,
        key=f"probing_of_{name}",
        alt=f"Balanced accuracy against the number of latents, {words}; the download has the numbers",
        file=f"{record.id}-probing-{name.replace(':', '-')}.csv",
    )


def _show_mean(record: DictionaryManifest, report: Probing, coders: Mapping[str, str]) -> None:
    st.caption(f"The mean over {len(report.properties)} properties.")
    _show_lines(record, points_of("mean", report.means, report), "mean", "mean of all properties", coders)
    if report.left_out:
        reasons = (f"{property_of(name).words} ({reason})" for name, reason in report.left_out.items())
        st.caption(inert(f"Left out: {'; '.join(reasons)}."))


def _show_property(
    record: DictionaryManifest, report: Probing, found: ProbedProperty, coders: Mapping[str, str]
) -> None:
    about = property_of(found.name)
    st.caption(
        inert(
            f"{about.definition} {count(found.tokens)} of {count(report.tokens)} tokens have it, in "
            f"{count(found.documents)} documents. Baselines without the model: {found.by_token:.2f} from the token’s "
            f"identity, {found.by_position:.2f} from its position."
        )
    )
    _show_lines(record, points_of(about.words, found.probes, report), found.name, about.words, coders)
    best = next((probe for probe in found.probes if (probe.coder, probe.k) == (ITDA, 1)), None)
    if best is not None:
        _show_atom(record, best, found, report)


def _reading_notes(report: Probing) -> str:
    """Return the explanation of the lines, and of the data behind them."""
    atoms = next(each for each in report.coders if each.name == ITDA)
    return inert(
        "Balanced accuracy is the mean of the shares of tokens with and without the property that are classified "
        "correctly; chance is 0.5 (dotted). Probes were trained on "
        f"{count(report.tokens - report.test_tokens)} tokens and tested on {count(report.test_tokens)} of "
        f"{count(report.test_documents)} other documents; bars are 95 % intervals over these. An atom is active on "
        f"{share(atoms.active / max(1, atoms.latents))} of the tokens on average; dimensions of the model and random "
        "directions have a value at every token. Random atoms and random directions are as many as the atoms."
    )


def _show_atom(record: DictionaryManifest, probe: Probe, found: ProbedProperty, report: Probing) -> None:
    """Show the atom that the probe of one atom reads.

    It has its source, a link to it, and the sign of its coefficient.
    """
    (number_,) = probe.latents
    way = "larger" if probe.signs[0] > 0 else "smaller"
    st.text(f"The atom that differs most with this property: its coefficient is {way} on tokens that have it.")
    token_strip([_source(record, resources.index(record.id), number_)], key=f"probing_atom_{found.name}")
    if probe.precision is None:
        st.caption("A probe on it alone never predicts this property.")
        return
    st.caption(
        inert(
            f"A probe on it alone has a precision of {share(probe.precision)} "
            f"({share(found.test_tokens / report.test_tokens)} of all tokens have the property) and a recall of "
            f"{share(probe.recall)}."
        )
    )


def _source(record: DictionaryManifest, index: Index, number_: int) -> Row:
    atom = index.atom(number_)
    tokens = [Token(atom.before), Token(atom.label, is_centre=True), Token(atom.after)]
    note = f"{atom.document_name}, token {atom.position}"
    return Row(tokens, href=urls.atom_address(record.id, number_), lead=str(number_), note=note)


def _show_table(record: DictionaryManifest, report: Probing, coders: Mapping[str, str]) -> None:
    """Show every accuracy, a row for each property and coder.

    All that is known of each probe can be downloaded as CSV.
    """
    ks = [ALL if k is None else str(k) for k in _ks(report)]
    parts_ = [("mean", report.means), *((property_of(each.name).words, each.probes) for each in report.properties)]
    rows = []
    for words, scores in parts_:
        for coder, named in coders.items():
            by_k = {score.k: score.accuracy.value for score in scores if score.coder == coder}
            columns = {f"k = {k}": by_k.get(None if k == ALL else int(k)) for k in ks}
            rows.append({"property": words, "latents": named, **columns})
    with st.expander("All accuracies", type="compact"):
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            column_config={f"k = {k}": st.column_config.NumberColumn(format="%.3f") for k in ks},
        )
        st.caption(inert(_leads(report, coders)))
        widgets.download(
            lambda: pd.concat([points_of(words, scores, report) for words, scores in parts_], ignore_index=True),
            key="probing_csv",
            file=f"{record.id}-probing.csv",
        )


def _ks(report: Probing) -> list[int | None]:
    """Return the numbers of latents that were read, in order."""
    return list(dict.fromkeys(score.k for score in report.means))


def _leads(report: Probing, words: Mapping[str, str]) -> str:
    """Return the mean lead of the others over the atoms, for each number of latents."""
    parts = []
    for k in _ks(report):
        leads = [
            f"{words[score.coder]} {signed(score.lead.value, 2)} ({signed(score.lead.low, 2)} to "
            f"{signed(score.lead.high, 2)})"
            for score in report.means
            if score.k == k and score.lead is not None
        ]
        parts += [f"{'all' if k is None else f'k = {k}'}: {', '.join(leads)}"] if leads else []
    return (
        "Lead in balanced accuracy over the dictionary's atoms, mean of the properties, with 95 % intervals. "
        f"{'; '.join(parts)}."
    )
