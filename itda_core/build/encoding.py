"""Encode a batch of activations into an index."""

import numpy as np
import torch

from itda_core.common.types import Codes
from itda_core.corpus.token_table import TokenTable
from itda_core.corpus.windows import is_held_out
from itda_core.dictionary.dictionary import Dictionary
from itda_core.dictionary.errors import relative_errors, variance_sums
from itda_core.dictionary.norms import row_norms
from itda_core.index.writer import IndexWriter


def encode_batch(
    writer: IndexWriter,
    table: TokenTable,
    dictionary: Dictionary,
    x: torch.Tensor,
    sources: torch.Tensor,
    largest: float | None = None,
) -> None:
    """Add the codes of a batch and their errors to the index of a dictionary.

    The sums of the writer are those of the variance explained, over the tokens that errors are measured on: held-out
    ones, or all if none are held out. Tokens whose norm is over `largest` are as if they had not been captured.

    Args:
        writer: writer of the index.
        table: the tokens of the corpus.
        dictionary: what the batch is encoded with.
        x: [n, d_model] activations.
        sources: [n, 2] document and position of each.
        largest: largest norm of an activation that is encoded; None encodes all.
    """
    norms = row_norms(x)
    used = torch.from_numpy(norms <= (np.inf if largest is None else largest))
    x = x[used]
    codes = dictionary.encode(x)
    reconstruction = dictionary.decode(codes, len(x))
    measured = is_held_out(sources[used, 0]) | (not table.holdout)
    errors = np.full(len(used), np.nan, np.float32)
    errors[used] = relative_errors(x, reconstruction).numpy()
    writer.add(
        table.ordinal(*sources.T.numpy()),
        Codes(np.flatnonzero(used)[codes.row], codes.atom, codes.coefficient),
        errors,
        norms,
        variance_sums(x[measured], reconstruction[measured]),
    )
