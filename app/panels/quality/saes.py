"""Quality page: sparse autoencoders (SAEs) of a dictionary's site.

For each: its training cost and its quality; and a button that trains one.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import streamlit as st

from app import resources
from app.components.token_strip import Row, Token, token_strip
from app.format.text import count, duration, inert
from app.panels import jobs
from app.panels.quality.points import Subject, own_point, shown
from app.resources import SaeRecord
from app.shell import urls
from app.state import pages
from itda_core.common.errors import UserError
from itda_core.common.options import settings_from
from itda_core.common.settings import SaeSettings
from itda_core.library.manifest import DictionaryManifest, InvalidDictionary
from itda_core.reports.quality import QUALITY_METRICS

KINDS = {"topk": "TopK", "standard": "ReLU"}
"""Kinds of SAEs that can be trained here, by their names in `itda sae --kind`."""
LISTED = ("ce_loss_score", "variance_explained", "dead")
"""Measures in the list."""
TRAIN = (
    "Trains a sparse autoencoder on the same activations, with as many latents as the dictionary has atoms and the "
    "same L0, and measures it. This takes much longer than building the dictionary."
)

Go = Callable[..., None]
"""Callback that changes the page's state, as `chooser.go` does."""


def known() -> dict[str, SaeRecord]:
    """Return the SAEs of the library that can be read, by id."""
    return {record.id: record for record in resources.saes() if isinstance(record, SaeRecord)}


def names(records: Iterable[SaeRecord], beside: DictionaryManifest | None) -> dict[str, str]:
    """Return unique display names of SAEs, by id.

    Beside a dictionary of the same site, the site is left out.
    """
    plain = {
        record.id: short(record)
        if beside is not None and record.is_of(beside)
        else f"{short(record)} · {record.model} · layer {record.site.layer} {record.site.hook}"
        for record in records
    }
    taken = Counter(plain.values())
    return {each: f"{name}, {each.rsplit('-', 1)[-1]}" if taken[name] > 1 else name for each, name in plain.items()}


def short(record: SaeRecord) -> str:
    """Return a name that distinguishes the SAEs of one site.

    SAEs that differ only in how they were trained may have the same one.
    """
    if record.release is not None:
        return f"SAE {record.release} {record.sae_id or ''}".rstrip()
    words = [
        f"{kind_of(record)} SAE",
        f"{count(record.width)} latents" + ("" if record.k is None else f", L0 {record.k}"),
        "" if record.tokens is None else f"{count(record.tokens)} tokens",
    ]
    return " · ".join(filter(None, words))


def kind_of(record: SaeRecord) -> str:
    """Return the display name of an SAE's kind."""
    return KINDS.get(record.kind, record.kind)


def trained(record: SaeRecord) -> str:
    """Return the training cost of an SAE, as text.

    It is not known for an SAE that was trained elsewhere.
    """
    if record.tokens is None or record.seconds is None:
        return "trained elsewhere"
    return f"trained on {count(record.tokens)} tokens for {duration(record.seconds)}"


def subject_of(record: SaeRecord, name: str, side: str = "b") -> Subject | None:
    """Return an SAE with its report; None where it has none.

    Raises DamagedError.
    """
    report = resources.sae_quality(record)
    return None if report is None else Subject(side, record.id, name, record.width, record.k, True, report)


