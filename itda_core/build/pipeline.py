"""Capture, build, encode and index the sites of one run, resumable at any point."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from itda_core.build.encoding import encode_batch
from itda_core.build.estimate import CODE_BYTES, fits, kept_bytes, scratch_bytes
from itda_core.capture.local import Batch, Capture
from itda_core.capture.replay import hash_of_sites
from itda_core.capture.scratch import Batches, ScratchBatches
from itda_core.capture.store import Packed, pack, record_activations
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import read_json, sha256_of, write_json, write_sealed, written_whole
from itda_core.common.layout import ATOMS_FILE, INDEX_FILE, MANIFEST_FILE
from itda_core.common.settings import BuildSettings, DictionarySettings
from itda_core.common.types import Site
from itda_core.common.versions import versions
from itda_core.corpus.store import Corpus
from itda_core.corpus.token_table import TokenTable, check_held_out
from itda_core.corpus.windows import Window, is_held_out, make_windows, special_tokens_before
from itda_core.dictionary.builder import DictionaryBuilder
from itda_core.dictionary.checkpoint import Checkpoint, Progress
from itda_core.dictionary.dictionary import Dictionary
from itda_core.dictionary.errors import variance_explained
from itda_core.dictionary.mean import MeanSums
from itda_core.dictionary.norms import NormLimit, within
from itda_core.dictionary.sizing import TOLERANCE, ThresholdSearch
from itda_core.index.writer import IndexWriter
from itda_core.jobs.job import Job
from itda_core.library.library import Library
from itda_core.library.staging import part_of, place_finished
from itda_core.models.model import Model

_BUILDER_FILE, _STAGING_FILE, _ORIGIN_FILE = "builder.safetensors", "staging.duckdb", "origin.json"
_NORM_FILE, _MEAN_FILE, _THRESHOLD_FILE = "norm.json", "mean.safetensors", "threshold.json"
_LEDGER_FILE = "jobs.json"
_NOTE_EVERY = 5.0
"""Seconds between two updates of the recorded run time."""


@dataclass(frozen=True)
class Plan:
    """Specification of a run's outputs."""

    ids: dict[Site, str]
    """Dictionary id per site; all are built from the same passes of the model."""
    sites: list[Site]
    """Sites whose activations are stored: those of the dictionaries, and the others of the same request."""
    captured: dict
    """Inputs that identify the activations."""
    identity: dict
    """Inputs and settings that identify the dictionaries; repeated in their manifests."""
    build: BuildSettings
    """Sites and tokens to capture."""
    dictionary: DictionarySettings
    """Dictionary-building settings, the same for every site."""
    scratch: Path
    """Folder in which activations are stored until the request is done: the same for any part of it."""
    activations: str | None
    """Name of the folder of kept activations; None keeps none after the run."""
    remote: bool
    """Whether the model runs on a server."""


