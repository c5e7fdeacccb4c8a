"""Encode a corpus with a dictionary made by another tool, and verify its sources.

Every captured token is encoded. A source is confirmed if the model's activation at that token is the atom. The
published code reads models with TransformerLens, which may subtract the mean from every activation. The codes of such
a dictionary are the same with and without the mean, and so is the confirmation of its sources; its errors include the
mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from itda_core.build.encoding import encode_batch
from itda_core.capture.local import Capture
from itda_core.common.errors import UserError
from itda_core.common.keys import row_keys
from itda_core.common.settings import BuildSettings, CorpusSettings, WindowSettings
from itda_core.common.types import Site
from itda_core.corpus.store import Corpus
from itda_core.corpus.token_table import TokenTable, check_held_out
from itda_core.corpus.windows import Window, check_documents, make_windows
from itda_core.dictionary.dictionary import Dictionary
from itda_core.dictionary.mean import centered
from itda_core.dictionary.norms import NormLimit
from itda_core.index.writer import IndexWriter
from itda_core.interop.external import UNKNOWN
from itda_core.jobs.job import Job
from itda_core.library.library import Library
from itda_core.models.model import Model

_SAME = 0.999
"""Minimum cosine of an activation and an atom that are equal: half precision deviates by less, other tokens by
more."""


@dataclass(frozen=True)
class Reading:
    """A model and a corpus to encode with an imported dictionary."""

    model: str
    """Folder in Hugging Face format, GGUF file, or a model id on the Hub."""
    corpus: CorpusSettings
    """Corpus of texts; it has to be the dictionary's own for its sources to be confirmed."""
    context: int | None = None
    """Tokens of the document in a window; None uses the dictionary's value."""
    keep_first: bool = False
    """Whether a window's first token is captured too."""
    tokens: int = 200_000
    """Maximum number of captured tokens."""
    batch_windows: int = 16
    """Windows in one forward pass."""
    revision: str | None = None
    """Revision of the model on the Hub."""
    device: str | None = None
    """Device that the model runs on; None selects CUDA if available."""
    dtype: str = "float32"
    """Data type of the model's computation."""

    def __post_init__(self) -> None:
        BuildSettings((0,), tokens=self.tokens, batch_windows=self.batch_windows)  # validates them
        if self.context is not None:
            WindowSettings(self.context)


class Encoding:
    """Encoding of a corpus with an imported dictionary."""

    def __init__(self, model: Model, corpus: Corpus, reading: Reading, holdout: bool, library: Library) -> None:
        self.model, self.corpus, self._reading = model, corpus, reading
        self.table = TokenTable.of(self._windows(), holdout, library.root)
        if self.table.n_captured == 0:
            raise UserError(f"nothing to capture: every document of {corpus.id} has a single token or none")
        if holdout:
            check_documents(corpus.n_documents, corpus.settings.documents, otherwise="")
        check_held_out(self.table, reading.tokens, otherwise="")

    def run(self, dictionary: Dictionary, site: Site, writer: IndexWriter, job: Job) -> torch.Tensor:
        """Encode every captured token and return the confirmed sources.

        Shape [n_atoms, 2]; sources that the model does not confirm are unknown.
        """
        is_place = (dictionary.sources >= 0).all(dim=1).numpy()
        keys = np.full(len(dictionary), -1, np.int64)
        keys[is_place] = row_keys(dictionary.sources.numpy()[is_place])
        best = torch.full((len(dictionary),), -1.0)
        capture, largest = Capture(self.model, [site], self._windows, self._reading.batch_windows), None
        if dictionary.settings.max_norm is not None:
            job.stage("measuring norms", self.table.n_captured)
            limit = NormLimit(dictionary.settings.max_norm)
            for batch in capture:
                limit.add(batch.activations[site])
                job.advance(len(batch.sources))
            largest = limit.largest()
        job.stage("encoding", self.table.n_captured)
        for batch in capture:
            x, sources = batch.activations[site], batch.sources.numpy()
            encode_batch(writer, self.table, dictionary, x, batch.sources, largest)
            here = row_keys(sources)  # ascending
            row = np.minimum(np.searchsorted(here, keys), len(here) - 1)
            at = np.flatnonzero(here[row] == keys)
            if len(at):
                own = centered(x[torch.from_numpy(row[at])], dictionary.mean)
                best[torch.from_numpy(at)] = _cosine(own, dictionary.atoms[torch.from_numpy(at)])
            job.advance(len(x))
        known = dictionary.sources.clone()
        known[best < _SAME] = torch.tensor(UNKNOWN)
        return known

    def _windows(self) -> Iterator[Window]:
        return make_windows(self.corpus.documents(), self.model.tokenizer, self.corpus.cut, self._reading.tokens)


def _cosine(x: torch.Tensor, atoms: torch.Tensor) -> torch.Tensor:
    """Return the cosine of each activation with its atom.

    Shape [n]; the larger one of the cosines with and without the activation's mean.
    """
    plain = torch.nn.functional.cosine_similarity(x, atoms)
    return torch.maximum(plain, torch.nn.functional.cosine_similarity(x - x.mean(dim=1, keepdim=True), atoms))
