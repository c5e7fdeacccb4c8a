"""Measure an SAE like a dictionary, on the held-out tokens of its dictionary."""

import time
from dataclasses import replace

from itda_core.common.disk_errors import writing
from itda_core.common.settings import MeasureSettings
from itda_core.evaluation.held_out import SiteTokens
from itda_core.evaluation.metrics import Setting, measure_points
from itda_core.evaluation.sae.coder import SaeCoder
from itda_core.jobs.job import Job
from itda_core.library.library import Library
from itda_core.reports.quality import Quality, Series, write_quality
from itda_core.reports.sae import WEIGHTS_FILE, SaeRecord, sae_folder


def measure_sae(library: Library, record: SaeRecord, coder: SaeCoder, tokens: SiteTokens, job: Job) -> Quality:
    """Measure an SAE on as many tokens as a dictionary and store the report.

    Args:
        library: the library.
        record: the SAE's record.
        coder: the SAE, to encode and decode with.
        tokens: tokens of its site.
        job: receives progress.

    Raises:
        UserError: there is nothing to measure on, or the report cannot be written.
    """
    start = time.perf_counter()
    settings = MeasureSettings()
    job.stage(f"measuring {record.id}")
    found = measure_points([Setting(record.k or 0, coder)], tokens.held_out(settings.tokens), job.advance)
    (point,) = found.points
    if record.kind != "topk":  # allows any number: the mean is used
        point = replace(point, l0=round(point.measured["l0"].value))
    quality = Quality(
        id=record.id,
        tokens=found.tokens,
        documents=found.documents,
        ce_original=found.ce_original,
        ce_zero=found.ce_zero,
        with_model=tokens.with_model,
        is_seen=tokens.is_seen,
        sources=found.sources,
        by_document=found.by_document,
        series=(Series("sae", (point,)),),
        seconds=time.perf_counter() - start,
        of_sha256=record.files[WEIGHTS_FILE],
        settings=settings,
    )
    folder = sae_folder(library, record.id)
    with writing(folder):
        write_quality(quality, folder)
    return quality