class Pipeline:
    """One run of a plan."""

    def __init__(self, library: Library, corpus: Corpus, model: Model, plan: Plan, job: Job, started: float) -> None:
        """Take a plan of a request that started at a time of `perf_counter`: all its dictionaries share the capture."""
        self._library, self._corpus, self._model, self._plan, self._job = library, corpus, model, plan, job
        self._started, self._before, self._noted = started, 0.0, 0.0

    def run(self) -> None:
        """Capture, build, encode and index.

        Raises UserError for requests that cannot be carried out.
        """
        tokens, holdout = self._plan.build.tokens, self._plan.build.holdout
        self._table = TokenTable.of(self._windows(), holdout, self._library.root)
        if self._table.n_captured == 0:
            raise UserError(f"nothing to capture: every document of {self._corpus.id} has a single token or none")
        check_held_out(self._table, tokens)
        self._parts = {site: self._part(dictionary_id) for site, dictionary_id in self._plan.ids.items()}
        batches = self._activations()
        self._largest = self._largest_norms(batches)
        self._encode(batches, self._build(batches))
        for dictionary_id in self._plan.ids.values():
            place_finished(self._library, dictionary_id)
            self._job.finished(dictionary_id)

    def _windows(self) -> Iterator[Window]:
        return make_windows(self._corpus.documents(), self._model.tokenizer, self._corpus.cut, self._plan.build.tokens)

    def _activations(self) -> Batches:
        """Return the source of activation batches.

        The source is the model itself, whose activations are stored as they first pass if the disk has room, or the
        disk, in which case they are recorded first.
        """
        sites, batch_windows = self._plan.sites, self._plan.build.batch_windows
        if self._plan.activations is None:
            return self._captured_once(Capture(self._model, sites, self._windows, batch_windows))
        folder = self._library.activations / self._plan.activations
        self._job.stage("capturing on the server" if self._plan.remote else "capturing", self._table.n_captured)
        if not self._plan.remote:
            capture = Capture(self._model, sites, self._windows, batch_windows)

            def packed(first: int) -> Iterator[Packed]:
                return map(pack, capture.batches(first))

            return record_activations(packed, folder, self._advance)
        size = kept_bytes(self._table.n_captured, len(sites), self._model.d_model)
        self._job.say(
            f"{self._table.n_captured:,} tokens at {len(sites)} {'site' if len(sites) == 1 else 'sites'} of width "
            f"{self._model.d_model:,}: {_bytes(size)} to be transferred and kept, before compression"
        )
        folder.mkdir(parents=True, exist_ok=True)
        from itda_core.capture.remote import RemoteCapture  # and with it nnsight, which takes a second

        far = RemoteCapture(self._model, sites, self._windows, batch_windows, folder / _LEDGER_FILE, say=self._job.say)
        return record_activations(far.packed, folder, self._advance)

    def _captured_once(self, capture: Capture) -> Batches:
        """Return the batches of a capture, stored until the request is done if the disk has room for them."""
        sites, scratch, tokens = self._plan.sites, self._plan.scratch, self._table.n_captured
        folder = scratch / hash_of_sites(self._plan.captured | self._origin(0.0), sites)
        for other in scratch.glob("*"):  # of another request, or of another version
            if other != folder:
                shutil.rmtree(other)
        left = scratch_bytes(tokens, len(sites), self._model.d_model) - sum(
            path.stat().st_size for path in folder.glob("*")
        )
        index = len(sites) * tokens * self._plan.dictionary.l0 * CODE_BYTES
        if not fits(left, index, shutil.disk_usage(self._library.root).free):
            self._job.say(f"the disk has no room for {_bytes(left)} of activations: the model reads the texts again")
            shutil.rmtree(scratch, ignore_errors=True)
            return capture
        return ScratchBatches(capture, folder)

    def _largest_norms(self, batches: Batches) -> dict[Site, float | None]:
        """Return the largest norm of each site's activations that is used; None without a limit."""
        max_norm = self._plan.dictionary.max_norm
        if max_norm is None:
            return dict.fromkeys(self._parts)
        files = {site: part / _NORM_FILE for site, part in self._parts.items()}
        if not all(path.is_file() for path in files.values()):
            self._job.stage("measuring norms", self._table.n_captured)
            limits = {site: NormLimit(max_norm) for site in files}
            for batch in batches.batches():
                for site, limit in limits.items():
                    limit.add(batch.activations[site])
                self._advance(len(batch.sources))
            for site, path in files.items():
                try:
                    largest = limits[site].largest()
                except UserError as error:
                    raise UserError(f"layer {site.layer} {site.hook}: {error}") from error
                write_json(path, {"largest": largest})
        return {site: read_json(path)["largest"] for site, path in files.items()}

    def _means(self, batches: Batches) -> dict[Site, torch.Tensor | None]:
        """Return the mean [d_model] of each site's activations, held-out ones left out; None without centring."""
        if self._plan.dictionary.center == "none":
            return dict.fromkeys(self._parts)
        files = {site: part / _MEAN_FILE for site, part in self._parts.items()}
        if not all(path.is_file() for path in files.values()):
            self._job.stage("averaging", self._table.n_captured)
            sums = {site: MeanSums() for site in files}
            for batch in batches.batches():
                for site, each in sums.items():
                    each.add(batch.activations[site][self._used(batch, site)])
                self._advance(len(batch.sources))
            for site, path in files.items():
                with written_whole(path) as part:
                    save_file({"mean": sums[site].mean()}, part)
        return {site: load_file(path)["mean"] for site, path in files.items()}

    def _settings(self, batches: Batches, means: dict[Site, torch.Tensor | None]) -> dict[Site, DictionarySettings]:
        """Return the settings of each site, with the threshold that gives the wanted number of atoms, if one is."""
        wanted = self._plan.dictionary
        if wanted.n_atoms is None:
            return dict.fromkeys(self._parts, wanted)
        files = {site: part / _THRESHOLD_FILE for site, part in self._parts.items()}
        searches = {site: ThresholdSearch(wanted) for site, path in files.items() if not path.is_file()}
        number = 0
        while left := [site for site, search in searches.items() if not search.is_done]:
            number += 1
            self._job.stage(f"looking for the threshold, trial {number}", self._table.n_captured)
            trials = {site: searches[site].trial(means[site]) for site in left}
            for batch in batches.batches():
                for site, trial in trials.items():
                    used = self._used(batch, site)
                    trial.add(batch.activations[site][used], batch.sources[used])
                self._advance(len(batch.sources))
            for site, trial in trials.items():
                searches[site].judge(trial)
        for site, search in searches.items():
            write_json(files[site], {"threshold": search.threshold})
        found = {
            site: replace(wanted, threshold=read_json(path)["threshold"], n_atoms=None) for site, path in files.items()
        }
        for site, each in found.items():
            self._job.say(f"layer {site.layer} {site.hook}: a threshold of {each.threshold:.4g} is taken")
        return found

    def _build(self, batches: Batches) -> dict[Site, Dictionary]:
        device = torch.device("cpu")  # of captured activations
        means = self._means(batches)
        settings = self._settings(batches, means)
        checkpoints = {site: Checkpoint(part / _BUILDER_FILE) for site, part in self._parts.items()}
        progress = {
            site: checkpoint.load(settings[site], device, means[site]) for site, checkpoint in checkpoints.items()
        }
        first = min(progress.values(), key=lambda each: each.batches)
        self._job.stage("building", self._table.n_captured, done=first.tokens)
        for number, batch in enumerate(batches.batches(first.batches), first.batches):
            for site, (builder, done, tokens) in progress.items():
                if done > number:
                    continue
                used = self._used(batch, site)
                builder.add(batch.activations[site][used], batch.sources[used])
                progress[site] = Progress(builder, done + 1, tokens + len(batch.sources))
                self._job.grown(self._plan.ids[site], builder.history)
                if checkpoints[site].due:
                    checkpoints[site].save(progress[site])
            self._advance(len(batch.sources))
        for site, checkpoint in checkpoints.items():
            checkpoint.save(progress[site])
        dictionaries = self._finished({site: each.builder for site, each in progress.items()})
        self._spreads = {site: each.builder.energy.spread for site, each in progress.items()}
        for site, each in progress.items():
            if note := each.builder.note():
                self._job.say(f"layer {site.layer} {site.hook}: {note}")
        wanted = self._plan.dictionary.n_atoms
        for site, dictionary in dictionaries.items():
            if wanted is not None and abs(len(dictionary) - wanted) > TOLERANCE * wanted:
                self._job.say(
                    f"layer {site.layer} {site.hook}: {len(dictionary):,} atoms, as no threshold gives {wanted:,}"
                )
            if len(dictionary) == 0:
                for part in self._parts.values():  # resuming from them would fail again here
                    shutil.rmtree(part)
                raise UserError(
                    f"no activation of layer {site.layer} {site.hook} is over the threshold "
                    f"{settings[site].threshold:g}: lower --threshold"
                )
        return dictionaries

    def _finished(self, builders: dict[Site, DictionaryBuilder]) -> dict[Site, Dictionary]:
        if self._plan.dictionary.recipe == "published":
            return {site: builder.finish() for site, builder in builders.items()}
        self._job.stage("choosing the atoms", len(builders), "dictionaries")
        dictionaries = {}
        for site, builder in builders.items():
            dictionaries[site] = builder.finish()
            self._advance(1)
        return dictionaries

    def _used(self, batch: Batch, site: Site) -> torch.Tensor:
        """Return the mask of rows that a site's dictionary is built from.

        Bool, shape [n].
        """
        is_out = is_held_out(batch.sources[:, 0]) & self._table.holdout
        return ~is_out & within(batch.activations[site], self._largest[site])

    def _encode(self, batches: Batches, dictionaries: dict[Site, Dictionary]) -> None:
        """Encode every captured token and fill each dictionary's folder."""
        writers = {site: IndexWriter(self._parts[site] / _STAGING_FILE) for site in dictionaries}
        first = min(writer.batches for writer in writers.values())
        done = min(writer.n_tokens for writer in writers.values())
        self._job.stage("encoding", self._table.n_captured, done=done)
        for number, batch in enumerate(batches.batches(first), first):
            for site, dictionary in dictionaries.items():
                if writers[site].batches == number:
                    x, largest = batch.activations[site], self._largest[site]
                    encode_batch(writers[site], self._table, dictionary, x, batch.sources, largest)
            self._advance(len(batch.sources))
        self._job.stage("indexing", len(dictionaries), "dictionaries")
        for site, dictionary in dictionaries.items():
            part, writer = self._parts[site], writers[site]
            writer.write(part / INDEX_FILE, dictionary, self._table, self._corpus.documents())
            dictionary.write_atoms(part)
            self._write_manifest(part, site, dictionary, writer)
            writer.close()
            self._advance(1)

    def _advance(self, amount: int) -> None:
        self._job.advance(amount)
        if self._seconds - self._noted > _NOTE_EVERY:
            self._noted = self._seconds
            for part in self._parts.values():
                write_json(part / _ORIGIN_FILE, self._origin(self._noted))

    @property
    def _seconds(self) -> float:
        """Duration of this run and of its earlier, interrupted attempts, in seconds."""
        return self._before + time.perf_counter() - self._started

    def _origin(self, seconds: float) -> dict:
        return {"versions": versions(), "device": self._model.device, "seconds": seconds}

    def _write_manifest(
        self,
        part: Path,
        site: Site,
        dictionary: Dictionary,
        writer: IndexWriter,
    ) -> None:
        relative_error, n_measured = writer.mean_error(self._table)
        norms = writer.norms(dictionary, self._table)
        if norms is not None and (note := norms.note()):
            self._job.say(f"layer {site.layer} {site.hook}: {note}")
        manifest = {
            **self._plan.identity,
            **dictionary.describe(),  # whose settings have the threshold that was found
            "id": self._plan.ids[site],
            "layer": site.layer,
            "hook": site.hook,
            "n_layers": self._model.n_layers,
            "n_tokens": self._table.n_captured,
            "activations": self._plan.activations,
            "prefix": special_tokens_before(self._model.tokenizer),  # other tools count them as positions
            "relative_error": relative_error,
            "measured_tokens": n_measured,
            "variance_explained": variance_explained(writer.sums()),
            "energy": None if (spread := self._spreads[site]) is None else spread._asdict(),
            "norms": None if norms is None else asdict(norms),
            "seconds": self._seconds,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "files": {name: sha256_of(part / name) for name in (ATOMS_FILE, INDEX_FILE)},
        }
        write_sealed(part / MANIFEST_FILE, manifest)

    def _part(self, dictionary_id: str) -> Path:
        """Return the staging folder of a dictionary, created if missing.

        Partial output of other package versions or of another device is removed.
        """
        part = part_of(self._library, dictionary_id)
        if part.is_dir():
            try:
                left = read_json(part / _ORIGIN_FILE)
                before = float(left["seconds"])
                is_same = left | {"seconds": 0.0} == self._origin(0.0)
            except (DamagedError, KeyError, TypeError, ValueError):
                is_same = False
            if is_same:
                self._before = max(self._before, before)
            else:
                shutil.rmtree(part)
        part.mkdir(parents=True, exist_ok=True)
        write_json(part / _ORIGIN_FILE, self._origin(self._before))
        return part


def _bytes(n: int) -> str:
    return f"{n / 1e9:,.1f} GB" if n >= 1e9 else f"{n / 1e6:,.1f} MB"
