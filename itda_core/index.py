"""Writes a dictionary's `index.duckdb`: documents, tokens, atoms and where each atom fires. `queries.py` reads it.

Rows are staged in a database of their own as they come, so memory stays bounded, and the index is written from it in
one go: activations once by atom and falling coefficient, for everything that starts from an atom, and once by token,
for everything that starts from a passage. Once written it never changes.
"""

from collections.abc import Iterable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import scipy.sparse
import torch

from itda_core.dictionary import Dictionary
from itda_core.queries import CONTEXT_RADIUS, HISTOGRAM_BINS
from itda_core.types import Codes, Document
from itda_core.windows import TokenTable

LISTED = 10
"""Nearest and co-firing atoms kept for each atom."""
EXAMPLES = 20
"""Top examples kept with their context, which the search over contexts looks through."""
_ATOMS_AT_ONCE = 256


class IndexWriter:
    """Gathers a dictionary's codes batch by batch, then writes the index."""

    def __init__(self, staging: Path) -> None:
        """Stage in a database file at `staging`, which must not exist."""
        self._staging = staging
        self._connection = duckdb.connect(str(staging))
        self._connection.execute("CREATE TABLE codes (token INTEGER, atom INTEGER, coefficient FLOAT, step INTEGER)")
        self._connection.execute("CREATE TABLE errors (token INTEGER, error FLOAT)")

    def add(self, tokens: np.ndarray, codes: Codes, errors: np.ndarray) -> None:
        """Add one batch.

        Args:
            tokens: [n] the tokens' ordinals in the corpus as tokenised (`TokenTable`).
            codes: their sparse codes.
            errors: [n] relative reconstruction errors.
        """
        self._insert(
            "codes",
            token=tokens[codes.row].astype(np.int32),
            atom=codes.atom.astype(np.int32),
            coefficient=codes.coefficient,
            step=_rank_within(codes.row).astype(np.int32),
        )
        self._insert("errors", token=tokens.astype(np.int32), error=errors.astype(np.float32))

    def write(self, path: Path, dictionary: Dictionary, table: TokenTable, documents: Iterable[Document]) -> None:
        """Write the index to `path`, which must not exist.

        Args:
            dictionary: the atoms that the codes refer to.
            table: the tokens of the documents.
            documents: the corpus from its first document on; read as far as the tokens go.
        """
        self._connection.execute(f"ATTACH {_literal(path)} AS index")
        self._write_documents(table, documents)
        self._write_tokens(table)
        self._connection.execute(
            """
            CREATE TABLE index.activations AS
                SELECT atom, coefficient, token FROM codes ORDER BY atom, coefficient DESC;
            CREATE TABLE index.codes AS SELECT token, atom, coefficient FROM codes ORDER BY token, step;
            """
        )
        self._write_atoms(dictionary, table)
        self._write_histograms()
        self._write_examples()
        self._insert("index.neighbours", create=True, **_nearest(dictionary.atoms))
        self._insert("index.cofiring", create=True, **self._cofiring(len(dictionary), len(table)))
        self._connection.execute("CHECKPOINT index")

    def close(self) -> None:
        """Close and delete the staging database."""
        self._connection.close()
        self._staging.unlink(missing_ok=True)

    def _insert(self, into: str, /, create: bool = False, **columns: np.ndarray | list) -> None:
        rows = pa.table(columns)  # found by its name in the statement
        verb = f"CREATE TABLE {into} AS" if create else f"INSERT INTO {into}"
        self._connection.execute(f"{verb} SELECT * FROM rows")
        del rows

    def _write_documents(self, table: TokenTable, documents: Iterable[Document]) -> None:
        self._connection.execute(
            "CREATE TABLE index.documents (document INTEGER, name VARCHAR, text VARCHAR, held_out BOOLEAN)"
        )
        last = table.document[-1]
        pending: list[tuple[int, str, str, bool]] = []
        for ordinal, document in enumerate(documents):
            if ordinal <= last:
                pending.append((ordinal, document.name, document.text, bool(table.held_out(ordinal))))
            if len(pending) == 1000 or (pending and ordinal >= last):
                ordinals, names, texts, held_out = zip(*pending, strict=True)
                self._insert(
                    "index.documents",
                    document=list(ordinals),
                    name=list(names),
                    text=list(texts),
                    held_out=list(held_out),
                )
                pending = []
            if ordinal >= last:
                break

    def _write_tokens(self, table: TokenTable) -> None:
        columns = {
            "token": np.arange(len(table), dtype=np.int32),
            "document": table.document,
            "position": table.position,
            "token_id": table.token_id,
            "start": table.start,
            "stop": table.stop,
            "shown_from": table.shown_from,
        }
        self._insert("staged_tokens", create=True, **columns)
        # A token is shown from where the one before it ended, so that the tokens of a window read as its text.
        self._connection.execute(
            """
            CREATE TABLE index.tokens AS
            SELECT token, t.document, position, token_id, start, stop,
                substring(d.text, shown_from + 1, greatest(0, stop - shown_from)) AS text, error
            FROM staged_tokens t JOIN index.documents d USING (document) LEFT JOIN errors USING (token)
            ORDER BY token
            """
        )

    def _write_atoms(self, dictionary: Dictionary, table: TokenTable) -> None:
        # A later byte of a character is shown as nothing in its passage; as a label it is the character.
        sources = dictionary.sources.numpy()
        errors = dictionary.admission_errors.numpy()
        self._insert(
            "staged_atoms",
            create=True,
            atom=np.arange(len(dictionary), dtype=np.int32),
            token=table.ordinal(sources[:, 0], sources[:, 1]),
            admission_error=[None if np.isnan(error) else float(error) for error in errors],
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
                placed AS (SELECT * FROM staged_atoms JOIN index.tokens USING (token)),
                passages AS (
                    SELECT atom, string_agg(t.text, '' ORDER BY t.token) FILTER (step < 0) AS before,
                        string_agg(t.text, '' ORDER BY t.token) FILTER (step > 0) AS after
                    FROM placed p CROSS JOIN range(-{CONTEXT_RADIUS}, {CONTEXT_RADIUS + 1}) AS near(step)
                        JOIN index.tokens t ON t.token = p.token + step AND t.document = p.document
                    GROUP BY atom
                )
            SELECT atom, token, document, position, token_id,
                coalesce(nullif(p.text, ''), substring(d.text, start + 1, stop - start)) AS label,
                coalesce(before, '') AS before, coalesce(after, '') AS after, admission_error,
                coalesce(count, 0) AS count, coalesce(count, 0) / (SELECT count(*) FROM errors) AS density,
                mean, maximum, minimum, strongest
            FROM placed p JOIN passages USING (atom) JOIN index.documents d USING (document)
                LEFT JOIN fired USING (atom)
            ORDER BY atom
            """
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
                ranked AS (
                    SELECT atom, coefficient, token,
                        row_number() OVER (PARTITION BY atom ORDER BY abs(coefficient) DESC, token) AS rank
                    FROM index.activations QUALIFY rank <= {EXAMPLES}
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

    def _cofiring(self, n_atoms: int, n_tokens: int) -> dict[str, np.ndarray]:
        """For each atom the atoms that fire on the same tokens, by Jaccard similarity of the sets of tokens."""
        fired = self._connection.execute("SELECT token, atom FROM index.codes").fetchnumpy()
        by_token = scipy.sparse.csr_array(
            (np.ones(len(fired["token"]), np.int32), (fired["token"], fired["atom"])), shape=(n_tokens, n_atoms)
        )
        by_atom = by_token.T.tocsr()
        counts = np.diff(by_atom.indptr)
        listed = min(LISTED, n_atoms - 1)
        others, boths, similarities = [], [], []
        for start in range(0, n_atoms, _ATOMS_AT_ONCE):
            both = (by_atom[start : start + _ATOMS_AT_ONCE] @ by_token).toarray()
            similarity = both / np.maximum(counts[start : start + len(both), None] + counts - both, 1)
            np.fill_diagonal(similarity[:, start:], -1)  # below any similarity, so that an atom does not list itself
            best = (
                np.argpartition(-similarity, listed - 1, axis=1)[:, :listed]
                if listed
                else similarity[:, :0].astype(int)
            )
            order = np.lexsort((best, -np.take_along_axis(similarity, best, 1)))
            best = np.take_along_axis(best, order, 1)
            others.append(best)
            boths.append(np.take_along_axis(both, best, 1))
            similarities.append(np.take_along_axis(similarity, best, 1))
        columns = _ranked(np.concatenate(others))
        columns["together"] = np.concatenate(boths).ravel().astype(np.int32)
        columns["jaccard"] = np.concatenate(similarities).ravel().astype(np.float32)
        fired_together = columns["together"] > 0
        return {name: column[fired_together] for name, column in columns.items()}


def _ranked(others: np.ndarray) -> dict[str, np.ndarray]:
    """Columns atom, rank (from 1) and other, of the atoms listed for each atom [n_atoms, listed], the best first."""
    n_atoms, listed = others.shape
    return {
        "atom": np.repeat(np.arange(n_atoms, dtype=np.int32), listed),
        "rank": np.tile(np.arange(1, listed + 1, dtype=np.int32), n_atoms),
        "other": others.ravel().astype(np.int32),
    }


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _rank_within(sorted_groups: np.ndarray) -> np.ndarray:
    """[n] place of each element within its run of equal ones, from 0."""
    starts = np.flatnonzero(np.diff(sorted_groups, prepend=-1))
    return np.arange(len(sorted_groups)) - np.repeat(starts, np.diff(np.append(starts, len(sorted_groups))))


def _nearest(atoms: torch.Tensor) -> dict[str, np.ndarray]:
    """For each atom the atoms most alike by cosine, itself left out."""
    listed = min(LISTED, len(atoms) - 1)
    others, cosines = [], []
    for start in range(0, len(atoms), _ATOMS_AT_ONCE):
        cosine = atoms[start : start + _ATOMS_AT_ONCE] @ atoms.T
        cosine.diagonal(start).fill_(-2)  # below any cosine, so that an atom does not list itself
        top = cosine.topk(listed, dim=1)
        others.append(top.indices)
        cosines.append(top.values)
    columns = _ranked(torch.cat(others).numpy())
    columns["cosine"] = torch.cat(cosines).flatten().numpy()
    return columns
