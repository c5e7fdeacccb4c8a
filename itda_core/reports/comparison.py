"""Stored comparison of two dictionaries; untrusted when read."""

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
from itda_core.common.files import is_file, read_json, short_hash, unreadable
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
VERSION = 1  # of the measured values: a comparison of another version is ignored
Key = Literal["token", "characters"]
"""Criterion for equal sources: `token` (document and position) or `characters` (document and end in the text)."""


def write_side(frame: pd.DataFrame, path: Path) -> None:
    """Write the measures of one side, with checksums.

    The columns are MATCH_COLUMNS. Raises OSError if the file cannot be written.
    """
    write_table(frame, path, _SCHEMA)


def read_side(path: Path, n_atoms: int, n_other: int) -> pd.DataFrame:
    """Read the measures of one side.

    The columns are MATCH_COLUMNS, with one row per atom; values are missing if an atom has no match.

    Args:
        path: the file.
        n_atoms: number of atoms of this side.
        n_other: number of atoms of the other side.

    Raises:
        DamagedError: the file cannot be read, or its values are not valid for these atoms.
    """
    try:
        frame = read_table(path, _SCHEMA, n_atoms)
        _check(frame, n_atoms, n_other)
    except ValueError as wrong:
        raise DamagedError(f"{path.name} of comparison {path.parent.name} {wrong}: delete its folder") from wrong
    return frame


def _check(frame: pd.DataFrame, n_atoms: int, n_other: int) -> None:
    """Check the values of a table whose column types are valid.

    Raises ValueError for invalid values, as `read_table` does.
    """
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
"""Interval of a share: its ends are from 0 to 1, and in order."""


@dataclass(frozen=True)
class Comparison:
    """Comparison of the sources of two dictionaries."""

    a: str
    """Id of the dictionary on the left."""
    b: str
    """Id of the dictionary on the right."""
    jaccard: Share
    """Number of sources of both over that of sources of either, for all atoms."""
    shared: Count
    """Number of sources of both."""
    only_a: Count
    """Number of atoms that only A has."""
    only_b: Count
    """Number of atoms that only B has."""
    key: Key
    """Criterion for equal sources: `token` (document and position) or `characters` (document and end in the text)."""
    coverage: Share
    """Share of captured tokens that the other side also captured: the smaller of the two sides' shares."""
    coverage_a: Share
    """Share of A's captured tokens that B also captured."""
    coverage_b: Share
    """Share of B's captured tokens that A also captured."""
    candidates: Count
    """Number of tokens that both captured in documents that neither held out; the basis of the chance values."""
    chance: Share
    """Expected Jaccard similarity if each had chosen its sources at random among the candidates."""
    chance_frequency: Share
    """Expected Jaccard similarity if each had chosen at random among tokens as frequent as those that it chose."""
    interval: ShareInterval
    """95 % bootstrap interval of `jaccard` over documents."""
    documents: Count
    """Number of documents that the bootstrap draws from."""

    @property
    def mirrored(self) -> "Comparison":
        """Comparison with the two sides swapped.

        Values that do not belong to one side are the same in either order.
        """
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
    def parse(cls, raw: Any) -> "Comparison":
        """Parse a summary, which may be untrusted.

        Raises DamagedError, or NewerError for a later version.
        """
        subject, remedy = f"{SUMMARY_FILE} of a comparison", "delete its folder"
        if isinstance(raw, dict):
            check_format(raw.get("version", 1), VERSION, subject, remedy)  # version 1 did not store its number
        return parse(cls, raw, subject, remedy)


def key_of(a: DictionaryManifest, b: DictionaryManifest) -> Key:
    """Return the criterion for equal sources of A and B.

    Raises UserError, with the reason, for dictionaries whose sources cannot be equal.
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
    """Return the folder of a comparison of A with B, in this order.

    The folder is another one after either dictionary is built again.
    """
    return library.comparisons / f"{a.id}--{b.id}-{digest_of(a, b)}"


def kept_summary(library: Library, a: DictionaryManifest, b: DictionaryManifest) -> Path | None:
    """Return the path of the summary of a comparison of two dictionaries.

    The comparison may have been made in either order. None if there is none.
    """
    for first, second in ((a, b), (b, a)):
        summary = folder_of(library, first, second) / SUMMARY_FILE
        if is_file(summary):
            return summary
    return None


def read_comparison(library: Library, a: DictionaryManifest, b: DictionaryManifest) -> Comparison | None:
    """Return the comparison of two dictionaries, or None if there is none.

    Raises DamagedError, or NewerError for one of a later version.
    """
    summary = kept_summary(library, a, b)
    if summary is None:
        return None
    found = Comparison.parse(read_json(summary))
    found = found if summary.parent == folder_of(library, a, b) else found.mirrored
    if (found.a, found.b) != (a.id, b.id):
        raise DamagedError(f"comparison {summary.parent.name} is not of these dictionaries: delete its folder")
    return found


def read_measures(library: Library, a: DictionaryManifest, b: DictionaryManifest) -> Measures | None:
    """Return the measures of the atoms of two dictionaries, or None if there are none.

    Raises DamagedError.
    """
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
    """Return the compared pairs of dictionaries, by name of the comparison's folder.

    They are in order of the records.

    Args:
        library: the library that holds them.
        records: the dictionaries.
        summary: name of the file that the folder of a pair must contain: the summary of a comparison, or of a
            transplant.
    """
    try:
        names = [path.parent.name for path in library.comparisons.glob(f"*/{summary}")]
    except OSError as error:
        raise unreadable(library.comparisons, error) from error
    return named_pairs(library, records, names)


def named_pairs(
    library: Library, records: Sequence[DictionaryManifest], names: Iterable[str]
) -> dict[str, tuple[DictionaryManifest, DictionaryManifest]]:
    """Return the pairs of dictionaries that folder names refer to, by name.

    They are in order of the records. Folders of dictionaries that are not in the records, or that were built again
    since the comparison, are ignored.

    Args:
        library: the library that holds them.
        records: the dictionaries.
        names: names of the folders of comparisons.
    """
    places = {record.id: place for place, record in enumerate(records)}
    found = {}
    for name in names:
        ids = name.rpartition("-")[0]
        for at in range(len(ids)):  # an id may itself contain two dashes
            a, b = places.get(ids[:at]), places.get(ids[at + 2 :])
            if a is not None and b is not None and name == folder_of(library, records[a], records[b]).name:
                found[name] = a, b
    return {name: (records[a], records[b]) for name, (a, b) in sorted(found.items(), key=lambda item: item[1])}


def digest_of(a: DictionaryManifest, b: DictionaryManifest) -> str:
    """Return a hash of the two indexes and the version, for the folder's name."""
    identity = [str(VERSION), a.files[INDEX_FILE], b.files[INDEX_FILE]]
    return short_hash("\n".join(identity))
