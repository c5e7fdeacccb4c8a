"""Write a dictionary's `index.duckdb`.

It holds documents, tokens, atoms and their activations; `itda_core.queries` reads it.

Rows are staged in a database of their own as they arrive, and the index is written from it at once: activations once by
atom and descending coefficient, for queries that start from an atom, and once by token, for queries that start from a
passage. Once written it never changes.

Memory is bounded for any number of tokens: data that does not fit is sorted on disk. A killed process loses only the
batch that it was adding, or the index that it was writing.
"""

import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from itda_core.common.disk_errors import translated_disk_errors
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.norms import NormSummary
from itda_core.common.types import Codes, Document
from itda_core.corpus.token_table import Tokens, TokenTable
from itda_core.corpus.windows import document_batches, is_held_out
from itda_core.dictionary.dictionary import Dictionary
from itda_core.index.checks import check_tables
from itda_core.index.connection import literal
from itda_core.index.memory import THREADS
from itda_core.index.neighbours import cofiring, nearest
from itda_core.index.schema import CONTEXT_RADIUS, HISTOGRAM_BINS, UNKNOWN_SOURCE, declared

EXAMPLES = 20
"""Number of top examples stored with their context, which the search over contexts covers."""
_ADD_MEMORY, _WRITE_MEMORY = "256MB", "1GB"  # one build has a writer open for each site, and writes one at a time
_TOKENS_AT_ONCE = 1 << 17
_CODES_AT_ONCE = 1 << 21
_SUMS_AT_ONCE = 64  # batches whose sums are in memory


