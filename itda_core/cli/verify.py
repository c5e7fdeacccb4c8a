"""Verify a library's files against their recorded hashes and schemas.

Covered are dictionaries, SAEs and the reports on them, corpora, stored activations, jobs, comparisons and transplants.
Every problem is listed: none hides another.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from itda_core.capture.shard_files import verify_shards
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import has_other_hash, is_changed, is_file, problem_of_file, read_json, unreadable
from itda_core.common.layout import ATOMS_FILE, INDEX_FILE, MANIFEST_FILE
from itda_core.corpus.store import Corpus
from itda_core.jobs.read import verify_jobs
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest, is_id
from itda_core.library.map import read_map
from itda_core.queries.atoms import Index
from itda_core.reports import comparison, layers, transplant
from itda_core.reports.probing import PROBING_FILE, read_probing
from itda_core.reports.quality import QUALITY_FILE, dictionary_quality
from itda_core.reports.sae import verify_sae

_KEPT = (
    (
        comparison.SUMMARY_FILE,
        tuple(comparison.SIDE_FILES.values()),
        (comparison.read_comparison, comparison.read_measures),
    ),
    (transplant.SUMMARY_FILE, (transplant.ATOMS_FILE, transplant.CONTEXTS_FILE), (transplant.read_transplant,)),
)
"""Files of two dictionaries: the summary, which is written last; the tables beside it; their readers."""


class _Problems(dict[str, list[str]]):
    """Problems by name; those of two things of one name, which may be untrusted, add up."""

    def add(self, name: str, tell: Callable[..., Iterable[str]], *of: Any) -> None:
        """Add the problems of a name; one that cannot be read is a problem too."""
        own = self.setdefault(name, [])
        try:
            for line in tell(*of):
                own.append(line)
        except UserError as error:
            own.append(str(error))
        except OSError as error:
            own.append(f"{Path(error.filename or name).name} cannot be read: {error.strerror or error}")

    def inside(self, folder: Path) -> dict[str, Path]:
        """Return the folders within a folder of the library by name, without temporary ones."""
        try:
            return {path.name: path for path in self.paths(folder) if path.is_dir() and path.name[0] != "."}
        except OSError as error:
            self[folder.name] = [str(unreadable(folder, error))]
            return {}

    def paths(self, folder: Path) -> list[Path]:
        """List a folder of the library, sorted; record a problem if it cannot be read."""
        try:
            return sorted(folder.iterdir()) if folder.is_dir() else []
        except OSError as error:
            self[folder.name] = [str(unreadable(folder, error))]
            return []


def verify_library(library: Library) -> dict[str, list[str]]:
    """Problems of everything in a library, a line each, by the name of its folder or file; none for what is sound.

    Of the jobs only those with a problem are named.
    """
    problems = _Problems()
    records, trusted = _of_dictionaries(library, problems)
    for name in filter(is_id, problems.inside(library.saes)):
        problems.add(name, verify_sae, library, name)
    for name, folder in problems.inside(library.corpora).items():
        problems.add(name, lambda folder=folder: Corpus.open(folder).verify())
    for name, folder in problems.inside(library.activations).items():
        problems.add(name, verify_shards, folder)
    folders = problems.inside(library.comparisons)
    for name, (a, b) in comparison.named_pairs(library, records, folders).items():
        for kept in _KEPT:
            problems.add(name, _of_pair, folders[name], kept, {a.id, b.id} <= trusted, library, a, b)
    for path in problems.paths(library.comparisons):
        if not path.match(layers.REPORTS):
            continue
        problems.add(path.name, _of_report, path, lambda path=path: layers.LayerSimilarity.parse(read_json(path)))
    for job_id, lines in verify_jobs(library.root).items():
        problems.add(job_id, lambda lines=lines: lines)
    return dict(problems)


def _of_dictionaries(library: Library, problems: _Problems) -> tuple[list[DictionaryManifest], set[str]]:
    """Add what is wrong with dictionaries and the reports on them.

    Returns those that can be read, and the ids of those whose manifests are right: where one is not, nothing else is
    blamed for a mismatch.
    """
    records, trusted = [], set()
    for name, folder in problems.inside(library.dictionaries).items():
        if not is_id(name):
            continue
        problems.add(name, library.verify, name)
        try:
            record = library.record(name)
        except UserError:  # reported above
            continue
        problems.add(name, _against_files, library, record, list(problems[name]))
        records.append(record)
        is_trusted = not any(line.startswith(MANIFEST_FILE) for line in problems[name])
        if is_trusted:
            trusted.add(name)
        problems.add(name, _of_map, library.map_path(name), record.n_atoms if is_trusted else None)
        for path, read in (
            (folder / QUALITY_FILE, lambda record=record: dictionary_quality(library, record)),
            (folder / PROBING_FILE, lambda record=record, folder=folder: read_probing(record, folder)),
        ):
            problems.add(name, _of_report, path, read if is_trusted else None)
    return records, trusted


def _against_files(library: Library, record: DictionaryManifest, known: list[str]) -> Iterator[str]:
    """Compare a manifest with its files, except those whose hash is known to be wrong."""
    folder = library.folder(record.id)
    found: dict[str, tuple[str, int, int]] = {}
    if not any(line.startswith(ATOMS_FILE) for line in known):
        try:
            with safe_open(folder / ATOMS_FILE, "np") as file:
                n_atoms, d_model = file.get_slice("atoms").get_shape()
        except (SafetensorError, ValueError) as error:
            yield f"{ATOMS_FILE} cannot be read: {error}"
        else:
            found |= {
                "atoms": (ATOMS_FILE, record.n_atoms, n_atoms),
                "dimensions": (ATOMS_FILE, record.d_model, d_model),
            }
    if not any(line.startswith(INDEX_FILE) for line in known):
        index = Index(folder / INDEX_FILE)
        found |= {"indexed atoms": (INDEX_FILE, record.n_atoms, index.n_atoms)}
        found |= {"tokens": (INDEX_FILE, record.n_encoded, index.n_tokens)}
        try:
            index.check()
        except DamagedError as error:
            yield str(error)
        finally:
            index.close()
    for unit, (name, stated, held) in found.items():
        if stated != held:
            yield f"{MANIFEST_FILE} names {stated:,} {unit} where {name} holds {held:,}: build the dictionary again"


def _of_map(path: Path, n_atoms: int | None) -> Iterator[str]:
    """Yield the problems of a map; `n_atoms` is None if the manifest cannot be trusted."""
    if is_file(path) and has_other_hash(path):
        yield f"{path.name} is not as it was written: delete it and compute the map again"
    elif n_atoms is not None:
        read_map(path, n_atoms)


def _of_report(path: Path, read: Callable[[], Any] | None = None) -> Iterator[str]:
    """Yield the problems of a report: what `read` raises, or a changed digest."""
    if is_file(path):
        if read is not None:
            read()
        if is_changed(read_json(path)):
            yield f"{path.name} is not as it was written: delete it and measure again"


def _of_pair(
    folder: Path,
    kept: tuple[str, tuple[str, ...], tuple[Callable[..., Any], ...]],
    is_trusted: bool,
    library: Library,
    a: DictionaryManifest,
    b: DictionaryManifest,
) -> Iterator[str]:
    """Yield the problems of one of _KEPT; it is parsed only if both manifests are sound."""
    summary, tables, reads = kept
    path = folder / summary
    if not is_file(path):
        if any(is_file(folder / name) for name in tables):
            yield f"{summary} is missing, without which what lies beside it is not read: have it computed again"
        return
    if is_trusted:
        for read in reads:
            read(library, a, b)
    manifest = read_json(path)
    if is_changed(manifest):
        yield f"{summary} is not as it was written: delete its folder"
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict):
        return
    for name in tables:
        if problem := problem_of_file(folder / name, str(files.get(name))):
            yield f"{problem}: delete its folder"
