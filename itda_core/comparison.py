"""Two dictionaries compared by the sources that they chose: the same ones, more often than chance would have it?

What is quick is asked of the two indexes whenever it is wanted (`pair_queries`). What takes long is measured once, by a
job, and kept in the library as `comparisons/<A>--<B>-<hash>/`: `a.parquet` and `b.parquet` with what was measured of
each atom, and `comparison.json`, written last, without which there is no comparison. It serves both orders: what is
kept of A and B is read mirrored for B and A.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from itda_core.disk_errors import writing
from itda_core.files import is_file, read_json, sha256_of, unreadable, write_sealed, written_whole
from itda_core.jobs import Job, build_lock
from itda_core.kept_measures import read_side, write_side
from itda_core.layout import INDEX_FILE
from itda_core.library import DictionaryRecord, Library
from itda_core.pair_queries import Measures, Pair
from itda_core.parsing import Count, Share, check_format, damaged, parse
from itda_core.resampling import Interval, ratio_intervals
from itda_core.types import DamagedError, UserError

SUMMARY_FILE = "comparison.json"
SIDE_FILES = {"a": "a.parquet", "b": "b.parquet"}
_VERSION = 1  # of what is measured: a comparison by another version is no comparison


Key = Literal["token", "characters"]
"""What makes sources the same: `token` (document and position) or `characters` (where in the text it ends)."""


@dataclass(frozen=True)
class Comparison:
    """What is known of two dictionaries together."""

    a: str
    """Id of the one on the left."""
    b: str
    """Id of the one on the right."""
    jaccard: Share
    """Sources of both over sources of either, of all atoms."""
    shared: Count
    """Sources of both."""
    only_a: Count
    """Atoms that only A has."""
    only_b: Count
    """Atoms that only B has."""
    key: Key
    """What makes sources the same: `token` (document and position) or `characters` (where in the text it ends)."""
    coverage: Share
    """Share of captured tokens that the other side captured too, of the side where it is less."""
    coverage_a: Share
    """The same of A's tokens."""
    coverage_b: Share
    """The same of B's tokens."""
    candidates: Count
    """Tokens that both captured in documents that neither held out; chance is drawn from these."""
    chance: Share
    """The Jaccard similarity to expect if each had chosen its sources blindly among the candidates."""
    chance_frequency: Share
    """The same if each had chosen blindly among tokens that are as frequent as those that it did choose."""
    interval: Interval
    """95 % bootstrap interval of `jaccard` over documents."""
    documents: Count
    """Documents that it was drawn from."""

    @property
    def mirrored(self) -> "Comparison":
        """The same with the two sides swapped: every other number is the same in either order."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            only_a=self.only_b,
            only_b=self.only_a,
            coverage_a=self.coverage_b,
            coverage_b=self.coverage_a,
        )

    @classmethod
    def parse(cls, said: Any) -> "Comparison":
        """Read what may come from a stranger's library. Raises DamagedError, or NewerError."""
        what, remedy = f"{SUMMARY_FILE} of a comparison", "delete its folder"
        if isinstance(said, dict):
            check_format(said.get("version", 1), _VERSION, what, remedy)  # the first one did not say its version
        found = parse(cls, said, what, remedy)
        if not 0 <= found.interval.low <= found.interval.high <= 1:
            raise damaged(what, "its interval is none of shares", remedy)
        return found


def key_of(a: DictionaryRecord, b: DictionaryRecord) -> Key:
    """What makes a source of A and one of B the same.

    Raises UserError, with the reason, for dictionaries whose sources cannot be the same.
    """
    for each in (a, b):
        if not each.has_text:
            raise UserError(
                f"{each.id} was imported without its corpus, so that its sources are not known here: import it again "
                "with --model and --corpus"
            )
    if a.corpus != b.corpus:
        raise UserError(
            f"{a.id} was built on the corpus {a.corpus} and {b.id} on {b.corpus}: no source of one can be a source of "
            "the other; choose two dictionaries of one corpus"
        )
    return "token" if a.tokenizer_sha256 == b.tokenizer_sha256 else "characters"


def folder_of(library: Library, a: DictionaryRecord, b: DictionaryRecord) -> Path:
    """Where a comparison of A with B is written, in this order; another place once either is built anew."""
    return library.comparisons / f"{a.id}--{b.id}-{_digest(a, b)}"


def kept_summary(library: Library, a: DictionaryRecord, b: DictionaryRecord) -> Path | None:
    """The summary of the comparison of two dictionaries, in whichever order it was made; None while there is none."""
    for first, second in ((a, b), (b, a)):
        summary = folder_of(library, first, second) / SUMMARY_FILE
        if is_file(summary):
            return summary
    return None


def read_comparison(library: Library, a: DictionaryRecord, b: DictionaryRecord) -> Comparison | None:
    """The comparison of two dictionaries, None while there is none. Raises DamagedError."""
    summary = kept_summary(library, a, b)
    if summary is None:
        return None
    found = Comparison.parse(read_json(summary))
    found = found if summary.parent == folder_of(library, a, b) else found.mirrored
    if (found.a, found.b) != (a.id, b.id):
        raise DamagedError(f"comparison {summary.parent.name} is not of these dictionaries: delete its folder")
    return found


