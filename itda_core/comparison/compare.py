"""Compare two dictionaries on their common tokens."""

from dataclasses import asdict

from itda_core.common.disk_errors import writing
from itda_core.common.files import sha256_of, write_sealed, written_whole
from itda_core.comparison.chance import bootstrap
from itda_core.jobs.job import Job
from itda_core.jobs.locks import build_lock
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.pair_tokens import Measures
from itda_core.queries.pairs import Pair
from itda_core.reports.chance import chance
from itda_core.reports.comparison import (
    SIDE_FILES,
    SUMMARY_FILE,
    VERSION,
    Comparison,
    Key,
    digest_of,
    folder_of,
    key_of,
    read_comparison,
    write_side,
)


def compare(library: Library, id_a: str, id_b: str, job: Job) -> Comparison:
    """Compare two dictionaries and store the result; reuse a stored result.

    Raises UserError for unknown ids and for dictionaries that cannot be compared.
    """
    a, b = library.record(id_a), library.record(id_b)
    key = key_of(a, b)
    if (found := read_comparison(library, a, b)) is not None:
        return found
    with build_lock(library.root, f"compare-{min(digest_of(a, b), digest_of(b, a))}"):  # one lock for both orders
        if (found := read_comparison(library, a, b)) is not None:  # by a process that held the lock just before
            return found
        return _compare(library, a, b, key, job)


def _compare(library: Library, a: DictionaryManifest, b: DictionaryManifest, key: Key, job: Job) -> Comparison:
    folder = folder_of(library, a, b)
    pair = Pair(library.index_path(a.id), library.index_path(b.id), key)
    try:
        job.stage("counting sources", None, "atoms")
        found = summarise(pair, a.id, b.id, key)
        measures = _measure(pair, job)
    finally:
        pair.close()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for side, name in SIDE_FILES.items():
            with written_whole(folder / name) as part:
                write_side(getattr(measures, side), part)
        files = {name: sha256_of(folder / name) for name in SIDE_FILES.values()}
        write_sealed(folder / SUMMARY_FILE, {"version": VERSION, **asdict(found), "files": files})
    return found


def summarise(pair: Pair, a: str, b: str, key: Key) -> Comparison:
    """Compute the overlap of two dictionaries, its chance level and its interval."""
    counts, coverage, strata, documents = pair.counts(), pair.coverage(), pair.strata(), pair.documents()
    return Comparison(
        a=a,
        b=b,
        jaccard=counts.jaccard,
        shared=counts.both,
        only_a=counts.a,
        only_b=counts.b,
        key=key,
        coverage=min(coverage.a, coverage.b),
        coverage_a=coverage.a,
        coverage_b=coverage.b,
        candidates=coverage.candidates,
        chance=chance(strata[["n", "a", "b"]].sum().to_frame().T, counts.both + counts.a, counts.both + counts.b),
        chance_frequency=chance(strata, counts.both + counts.a, counts.both + counts.b),
        interval=bootstrap(documents),
        documents=len(documents),
    )


def _measure(pair: Pair, job: Job) -> Measures:
    # The compiled loops are imported by the job alone: the pages only read stored results.
    from itda_core.comparison.matching import best_matches, passes

    job.stage("matching atoms", int(pair.fires("a").sum()) * passes(pair), "codes")
    return best_matches(pair, job.reached)
