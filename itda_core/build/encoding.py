"""Encode a batch of activations into an index."""

import torch

from itda_core.corpus.token_table import TokenTable
from itda_core.corpus.windows import is_held_out
from itda_core.dictionary.dictionary import Dictionary
from itda_core.dictionary.errors import relative_errors, variance_sums
from itda_core.dictionary.norms import row_norms, within
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
    ones, or all if none are held out, whose norm is at most `largest`.

    Args:
        writer: writer of the index.
        table: the tokens of the corpus.
        dictionary: what the batch is encoded with.
        x: [n, d_model] activations.
        sources: [n, 2] document and position of each.
        largest: largest norm of a measured activation; None measures all.
    """
    codes = dictionary.encode(x)
    reconstruction = dictionary.decode(codes, len(x))
    measured = (is_held_out(sources[:, 0]) | (not table.holdout)) & within(x, largest)
    writer.add(
        table.ordinal(*sources.T.numpy()),
        codes,
        relative_errors(x, reconstruction).numpy(),
        row_norms(x),
        variance_sums(x[measured], reconstruction[measured]),
    )
