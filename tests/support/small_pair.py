"""Two small indexes over one corpus whose every number can be worked out by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from itda_core.common.settings import DictionarySettings
from itda_core.common.types import Codes, Document
from itda_core.corpus.token_table import TokenTable
from itda_core.corpus.windows import Window
from itda_core.dictionary.dictionary import Dictionary
from itda_core.index.writer import IndexWriter

WORDS = 4
"""Words of a document, of five characters each with the space: `aa00 ab01 …`; the first token is not captured."""
DOCUMENTS = [Document(f"document {n}", "".join(f"{'abcd'[w]}{n:03d} " for w in range(WORDS))) for n in range(12)]
"""Ordinal 9 is held out."""
_WIDTH = 8

Places = Sequence[tuple[int, int]]


def windows(pieces: int, ids: Sequence[int] | None = None, documents: int = len(DOCUMENTS)) -> list[Window]:
    """The documents as a tokenizer cuts them that makes each word `pieces` tokens, the last of them one with the space.

    Args:
        pieces: 1, or 2 of which the first ends within the word.
        ids: the tokenizer's number of each token, over all documents; all the same unless given.
        documents: how many of them are read.
    """
    found = []
    for document in range(documents):
        ends = [5 * word + stop for word in range(WORDS) for stop in ((5,) if pieces == 1 else (2, 5))]
        spans = list(zip([0, *ends[:-1]], ends, strict=True))
        first = document * len(spans)
        own = [7] * len(spans) if ids is None else list(ids[first : first + len(spans)])
        found.append(Window(document, [], own, [], 0, spans, range(1, len(spans))))
    return found


def write_index(
    folder: Path, cut: list[Window], sources: Places, codes: np.ndarray | None = None, holdout: bool = True
) -> Path:
    """Write an index into a new folder.

    Args:
        folder: where.
        cut: the documents as read.
        sources: of the atoms, document and position of each.
        codes: [n_captured, n_atoms] coefficients; none unless given.
        holdout: whether document 9 is held out.
    """
    folder.mkdir(parents=True)
    table = TokenTable.of(cut, holdout=holdout)
    places = np.array([(window.document, window.position + at) for window in cut for at in window.captured])
    tokens = table.ordinal(*places.T)
    atoms = torch.nn.functional.normalize(torch.ones(len(sources), _WIDTH), dim=1)
    errors = torch.linspace(0.9, 0.3, len(sources), dtype=torch.float64)
    dictionary = Dictionary(atoms, torch.tensor(sources), DictionarySettings(), errors)
    dense = np.zeros((len(tokens), len(sources)), np.float32) if codes is None else codes.astype(np.float32)
    row, atom = np.nonzero(dense)
    writer = IndexWriter(folder / "staging.duckdb")
    writer.add(tokens, Codes(row, atom, dense[row, atom]), np.full(len(tokens), 0.25, np.float32), np.ones(len(tokens)))
    writer.write(folder / "index.duckdb", dictionary, table, DOCUMENTS)
    writer.close()
    return folder / "index.duckdb"