def read_measures(library: Library, a: DictionaryRecord, b: DictionaryRecord) -> Measures | None:
    """What was measured of the atoms of two dictionaries, None while nothing was. Raises DamagedError."""
    summary = kept_summary(library, a, b)
    if summary is None:
        return None
    own, other = ("a", "b") if summary.parent == folder_of(library, a, b) else ("b", "a")
    return Measures(
        read_side(summary.with_name(SIDE_FILES[own]), a.n_atoms, b.n_atoms),
        read_side(summary.with_name(SIDE_FILES[other]), b.n_atoms, a.n_atoms),
    )


def kept_pairs(
    library: Library, records: Sequence[DictionaryRecord], summary: str = SUMMARY_FILE
) -> dict[str, tuple[DictionaryRecord, DictionaryRecord]]:
    """Which pairs of these dictionaries are compared, by the name of the comparison's folder, in order of the records.

    Args:
        library: where.
        records: the dictionaries.
        summary: the file that a folder of such a pair has: that of a comparison, or of a transplant.
    """
    try:
        names = [path.parent.name for path in library.comparisons.glob(f"*/{summary}")]
    except OSError as error:
        raise unreadable(library.comparisons, error) from error
    return named_pairs(library, records, names)


def named_pairs(
    library: Library, records: Sequence[DictionaryRecord], names: Iterable[str]
) -> dict[str, tuple[DictionaryRecord, DictionaryRecord]]:
    """Which pairs of these dictionaries folders of comparisons are named for, in order of the records.

    What is left of dictionaries that are not among them, or were built anew since, is passed over.

    Args:
        library: where.
        records: the dictionaries.
        names: of the folders.
    """
    places = {record.id: place for place, record in enumerate(records)}
    found = {}
    for name in names:
        ids = name.rpartition("-")[0]
        for at in range(len(ids)):  # an id may hold two dashes itself
            a, b = places.get(ids[:at]), places.get(ids[at + 2 :])
            if a is not None and b is not None and name == folder_of(library, records[a], records[b]).name:
                found[name] = a, b
    return {name: (records[a], records[b]) for name, (a, b) in sorted(found.items(), key=lambda item: item[1])}


def compare(library: Library, id_a: str, id_b: str, job: Job) -> Comparison:
    """Compare two dictionaries and keep what was found; what is there already is read.

    Raises UserError for unknown ids and for dictionaries that cannot be compared.
    """
    a, b = library.record(id_a), library.record(id_b)
    key = key_of(a, b)
    if (found := read_comparison(library, a, b)) is not None:
        return found
    with build_lock(library.root, f"compare-{min(_digest(a, b), _digest(b, a))}"):  # one lock for both orders
        if (found := read_comparison(library, a, b)) is not None:  # by a process that had the lock a moment ago
            return found
        return _compare(library, a, b, key, job)


def _compare(library: Library, a: DictionaryRecord, b: DictionaryRecord, key: Key, job: Job) -> Comparison:
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
        write_sealed(folder / SUMMARY_FILE, {"version": _VERSION, **asdict(found), "files": files})
    return found


def summarise(pair: Pair, a: str, b: str, key: Key) -> Comparison:
    """Everything about two dictionaries as wholes: how much they share, by chance too, and how sure that is."""
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


def chance(strata: pd.DataFrame, n_a: int, n_b: int) -> float:
    """The Jaccard similarity to expect of blind choices: with E|A∩B| = Σ |A||B|/N over the strata, E / (|A|+|B|−E).

    Args:
        strata: of the candidates, n (how many), a and b (how many of them A and B chose).
        n_a, n_b: atoms of A and of B, those included whose source is no candidate and so has no twin.
    """
    n, a, b = (strata[name].to_numpy(np.float64) for name in ("n", "a", "b"))
    shared = float((a * b / np.maximum(n, 1)).sum())  # where there are none, none were chosen
    return shared / max(n_a + n_b - shared, 1.0)


def bootstrap(documents: pd.DataFrame, seed: int = 0) -> Interval:
    """95 % percentile interval of the Jaccard similarity when the documents are drawn anew, with replacement.

    It says how far the similarity depends on which documents were read; the two dictionaries stay as they are.

    Args:
        documents: both, a and b of each document: pairs with the same source, atoms of A alone, of B alone.
        seed: of the draws.
    """
    shared = documents[["both"]].to_numpy(np.float64)
    union = documents[["both", "a", "b"]].to_numpy(np.float64).sum(1, keepdims=True)
    (found,) = ratio_intervals(shared, union, seed)  # a draw without any atom says nothing
    return found or Interval(0.0, 0.0)


def _digest(a: DictionaryRecord, b: DictionaryRecord) -> str:
    identity = [str(_VERSION), a.files[INDEX_FILE], b.files[INDEX_FILE]]
    return hashlib.sha256("\n".join(identity).encode()).hexdigest()[:10]


def _measure(pair: Pair, job: Job) -> Measures:
    # The compiled loops are loaded by the job alone: pages read only what it found.
    from itda_core.coactivation import best_matches, passes

    job.stage("matching atoms", int(pair.fires("a").sum()) * passes(pair), "codes")
    return best_matches(pair, job.reached)
