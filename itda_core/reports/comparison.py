"""The stored comparison of two dictionaries; untrusted when read."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import AfterValidator

from itda_core.common.bootstrap import Interval
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import is_file, read_json, unreadable
from itda_core.common.layout import INDEX_FILE
from itda_core.common.parquet import are_within_one, is_numbered, read_table, write_table
from itda_core.common.validate import Count, Share, check_format, parse
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.pair_tokens import Measures

_SCHEMA = pa.schema(
    {
        "atom": pa.int32(),
        "other": pa.int32(),
        "correlation": pa.float32(),
        "together": pa.int32(),
        "weight": pa.float64(),
    }
)
SUMMARY_FILE = "comparison.json"
SIDE_FILES = {"a": "a.parquet", "b": "b.parquet"}
VERSION = 1  # of what is measured: a comparison by another version is no comparison
Key = Literal["token", "characters"]
"""What makes sources the same: `token` (document and position) or `characters` (where in the text it ends)."""


def write_side(frame: pd.DataFrame, path: Path) -> None:
    """Write a side's measures, the columns MEASURES, with checksums. Raises OSError where it cannot be written."""
    write_table(frame, path, _SCHEMA)


def read_side(path: Path, n_atoms: int, n_other: int) -> pd.DataFrame:
    """Read a side's measures: the columns MEASURES, a row an atom, missing where an atom has no match.

    Args:
        path: the file.
        n_atoms: atoms of this side.
        n_other: atoms of the other side.

    Raises:
        DamagedError: the file cannot be read, or does not hold what can be measured of these atoms.
    """
    try:
        frame = read_table(path, _SCHEMA, n_atoms)
        _check(frame, n_atoms, n_other)
    except ValueError as wrong:
        raise DamagedError(f"{path.name} of comparison {path.parent.name} {wrong}: delete its folder") from wrong
    return frame


def _check(frame: pd.DataFrame, n_atoms: int, n_other: int) -> None:
    """Raises ValueError, as `read_table` does, for values of the right kinds that cannot be."""
    if not is_numbered(frame, "atom", np.arange(n_atoms)):
        raise ValueError("is not of these dictionaries")
    missing = frame[["other", "correlation", "together"]].isna()
    if not missing.eq(missing["other"], axis=0).to_numpy().all():
        raise ValueError("has half a match")
    matched = frame.loc[~missing["other"], :]
    if not matched["other"].between(0, n_other - 1).all():
        raise ValueError("names atoms that there are not")
    if not (matched["together"] >= 1).all():
        raise ValueError("has matches that never fire together")
    if not are_within_one(matched, "correlation"):
        raise ValueError("has correlations that are none")
    if not are_within_one(frame, "weight") or not (frame["weight"].to_numpy(np.float64) >= 0).all():
        raise ValueError("has weights that are no shares")


def _check_shares(interval: Interval) -> Interval:
    if not 0 <= interval.low <= interval.high <= 1:
        raise ValueError("its interval is not one of shares")
    return interval


ShareInterval = Annotated[Interval, AfterValidator(_check_shares)]
"""An interval of a share, its ends in order."""


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
    interval: ShareInterval
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
            check_format(said.get("version", 1), VERSION, what, remedy)  # the first one did not say its version
        return parse(cls, said, what, remedy)


def key_of(a: DictionaryManifest, b: DictionaryManifest) -> Key:
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


def folder_of(library: Library, a: DictionaryManifest, b: DictionaryManifest) -> Path:
    """Where a comparison of A with B is written, in this order; another place once either is built anew."""
    return library.comparisons / f"{a.id}--{b.id}-{digest_of(a, b)}"


def kept_summary(library: Library, a: DictionaryManifest, b: DictionaryManifest) -> Path | None:
    """The summary of the comparison of two dictionaries, in whichever order it was made; None while there is none."""
    for first, second in ((a, b), (b, a)):
        summary = folder_of(library, first, second) / SUMMARY_FILE
        if is_file(summary):
            return summary
    return None


def read_comparison(library: Library, a: DictionaryManifest, b: DictionaryManifest) -> Comparison | None:
    """The comparison of two dictionaries, None while there is none. Raises DamagedError."""
    summary = kept_summary(library, a, b)
    if summary is None:
        return None
    found = Comparison.parse(read_json(summary))
    found = found if summary.parent == folder_of(library, a, b) else found.mirrored
    if (found.a, found.b) != (a.id, b.id):
        raise DamagedError(f"comparison {summary.parent.name} is not of these dictionaries: delete its folder")
    return found


def read_measures(library: Library, a: DictionaryManifest, b: DictionaryManifest) -> Measures | None:
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
    library: Library, records: Sequence[DictionaryManifest], summary: str = SUMMARY_FILE
) -> dict[str, tuple[DictionaryManifest, DictionaryManifest]]:
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
    library: Library, records: Sequence[DictionaryManifest], names: Iterable[str]
) -> dict[str, tuple[DictionaryManifest, DictionaryManifest]]:
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


def digest_of(a: DictionaryManifest, b: DictionaryManifest) -> str:
    """Hash of the two indexes and the report's version, for its folder's name."""
    identity = [str(VERSION), a.files[INDEX_FILE], b.files[INDEX_FILE]]
    return hashlib.sha256("\n".join(identity).encode()).hexdigest()[:10]
