"""Train or fetch SAEs for a dictionary's site, and measure them.

Training uses the same activations that the dictionary was built from.

An SAE is stored in `saes/<id>/`: SAELens' own two files, a manifest, and the evaluation report. The folder is written
to a staging folder beside its final place and renamed into it once complete; the report is written afterwards.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from itda_core.common.disk_errors import writing
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import place_folder, read_json, sha256_of, short_hash, slug, write_sealed
from itda_core.common.keys import row_keys
from itda_core.common.layout import MANIFEST_FILE
from itda_core.common.machine import machine_memory
from itda_core.common.parts import part_beside
from itda_core.common.settings import MeasureSettings, SaeSettings
from itda_core.common.versions import versions
from itda_core.dictionary.norms import within
from itda_core.evaluation.held_out import SiteTokens, may_run, open_tokens
from itda_core.evaluation.sae.coder import SaeCoder
from itda_core.evaluation.sae.evaluate import measure_sae
from itda_core.evaluation.sae.hooks import check_site, hook_name
from itda_core.evaluation.sae.saelens import fetch_sae, load_sae, require_saelens, saelens_version, save_sae
from itda_core.evaluation.sae.training import steps_of, train
from itda_core.jobs.job import Job
from itda_core.jobs.locks import build_lock
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.reports.quality import Quality
from itda_core.reports.sae import SAE_FILES, SaeRecord, sae_folder, sae_ids, sae_quality, sae_record


def train_sae(
    library: Library,
    dictionary_id: str,
    job: Job,
    settings: SaeSettings,
    width: int | None = None,
    k: int | None = None,
) -> SaeRecord:
    """Train an SAE on a dictionary's activations, and measure it.

    A stored SAE is reused. A report that is damaged or of other settings is replaced; so is one made without the
    model if the model now seems to be on this machine.

    Args:
        library: the library.
        dictionary_id: the dictionary: its site, its tokens without the documents held out.
        job: receives progress.
        settings: training settings.
        width: number of latents; by default the dictionary's number of atoms.
        k: active latents per token; by default the dictionary's L0.

    Raises:
        UserError: no such dictionary, its model is not on this machine and its activations are not stored, SAELens is
            not installed, or a setting is invalid.
    """
    require_saelens()
    record = library.record(dictionary_id)
    width, k = record.n_atoms if width is None else width, record.settings.l0 if k is None else k
    if not 1 <= k <= width:
        raise UserError(f"k is {k} and the width {width}: give 1 or more latents, and no more active than there are")
    identity = {"training": asdict(settings), "width": width, "k": k}

    def make(tokens: SiteTokens) -> tuple[Any, dict[str, Any]]:
        x = _built_from(tokens, record, job, steps_of(settings) * settings.batch, settings.seed)
        if len(x) < settings.batch:
            raise UserError(f"{record.id} has {len(x):,} activations, fewer than a step's: lower --batch")
        job.stage(f"training a {settings.kind} SAE", settings.tokens)
        metadata = {"model_name": record.model, "hook_name": hook_name(record.site)}
        found = train(x, settings, width, k, metadata, advance=job.advance)
        return found.sae, {
            "kind": settings.kind,
            "k": k,
            "settings": settings,
            "tokens": found.tokens,
            "distinct_tokens": found.distinct,
            "seconds": found.seconds,
        }

    return _keep(library, record, job, settings.kind, identity, make)


def adopt_sae(library: Library, dictionary_id: str, release: str, sae_id: str, job: Job) -> SaeRecord:
    """Add a pretrained SAE for a dictionary's site, and measure it.

    A stored SAE is reused. Its report is replaced under the same conditions as that of a trained one.

    Args:
        library: the library.
        dictionary_id: the dictionary whose site it must belong to.
        release: SAELens' name of the release, or a repository of the Hub in SAELens' format.
        sae_id: its id within the release: for a repository, the folder.
        job: receives progress.

    Raises:
        UserError: there is no such dictionary or SAE, it cannot be fetched, it is of another site, or SAELens is not
            installed.
    """
    require_saelens()
    record = library.record(dictionary_id)

    def make(_: SiteTokens) -> tuple[Any, dict[str, Any]]:
        job.stage(f"fetching {release} {sae_id}")
        sae = fetch_sae(release, sae_id)
        check_site(sae, record, f"{release} {sae_id}")
        return sae, {"kind": sae.cfg.architecture(), "k": getattr(sae.cfg, "k", None), "holdout": False} | {
            "release": release,
            "sae_id": sae_id,
        }

    return _keep(library, record, job, slug(f"{release}-{sae_id}"), {"release": release, "sae_id": sae_id}, make)


def load_coder(library: Library, sae_id: str) -> SaeCoder:
    """Load an SAE of a library as a coder.

    Raises:
        UserError: there is no such SAE, or SAELens is not installed; DamagedError for one that cannot be read.
    """
    record, folder = sae_record(library, sae_id), sae_folder(library, sae_id)
    for name, digest in record.files.items():
        if sha256_of(folder / name) != digest:
            raise DamagedError(f"{name} of SAE {sae_id} is not the file that was written: train or fetch it again")
    sae = load_sae(folder)
    if (sae.cfg.d_in, sae.cfg.d_sae, sae.cfg.architecture()) != (record.d_model, record.width, record.kind):
        raise DamagedError(f"SAE {sae_id} has another kind or size than its manifest states: train or fetch it again")
    return SaeCoder(sae)


def _built_from(tokens: SiteTokens, record: DictionaryManifest, job: Job, most: int, seed: int) -> torch.Tensor:
    """Return the activations that a dictionary was built from.

    Float32, shape [n, d_model]; a random sample if there are more than `most`, of which those over its largest norm
    are left out.
    """
    wanted = row_keys(tokens.candidates())
    if len(wanted) > most:
        wanted = np.sort(np.random.default_rng(seed).choice(wanted, most, replace=False))
    size, memory = 4 * len(wanted) * record.d_model, machine_memory()
    if memory is not None and size > memory:
        raise UserError(
            f"{len(wanted):,} activations take {size / 1e9:.0f} GB, and this machine has {memory / 1e9:.0f}: lower "
            "--tokens"
        )
    job.stage("capturing", len(wanted))
    x, seen = torch.empty(len(wanted), record.d_model), 0
    for index, rows in tokens.read(wanted):
        x[torch.from_numpy(index)] = rows.to(torch.float32)
        seen += len(index)
        job.advance(len(index))
    if seen != len(wanted):
        raise UserError(f"{len(wanted):,} activations were asked for and {seen:,} found: build the dictionary again")
    return x if record.largest_norm is None else x[within(x, record.largest_norm)]


def _keep(
    library: Library,
    record: DictionaryManifest,
    job: Job,
    name: str,
    identity: dict[str, Any],
    make: Callable[[SiteTokens], tuple[Any, dict[str, Any]]],
) -> SaeRecord:
    """Make, store and measure an SAE, as far as this is not done yet."""
    site = record.site
    hashed = short_hash(json.dumps([record.id, identity], sort_keys=True))
    new_id = f"{slug(record.model)}-l{site.layer}-{site.hook}-{name}-{hashed}"
    tokens: SiteTokens | None = None
    with build_lock(library.root, f"sae-{new_id}"):
        if new_id not in sae_ids(library) or not _is_whole(library, new_id):
            tokens = open_tokens(library, record, job)
            sae, details = make(tokens)
            _write(library, record, new_id, sae, details)
        found = sae_record(library, new_id)
        report = _report(library, found, job)
        if report is None or (not report.with_model and may_run(library, record)):
            tokens = open_tokens(library, record, job) if tokens is None else tokens
            measure_sae(library, found, load_coder(library, new_id), tokens, job)
    return found


def _report(library: Library, record: SaeRecord, job: Job) -> Quality | None:
    """Return the report on an SAE, or None.

    None if there is none, or none on the default number of tokens, which is the only setting that is compared.
    """
    try:
        found = sae_quality(library, record)
    except DamagedError as error:
        job.say(f"measuring anew: {error}")
        return None
    return found if found is not None and found.settings.tokens == MeasureSettings().tokens else None


def _write(library: Library, record: DictionaryManifest, new_id: str, sae: Any, details: dict[str, Any]) -> None:
    """Write an SAE's folder atomically."""
    folder = library.saes / new_id
    with writing(library.saes):
        library.saes.mkdir(parents=True, exist_ok=True)
        with part_beside(folder, Path.mkdir) as part:
            save_sae(sae, part)
            made = _record(record, new_id, sae, details, part)
            write_sealed(part / MANIFEST_FILE, made.manifest())
            SaeRecord.parse(new_id, read_json(part / MANIFEST_FILE))  # reject a manifest that could not be read again
            if folder.exists():  # damaged, or it would not have been made again
                shutil.rmtree(folder)
            place_folder(part, folder)


def _record(record: DictionaryManifest, new_id: str, sae: Any, details: dict[str, Any], part: Path) -> SaeRecord:
    plain = SaeRecord(
        id=new_id,
        kind=details["kind"],
        width=sae.cfg.d_sae,
        k=details["k"],
        d_model=sae.cfg.d_in,
        release=None,
        sae_id=None,
        settings=None,
        tokens=None,
        distinct_tokens=None,
        seconds=None,
        model=record.model,
        revision=record.revision,
        weights_sha256=record.weights_sha256,
        tokenizer_sha256=record.tokenizer_sha256,
        site=record.site,
        dictionary=record.id,
        corpus=record.corpus,
        cut=record.cut,
        holdout=record.holdout,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={**versions(), "sae-lens": saelens_version()},
        files={name: sha256_of(part / name) for name in SAE_FILES},
    )
    return replace(plain, **details)


def _is_whole(library: Library, sae_id: str) -> bool:
    try:
        record = sae_record(library, sae_id)
    except DamagedError:
        return False
    folder = sae_folder(library, sae_id)
    return all(sha256_of(folder / name) == digest for name, digest in record.files.items())
