"""Measure a dictionary, cropped to several sizes and at several L0.

A baseline of random atoms is measured beside it.
"""

import time

from itda_core.common.disk_errors import writing
from itda_core.common.errors import DamagedError
from itda_core.common.layout import ATOMS_FILE
from itda_core.common.settings import MeasureSettings
from itda_core.dictionary.dictionary import Dictionary
from itda_core.evaluation.coders import DictionaryCoder
from itda_core.evaluation.held_out import SiteTokens, may_run, open_tokens, random_dictionary
from itda_core.evaluation.metrics import Measurement, Setting, measure_points
from itda_core.jobs.job import Job
from itda_core.jobs.locks import build_lock
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.reports.quality import Quality, Series, dictionary_quality, write_quality

_STAGES = {"itda": "measuring its atoms", "random": "measuring random atoms"}


def measure(library: Library, dictionary_id: str, job: Job, settings: MeasureSettings | None = None) -> Quality:
    """Measure a dictionary on held-out tokens and store the report beside it.

    A stored report of the same settings is reused. The sizes are the first atoms in order of admission; the baseline
    has as many atoms, sampled at random from the tokens that the dictionary was built from. The dictionary's own L0
    is always among those measured. A damaged report, or one of other settings, is replaced; so is one made without
    the model if the model now seems to be on this machine. If it is not, and activations are stored, only
    reconstruction is measured.

    Args:
        library: the dictionary's library.
        dictionary_id: id of the dictionary.
        job: receives progress.
        settings: evaluation settings; the defaults if None.

    Raises:
        UserError: there is no such dictionary, neither its model nor its activations are available, or the report
            cannot be written.
    """
    settings = settings or MeasureSettings()
    record = library.record(dictionary_id)
    with build_lock(library.root, f"measure-{record.id}"):
        found = _kept(library, record, job)
        if found is not None and found.settings == settings and (found.with_model or not may_run(library, record)):
            return found
        made = _measure(library, record, job, settings)
        folder = library.folder(record.id)
        with writing(folder):
            write_quality(made, folder)
    return made


def _kept(library: Library, record: DictionaryManifest, job: Job) -> Quality | None:
    try:
        return dictionary_quality(library, record)
    except DamagedError as error:
        job.say(f"measuring anew: {error}")
        return None


def _measure(library: Library, record: DictionaryManifest, job: Job, settings: MeasureSettings) -> Quality:
    started = time.perf_counter()
    tokens = open_tokens(library, record, job)
    dictionary = Dictionary.load(library.folder(record.id))
    job.stage("drawing random atoms")
    drawn = random_dictionary(tokens, record, settings.seed, dictionary.mean if dictionary.is_centered else None)
    dictionaries = {"itda": dictionary, "random": drawn}
    found = {name: _points(name, of, tokens, record, settings, job) for name, of in dictionaries.items()}
    own = found["itda"]
    return Quality(
        id=record.id,
        tokens=own.tokens,
        documents=own.documents,
        ce_original=own.ce_original,
        ce_zero=own.ce_zero,
        with_model=tokens.with_model,
        is_seen=tokens.is_seen,
        sources=own.sources,
        by_document=own.by_document,
        series=tuple(Series(name, measured.points) for name, measured in found.items()),
        seconds=time.perf_counter() - started,
        of_sha256=record.files[ATOMS_FILE],
        settings=settings,
    )


def _points(
    name: str,
    dictionary: Dictionary,
    tokens: SiteTokens,
    record: DictionaryManifest,
    settings: MeasureSettings,
    job: Job,
) -> Measurement:
    """Measure one series of points.

    The model is run again for each series: every size has a Gram matrix, so with one series at a time only half of
    them are in memory.
    """
    sizes = sorted({max(1, round(share * len(dictionary))) for share in settings.shares})
    l0s = sorted({*settings.l0s, record.settings.l0})
    coders = [Setting(l0, DictionaryCoder(cropped, l0)) for cropped in map(dictionary.crop, sizes) for l0 in l0s]
    is_other_text = not record.holdout and not tokens.is_seen  # of which any number of tokens may exist
    job.stage(_STAGES[name], settings.tokens if is_other_text else min(settings.tokens, record.measured_tokens))
    return measure_points(coders, tokens.held_out(settings.tokens), job.advance)