def show_saes(dictionary: DictionaryManifest, now: pages.QualityState, saes: dict[str, SaeRecord], go: Go) -> None:
    """Show the SAEs of a dictionary's site, and a button that trains one.

    A click on an SAE adds it to the curves.
    """
    st.subheader(
        "Sparse autoencoders of the same site",
        help="Tokens (repeats included) and time of training. Click an SAE to compare it with the dictionary.",
    )
    here = [record for record in saes.values() if record.is_of(dictionary)]
    # The SAE chosen as B, and the one whose entry is open, are listed whatever their site.
    here += [saes[each] for each in dict.fromkeys((now.b, now.sae)) if each in saes and saes[each] not in here]
    called = names(saes.values(), dictionary)
    if here:
        columns = ["SAE", "tokens", "time", *(QUALITY_METRICS[name] for name in LISTED), ""]
        token_strip([row_of(each, called[each.id], now) for each in here], key="saes", columns=columns, style="table")
    else:
        st.text("There is no SAE of this site yet.")
    for each in resources.saes():
        if isinstance(each, InvalidDictionary):
            st.error(f"**{inert(each.id)}**: {inert(each.reason)}", icon=":material/broken_image:")
    if now.sae in saes:
        show_entry(saes[now.sae], called[now.sae])
    with st.container(width=420):
        st.session_state["quality_kind"] = now.sae_kind
        st.segmented_control(
            "Kind to train",
            pages.SAE_KINDS,
            format_func=KINDS.__getitem__,
            required=True,
            key="quality_kind",
            on_change=lambda: go(sae_kind=st.session_state["quality_kind"]),
        )
    settings = settings_from(SaeSettings, {"kind": now.sae_kind})
    if any((each.settings, each.dictionary) == (settings, dictionary.id) for each in here):
        st.text(
            f"This dictionary has a {KINDS[now.sae_kind]} SAE. The command itda sae trains others, or imports "
            "a pretrained one."
        )
        return
    jobs.offer_work(
        TRAIN,
        f"Train a {KINDS[now.sae_kind]} SAE",
        ":material/model_training:",
        ["sae", dictionary.id, "--kind", now.sae_kind],
        follow=False,
    )


def row_of(record: SaeRecord, name: str, now: pages.QualityState) -> Row:
    """Return an SAE as a row of the list."""
    try:
        subject = subject_of(record, name)
    except UserError:
        measured = ["damaged"] * len(LISTED)
    else:
        point = None if subject is None else own_point(subject.own, subject)
        measured = [
            "–" if point is None or each not in point.measured else shown(each, point.measured[each].value)
            for each in LISTED
        ]
    laid = pages.QualityState(now.a, record.id, now.measure)
    return Row(
        [Token(name)],
        [
            "–" if record.tokens is None else count(record.tokens),
            "–" if record.seconds is None else duration(record.seconds),
            *measured,
        ],
        href=urls.address(laid),
        sides="b" if record.id == now.b else "",
        is_current=record.id == now.b,
        links=[("details", urls.address(replace(now, sae=record.id)), "")],
    )


def show_entry(record: SaeRecord, name: str) -> None:
    """Show the details of one SAE."""
    with st.container(border=True, key="sae_entry"):
        row = Row([Token(name)], sides="b", is_sought=True)
        token_strip([row], key="sae_entry_name", style="links")
        st.table(entry_of(record), border="horizontal", width="content")


def entry_of(record: SaeRecord) -> dict[str, str]:
    """Return the contents of an SAE's manifest, as text by label."""
    settings = record.settings
    cells = {
        "Kind": kind_of(record),
        "From": "" if record.release is None else f"{record.release} {record.sae_id or ''}",
        "Latents": count(record.width),
        "L0": "" if record.k is None else f"{record.k}" + ("" if record.kind == "topk" else " on average (target)"),
        "Site": f"layer {record.site.layer} {record.site.hook} of {record.model}",
        "Corpus": record.corpus,
        "Training tokens": "" if record.tokens is None else count(record.tokens),
        "Distinct tokens": "" if record.distinct_tokens is None else count(record.distinct_tokens),
        "Training time": "" if record.seconds is None else duration(record.seconds),
        "Batch (tokens)": "" if settings is None else count(settings.batch),
        "Learning rate": "" if settings is None else f"{settings.lr:g}",
        "Created": f"{record.created[:16].replace('T', ' ')} UTC",
        "Versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
    }
    return {name: inert(value) for name, value in cells.items() if value}
