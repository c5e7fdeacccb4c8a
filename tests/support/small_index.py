"""A small index with everything odd in it, and its tables as they were first written.

`index_tables.json` holds every row of every table, in order, as the first version of `IndexWriter` wrote them: how the
writer works may change, what it writes may not. `python -m tests.support.small_index` writes the file
again, for a change that is meant.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import torch
from tokenizers import Tokenizer

from itda_core.common.settings import DictionarySettings, WindowSettings
from itda_core.common.types import Codes, Document
from itda_core.corpus.token_table import TokenTable
from itda_core.corpus.windows import make_windows
from itda_core.dictionary.dictionary import Dictionary
from itda_core.index.writer import IndexWriter
from tests.support.places import MODEL_A

TABLES_FILE = Path(__file__).with_name("index_tables.json")
_TOKENIZER = MODEL_A / "tokenizer.json"
_ATOMS, _WIDTH = 24, 16

Batch = tuple[np.ndarray, Codes, np.ndarray, np.ndarray]


class SmallIndex:
    """What a small index is made of, the same at every call."""

    def __init__(self) -> None:
        self.documents = [
            Document("plain", "The quick brown fox jumps over the lazy dog, and then it sleeps for a long while. "),
            Document("empty", ""),
            Document("bytes", "naïve café: 漢字かな交じり文 and 🦊🦊 in one line"),
            Document("code", "for x in range(10):\n\tprint(x ** 2)  # squares\n\n\n    return None\n"),
            Document("one", "a"),
            Document("long", "The reader goes on. " * 9 + "Ünd so weiter; " * 3),
            Document("markup", "<b>not bold</b> & 'quoted' \"twice\" \\ $1 ? NULL"),
            *(Document(f"more {n}", f"Document {n} returns the array of shape ({n}, {n + 1}).") for n in range(7, 13)),
            Document("never read", "This one lies behind the last token that is wanted."),
        ]
        tokenizer = Tokenizer.from_file(str(_TOKENIZER))
        windows = list(make_windows(self.documents, tokenizer, WindowSettings(context=16, windows="all"), 262))
        self.table = TokenTable.of(windows, holdout=True)
        places = [(window.document, window.position + at) for window in windows for at in window.captured]
        self._tokens = self.table.ordinal(*np.array(places, np.int64).T)
        random = np.random.default_rng(7)
        atoms = torch.from_numpy(random.normal(size=(_ATOMS, _WIDTH)).astype(np.float32))
        sources = torch.tensor([places[at] for at in random.permutation(len(places))[:_ATOMS]])
        errors = torch.from_numpy(np.where(random.random(_ATOMS) < 0.2, np.nan, random.random(_ATOMS)))
        self.dictionary = Dictionary(torch.nn.functional.normalize(atoms, dim=1), sources, DictionarySettings(), errors)
        self.batches = list(self._batches(random))

    def _batches(self, random: np.random.Generator) -> Iterator[Batch]:
        often = random.dirichlet(np.full(_ATOMS - 1, 0.7)) + 0.002  # the last atom never fires
        for tokens in np.array_split(self._tokens, 9):
            rows, atoms = [], []
            for row in range(len(tokens)):
                fired = random.choice(_ATOMS - 1, random.integers(0, 7), replace=False, p=often / often.sum())
                rows += [row] * len(fired)
                atoms += fired.tolist()
            coefficients = (random.normal(size=len(rows)) * 5).astype(np.float32)
            codes = Codes(np.array(rows, np.int64), np.array(atoms, np.int64), coefficients)
            errors = random.random(len(tokens)).astype(np.float32)
            yield tokens, codes, errors, np.ones(len(tokens), np.float32)

    def write(self, folder: Path) -> Path:
        """Write the index into a folder and return its path."""
        path = folder / "index.duckdb"
        writer = IndexWriter(folder / "staging.duckdb")
        for batch in self.batches:
            writer.add(*batch)
        writer.write(path, self.dictionary, self.table, self.documents)
        writer.close()
        return path


def tables(path: Path) -> dict[str, dict[str, Any]]:
    """Every table of an index: its columns with their types, and its rows in the order in which they are stored."""
    with duckdb.connect(str(path), read_only=True) as connection:
        query: Callable[[str], list[tuple]] = lambda sql: connection.execute(sql).fetchall()  # noqa: E731
        names = sorted(name for (name,) in query("SELECT table_name FROM duckdb_tables()"))
        return {
            name: {
                "columns": [list(column[:2]) for column in query(f"DESCRIBE {name}")],
                "rows": [list(row) for row in query(f"SELECT * FROM {name}")],
            }
            for name in names
        }


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        written = tables(SmallIndex().write(Path(folder)))
    lines = [f"{json.dumps(name)}: {json.dumps(table, ensure_ascii=False)}" for name, table in written.items()]
    TABLES_FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
