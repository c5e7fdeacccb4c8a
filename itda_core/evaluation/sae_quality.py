"""The report on an SAE: measured as dictionaries are, on the held-out tokens of the one that it stands beside."""

import time
from dataclasses import replace
from itertools import chain

from itda_core.evaluation.measures import Setting, measure_points
from itda_core.evaluation.sae_coder import SaeCoder
from itda_core.evaluation.site_activations import SiteActivations
from itda_core.jobs import Job
from itda_core.library import Library
from itda_core.quality import Quality, Series, write_quality
from itda_core.sae_records import SaeRecord, sae_folder
from itda_core.types import UserError

TOKENS = 4_000
"""Tokens that an SAE is measured on, to the end of a batch of windows."""


def measure_sae(
    library: Library, record: SaeRecord, coder: SaeCoder, activations: SiteActivations, job: Job, tokens: int = TOKENS
) -> Quality:
    """Measure an SAE and keep the report beside it.

    Args:
        library: the library.
        record: the SAE.
        coder: it, to encode and decode with.
        activations: of its site.
        job: told of progress.
        tokens: as many tokens at least, where there are so many.

    Raises:
        UserError: there is nothing to measure on.
    """
    start = time.perf_counter()
    batches = activations.measured(tokens)
    first = next(batches, None)
    if first is None:
        raise UserError(f"{record.dictionary} has no tokens to measure on: build it from more")
    job.stage(f"measuring {record.id}")
    found = measure_points([Setting(record.k or 0, coder)], chain([first], batches), job.advance)
    (point,) = found.points
    if record.kind != "topk":  # allows any number: the mean says how many there are
        point = replace(point, l0=round(point.measured["l0"].value))
    quality = Quality(
        id=record.id,
        tokens=found.tokens,
        documents=found.documents,
        ce_original=found.ce_original,
        ce_zero=found.ce_zero,
        series=(Series("sae", (point,)),),
        seconds=time.perf_counter() - start,
    )
    write_quality(quality, sae_folder(library, record.id))
    return quality