class IndexWriter:
    """Writer that collects a dictionary's codes batch by batch, then writes the index."""

    def __init__(self, staging: Path) -> None:
        """Create a staging database at `staging`, or continue that of a killed process.

        Raises DamagedError if the file is not a staged index.
        """
        self._staging = staging
        if not staging.exists():
            _create_staging(staging)
        try:
            with translated_disk_errors(staging.parent):
                self._connection = _connect(staging)
                self._connection.execute("SELECT norm FROM errors LIMIT 0")  # earlier versions had none
                self._batches = self._count("batches")
        except duckdb.Error as error:
            raise DamagedError(f"{str(staging)!r} cannot be continued: delete it and build again ({error})") from error
        # Remove the scratch folder of a killed process.
        shutil.rmtree(_scratch(staging), ignore_errors=True)

    @property
    def batches(self) -> int:
        """Number of complete batches, and so the number, from 0, of the next one to add."""
        return self._batches

    @property
    def n_tokens(self) -> int:
        """Number of tokens in these batches."""
        return self._count("errors")

    def add(
        self, tokens: np.ndarray, codes: Codes, errors: np.ndarray, norms: np.ndarray, sums: np.ndarray | None = None
    ) -> None:
        """Add one batch in a transaction: durable and complete, or not at all.

        Args:
            tokens: [n] the tokens' ordinals in the tokenised corpus (`TokenTable`).
            codes: their sparse codes.
            errors: [n] relative reconstruction errors; NaN for tokens that are left out, without codes.
            norms: [n] norms of the activations.
            sums: [k] float64 that `sums` adds up over the batches, of any meaning.
        """
        self._connection.begin()
        try:
            self._insert(
                "codes",
                token=tokens[codes.row].astype(np.int32),
                atom=codes.atom.astype(np.int32),
                coefficient=codes.coefficient,
                step=_rank_within(codes.row).astype(np.int32),
            )
            self._insert(
                "errors",
                token=tokens.astype(np.int32),
                error=pa.array(errors.astype(np.float32), mask=np.isnan(errors)),
                norm=norms.astype(np.float32),
            )
            added = pa.array([[] if sums is None else sums.tolist()], pa.list_(pa.float64()))
            self._insert("batches", batch=np.array([self._batches], np.int32), sums=added)
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()
        self._batches += 1

    def write(self, path: Path, dictionary: Dictionary, table: TokenTable, documents: Iterable[Document]) -> None:
        """Write the index to `path` atomically, replacing an existing file.

        Args:
            path: in an existing folder.
            dictionary: the atoms that the codes refer to; a source below 0 is unknown.
            table: the tokens of the documents; empty for a dictionary that was imported without its corpus.
            documents: the corpus from its first document on; read as far as the tokens extend.
        """
        part = path.with_name(f".{path.name}.part")
        for left in (part, _log(part)):
            left.unlink(missing_ok=True)
        self._connection.execute("CHECKPOINT")  # data that is not yet in the file stays in memory
        self._connection.execute(f"SET memory_limit = '{_WRITE_MEMORY}'")
        self._connection.execute(f"ATTACH {literal(part)} AS index")
        try:
            self._write_passages(table, documents)
            self._connection.execute(
                """
                CREATE TABLE index.activations AS
                    SELECT atom, coefficient, token FROM codes ORDER BY atom, coefficient DESC, token;
                CREATE TABLE index.codes AS SELECT token, atom, coefficient FROM codes ORDER BY token, step;
                """
            )
            self._write_atoms(dictionary, table)
            self._write_histograms()
            self._write_examples()
            self._insert("index.neighbours", create=True, **nearest(dictionary.atoms))
            self._insert("index.cofiring", create=True, **cofiring(self._codes, len(dictionary)))
            check_tables(self._connection, path, "index")
            self._connection.execute("CHECKPOINT index")
        finally:
            self._connection.execute("DETACH index")
            self._connection.execute(f"SET memory_limit = '{_ADD_MEMORY}'")
        _put(part, path)

    def mean_error(self, table: TokenTable) -> tuple[float, int]:
        """Return the mean of the added errors, and the number of tokens it covers.

        Over the held-out tokens, or over all if none are held out. Raises UserError if there are none.
        """
        total, n = 0.0, 0
        for first in range(0, len(table), _TOKENS_AT_ONCE):
            rows = table.rows(first, min(first + _TOKENS_AT_ONCE, len(table)))
            added = self._connection.execute(
                "SELECT token, error FROM errors WHERE error IS NOT NULL AND token BETWEEN ? AND ? ORDER BY token",
                [int(rows.token[0]), int(rows.token[-1])],
            ).fetchnumpy()
            errors = np.asarray(added["error"])
            if table.holdout:
                errors = errors[is_held_out(rows.document[np.asarray(added["token"]) - first])]
            total, n = total + float(errors.sum(dtype=np.float64)), n + len(errors)
        if n == 0:
            raise UserError("no token is left to measure errors on: allow larger norms, or read more tokens")
        return total / n, n

    def norms(self, dictionary: Dictionary, table: TokenTable) -> NormSummary | None:
        """Return the summary of the added norms, and of those of the atoms' sources; None if no token was added."""
        added = self._connection.execute("SELECT token, norm FROM errors ORDER BY token").fetchnumpy()
        tokens, norms = np.asarray(added["token"]), np.asarray(added["norm"])
        if not len(tokens):
            return None
        of_atoms = np.full(len(dictionary), np.nan)
        at = np.minimum(np.searchsorted(tokens, own := _tokens_of(dictionary, table)), len(tokens) - 1)
        is_there = tokens[at] == own
        of_atoms[is_there] = norms[at[is_there]]
        ((left_out,),) = self._connection.execute("SELECT count(*) - count(error) FROM errors").fetchall()
        return NormSummary.of(norms, of_atoms, left_out)

    def sums(self) -> np.ndarray:
        """Return [k] float64: the sums of all batches, added up in their order."""
        found = self._connection.execute("SELECT sums FROM batches ORDER BY batch")
        total = np.zeros(0)
        while rows := found.fetchmany(_SUMS_AT_ONCE):
            for (row,) in rows:
                total = np.array(row) + (total if len(total) else 0.0)
        return total

    def close(self) -> None:
        """Close and delete the staging database."""
        self._connection.close()
        for left in (self._staging, _log(self._staging)):
            left.unlink(missing_ok=True)
        shutil.rmtree(_scratch(self._staging), ignore_errors=True)

    def _insert(self, into: str, /, create: bool = False, **columns: np.ndarray | list | pa.Array) -> None:
        rows = pa.table(columns)  # DuckDB finds it by its name in the statement
        verb = f"CREATE TABLE {into} AS" if create else f"INSERT INTO {into}"
        self._connection.execute(f"{verb} SELECT * FROM rows")
        del rows

    def _count(self, table: str) -> int:
        return self._connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]

    def _write_passages(self, table: TokenTable, documents: Iterable[Document]) -> None:
        """Write the documents as far as the tokens extend, and the tokens."""
        for name in ("documents", "tokens"):
            self._connection.execute(f"CREATE TABLE index.{name} ({declared(name)})")
        n_documents = int(table.document[-1]) + 1 if len(table) else 0
        for first, batch in document_batches(islice(documents, n_documents)):
            ordinals = range(first, first + len(batch))
            self._insert(
                "index.documents",
                document=np.array(ordinals, np.int32),
                name=[document.name for document in batch],
                text=[document.text for document in batch],
                held_out=[table.held_out(ordinal) for ordinal in ordinals],
            )
            stop = table.first_of(ordinals.stop)
            for at in range(table.first_of(first), stop, _TOKENS_AT_ONCE):
                self._write_tokens(table.rows(at, min(at + _TOKENS_AT_ONCE, stop)), batch, first)

    def _write_tokens(self, rows: Tokens, batch: list[Document], first: int) -> None:
        """Write the tokens of a batch of documents; `first` is the first one's ordinal."""
        error = np.zeros(len(rows.token), np.float32)
        captured = np.zeros(len(rows.token), bool)
        measured = self._connection.execute(
            "SELECT token, error FROM errors WHERE error IS NOT NULL AND token BETWEEN ? AND ?",
            [int(rows.token[0]), int(rows.token[-1])],
        ).fetchnumpy()
        at = measured["token"] - rows.token[0]
        error[at], captured[at] = measured["error"], True
        # A token is displayed from the end of the previous one, so that the tokens of a window concatenate to its text.
        places = zip((rows.document - first).tolist(), rows.shown_from.tolist(), rows.stop.tolist(), strict=True)
        columns = rows._asdict()
        del columns["shown_from"]
        self._insert(
            "index.tokens",
            **columns,
            text=[batch[document].text[start:stop] for document, start, stop in places],
            error=pa.array(error, mask=~captured),
        )

    def _write_atoms(self, dictionary: Dictionary, table: TokenTable) -> None:
        # A token that is a later byte of a character displays as empty in its passage; as a label it is the character.
        errors = dictionary.admission_errors.numpy()
        self._connection.execute("DROP TABLE IF EXISTS staged_atoms")  # left by a process that was killed while writing
        self._insert(
            "staged_atoms",
            create=True,
            atom=np.arange(len(dictionary), dtype=np.int32),
            token=_tokens_of(dictionary, table),
            admission_error=pa.array(errors, mask=np.isnan(errors)),
        )
        self._connection.execute(
            f"""
            CREATE TABLE index.atoms AS
            WITH
                fired AS (
                    SELECT atom, count(*) AS count, avg(coefficient) AS mean, max(coefficient) AS maximum,
                        min(coefficient) AS minimum, max(abs(coefficient)) AS strongest
                    FROM index.activations GROUP BY atom
                ),
                placed AS (SELECT * FROM staged_atoms LEFT JOIN index.tokens USING (token)),
                passages AS (
                    SELECT atom, string_agg(t.text, '' ORDER BY t.token) FILTER (step < 0) AS before,
                        string_agg(t.text, '' ORDER BY t.token) FILTER (step > 0) AS after
                    FROM placed p CROSS JOIN range(-{CONTEXT_RADIUS}, {CONTEXT_RADIUS + 1}) AS near(step)
                        JOIN index.tokens t ON t.token = p.token + step AND t.document = p.document
                    GROUP BY atom
                )
            SELECT atom, token, coalesce(document, -1) AS document, coalesce(position, -1) AS position,
                coalesce(token_id, -1) AS token_id,
                coalesce(nullif(p.text, ''), substring(d.text, start + 1, stop - start), $unknown) AS label,
                coalesce(before, '') AS before, coalesce(after, '') AS after, admission_error,
                coalesce(count, 0) AS count,
                coalesce(coalesce(count, 0) / (SELECT nullif(count(error), 0) FROM errors), 0) AS density,
                mean, maximum, minimum, strongest
            FROM placed p LEFT JOIN passages USING (atom) LEFT JOIN index.documents d USING (document)
                LEFT JOIN fired USING (atom)
            ORDER BY atom
            """,
            {"unknown": UNKNOWN_SOURCE},
        )

    def _write_histograms(self) -> None:
        self._connection.execute(
            f"""
            CREATE TABLE index.histograms AS
            SELECT atom, count(*)::INTEGER AS count,
                CASE WHEN maximum > minimum THEN
                    least({HISTOGRAM_BINS - 1},
                        floor((coefficient - minimum) / (maximum - minimum) * {HISTOGRAM_BINS}))
                ELSE 0 END::INTEGER AS bin
            FROM index.activations JOIN index.atoms USING (atom) GROUP BY atom, bin ORDER BY atom, bin
            """
        )

    def _write_examples(self) -> None:
        self._connection.execute(
            f"""
            CREATE TABLE index.examples AS
            WITH
                strongest AS (
                    -- the least of these, not a window over all activations, which would be sorted anew for it
                    SELECT atom, min({{'weakness': -abs(coefficient), 'token': token, 'coefficient': coefficient}},
                        {EXAMPLES}) AS fired
                    FROM index.activations GROUP BY atom
                ),
                ranked AS (
                    SELECT atom, rank, example.token AS token, example.coefficient AS coefficient
                    FROM (SELECT atom, unnest(fired) AS example, generate_subscripts(fired, 1) AS rank FROM strongest)
                ),
                places AS (SELECT DISTINCT token, document FROM ranked JOIN index.tokens USING (token)),
                contexts AS (
                    SELECT p.token, string_agg(t.text, '' ORDER BY t.token) AS context
                    FROM places p CROSS JOIN range(-{CONTEXT_RADIUS}, {CONTEXT_RADIUS + 1}) AS near(step)
                        JOIN index.tokens t ON t.token = p.token + step AND t.document = p.document
                    GROUP BY p.token
                )
            SELECT atom, rank, token, coefficient, context FROM ranked JOIN contexts USING (token) ORDER BY atom, rank
            """
        )

    def _codes(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield token and atom of every code, in order of tokens, part by part."""
        tokens, codes = self._count("errors"), self._count("index.codes")
        span = max(1, _CODES_AT_ONCE * tokens // max(1, codes))
        ((last,),) = self._connection.execute("SELECT coalesce(max(token), -1) FROM index.codes").fetchall()
        for first in range(0, last + 1, span):
            part = self._connection.execute(
                "SELECT token, atom FROM index.codes WHERE token >= ? AND token < ? ORDER BY token",
                [first, first + span],
            ).fetchnumpy()
            if len(part["token"]):
                yield np.asarray(part["token"]), np.asarray(part["atom"])


def _tokens_of(dictionary: Dictionary, table: TokenTable) -> np.ndarray:
    """Return the token [n_atoms] int32 of each atom's source; -1 if unknown."""
    sources = dictionary.sources.numpy()
    is_known = (sources >= 0).all(axis=1)
    found = np.full(len(dictionary), -1, np.int32)
    found[is_known] = table.ordinal(sources[is_known, 0], sources[is_known, 1])
    return found


def _create_staging(staging: Path) -> None:
    """Create an empty staging database atomically."""
    part = staging.with_name(f".{staging.name}.part")
    for left in (part, _log(part)):
        left.unlink(missing_ok=True)
    with _connect(part) as connection:
        connection.execute(
            """
            CREATE TABLE codes (token INTEGER, atom INTEGER, coefficient FLOAT, step INTEGER);
            CREATE TABLE errors (token INTEGER, error FLOAT, norm FLOAT);
            CREATE TABLE batches (batch INTEGER, sums DOUBLE[]);
            """
        )
        connection.execute("CHECKPOINT")  # the implicit one on closing does not report failures
    _put(part, staging)


def _put(part: Path, path: Path) -> None:
    """Move a closed database into place.

    Raises UserError if part of it is not in its file.
    """
    if _log(part).exists():
        raise UserError(f"{part} could not be written to its end: look at its disk, and run the same command again")
    part.replace(path)


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    settings = {"memory_limit": _ADD_MEMORY, "threads": THREADS, "temp_directory": str(_scratch(path))}
    return duckdb.connect(str(path), config=settings)


def _log(database: Path) -> Path:
    """Return the path of a database's write-ahead log."""
    return database.with_name(database.name + ".wal")


def _scratch(database: Path) -> Path:
    """Return the folder for DuckDB's temporary data.

    It is beside the database, since other folders may be in memory.
    """
    return database.with_name(database.name + ".tmp")


def _rank_within(sorted_groups: np.ndarray) -> np.ndarray:
    """Return [n] index of each element within its run of equal ones, from 0."""
    starts = np.flatnonzero(np.diff(sorted_groups, prepend=-1))
    return np.arange(len(sorted_groups)) - np.repeat(starts, np.diff(np.append(starts, len(sorted_groups))))
