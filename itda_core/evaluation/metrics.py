"""Metrics of sparse coders on held-out tokens, each with its interval.

With x an activation, x̂ its reconstruction, and sums over the measured tokens:

- relative error: mean of |x − x̂|² / |x|².
- variance explained: 1 − Σ|x − x̂|² / Σ|x − x̄|², x̄ the mean of all measured activations: over all dimensions and
  tokens together, so that the mean activation explains none of it. This is the definition of SAELens and SAEBench
  (`explained_variance`, in their later form); Gao et al. 2025 define its complement as the normalised error.
  Resampling keeps x̄.
- active latents (L0): mean number of coefficients that are not 0.
- density: summarised as described at `accumulators.Fired`; and dead latents: share that fires on none of the measured
  tokens.
- negative: share of the coefficients below 0. Large negative: below −LARGE · |x|. The paper (§4.2) states that large
  negative ones are rare, 0.000743 % "of activations", without defining large; its appendix A.3.1 uses a threshold of
  −2 for one layer of one model, where the largest coefficients are about 4. Here the threshold is relative to the
  norm of the token's own activation, so that it means the same in every model.
- CE loss score (the paper's Eq. 7): (H* − H0) / (Horig − H0): 1 for no loss, 0 for as much as with zeros. `patching`
  defines which predictions count. It is left out if zeros cost nothing.
- CE loss (H*) and KL divergence from the unchanged model: means over the same predictions, in nats.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from itda_core.capture.local import Batch, mixable
from itda_core.common.errors import UserError
from itda_core.common.types import Codes, Site
from itda_core.corpus.windows import Window
from itda_core.dictionary.errors import relative_errors
from itda_core.dictionary.norms import within
from itda_core.evaluation.accumulators import DocumentSums, Firing, measured_ratios
from itda_core.evaluation.coders import Coder
from itda_core.evaluation.patching import PartOfPredictions, PredictingSite, Predictions
from itda_core.models.model import Model
from itda_core.reports.quality import PAIRED, Measured, Point

LARGE = 0.25
"""A negative coefficient is large if it is below minus this share of the activation's norm."""
_LOGITS_AT_ONCE = 1 << 27
"""Maximum number of logits in one forward pass: half a gigabyte, of which a few copies are in memory."""
_OF_TOKENS = ("relative_error", "residual", "l0", "negative", "large_negative")  # columns that are summed


class HeldOut(NamedTuple):
    """A batch of evaluation tokens, the same for all coders."""

    activations: torch.Tensor
    """[n, d_model] float32."""
    sources: torch.Tensor
    """[n, 2] int64: document and position."""
    predictions: Predictions | PartOfPredictions | None
    """The model's predictions from them; None if the model is not available, or predicts nothing."""


class Setting(NamedTuple):
    """A coder to measure."""

    l0: int
    """Pursuit steps; for an SAE its maximum number of active latents, or their mean if it sets no maximum."""
    coder: Coder
    """The encoder and decoder."""


class Measurement(NamedTuple):
    """Results of coders measured on the same tokens."""

    points: tuple[Point, ...]
    """One for each coder, in order."""
    tokens: int
    """Number of tokens."""
    documents: int
    """Number of documents that the tokens are from."""
    ce_original: float | None
    """Mean cross-entropy of the unchanged model over the predictions that count, in nats; None without a model."""
    ce_zero: float | None
    """The same with the activations replaced by zeros."""
    sources: tuple[int, ...]
    """The documents, in ascending order."""
    by_document: dict[str, tuple[float, ...]]
    """Per-document values, as in `Quality`."""


def read_held_out(model: Model, site: Site, windows: Iterable[Window], batch_windows: int = 16) -> Iterator[HeldOut]:
    """Run a model over windows and yield the batches that `measure_points` needs.

    The batches include predictions. A list of the batches can be reused for several measurements without running the
    unchanged model again; it keeps the log-probabilities of the predictions, so this is for few tokens.

    Args:
        model: a model that predicts.
        site: the site.
        windows: the windows to read; those in which nothing is captured are skipped.
        batch_windows: maximum number of windows in a forward pass; fewer if their logits would take too much memory.

    Raises:
        UserError: the model has no such site, or predicts no next token.
    """
    place = PredictingSite(model, site)
    tokens = max(1, _LOGITS_AT_ONCE // model.tokenizer.get_vocab_size())
    for together in mixable(model, (window for window in windows if len(window.captured))):
        for group in _groups(together, batch_windows, tokens):
            predictions = place.predictions(group)
            yield HeldOut(predictions.activations, predictions.sources, predictions)


def _groups(windows: Iterable[Window], most: int, tokens: int) -> Iterator[list[Window]]:
    """Yield groups of windows that are read together.

    A group has at most `most` windows, and at most `tokens` tokens with padding, but at least two windows unless only
    one is left: a single row rounds differently.
    """
    group: list[Window] = []
    for window in windows:
        longest = max(len(each.tokens) for each in [*group, window])
        if len(group) >= 2 and (len(group) == most or (len(group) + 1) * longest > tokens):
            yield group
            group = []
        group.append(window)
    if group:
        yield group


def without_predictions(batches: Iterable[Batch], site: Site) -> Iterator[HeldOut]:
    """Convert captured activations to batches for `measure_points`.

    Without predictions only reconstruction can be measured.
    """
    return (HeldOut(batch.activations[site], batch.sources, None) for batch in batches if len(batch.sources))


def within_norm(batches: Iterable[HeldOut], largest: float | None) -> Iterator[HeldOut]:
    """Yield the batches without the tokens whose norm is over `largest`, which are then not replaced either."""
    for batch in batches:
        rows = within(batch.activations, largest)
        if rows.all():
            yield batch
        elif rows.any():
            predictions = batch.predictions
            assert not isinstance(predictions, PartOfPredictions), "a limit is set once"
            part = None if predictions is None else PartOfPredictions(predictions, rows)
            yield HeldOut(batch.activations[rows], batch.sources[rows], part)


def measure_points(
    settings: Sequence[Setting], batches: Iterable[HeldOut], advance: Callable[[int], None] = lambda _: None
) -> Measurement:
    """Measure coders on the same tokens, batch by batch.

    Memory beyond the batches' own is a few numbers for each document and each latent that fires in it.

    Args:
        settings: the coders to measure.
        batches: the tokens to measure on; either all batches have predictions, or none.
        advance: called with the number of tokens measured since the last call.

    Raises:
        UserError: there are no tokens.
        ValueError: activations of another dimension than a coder's, or that are not finite.
    """
    shared = _Shared()
    own = [_Sums(setting.coder.latents) for setting in settings]
    for batch in batches:
        documents = batch.sources[:, 0].numpy()
        shared.add(batch, documents)
        for setting, sums in zip(settings, own, strict=True):
            codes = setting.coder.encode(batch.activations)
            sums.add(batch, documents, codes, setting.coder.decode(codes, len(batch.activations)))
        advance(len(documents))
    documents = shared.tokens.documents()
    if not len(documents):
        raise UserError("there are no tokens to measure on: give --tokens more, or build with more tokens")
    of_all = shared.over(documents)
    points = []
    for setting, sums in zip(settings, own, strict=True):
        ratios = _ratios(sums, of_all)
        measured = _measured(ratios, sums, of_all)
        by_document = {name: tuple(ratios[name][0].tolist()) for name in PAIRED if name in measured}
        points.append(Point(setting.coder.latents, setting.l0, measured, by_document))
    total = of_all.predictions.sum(0)
    has_any = total[0] > 0
    return Measurement(
        tuple(points),
        int(of_all.tokens.sum()),
        len(documents),
        float(total[1] / total[0]) if has_any else None,
        float(total[2] / total[0]) if has_any else None,
        tuple(documents.tolist()),
        {name: tuple(values.tolist()) for name, values in of_all.denominators.items()},
    )


class _Statistics(NamedTuple):
    """Per-document statistics shared by all coders."""

    documents: np.ndarray
    """[documents] int64, ascending."""
    tokens: np.ndarray
    """[documents] number of tokens."""
    variance: np.ndarray
    """[documents] Σ|x − x̄|²."""
    predictions: np.ndarray
    """[documents, 3] number of predictions, and sums of their cross-entropy: unchanged, and with zeros."""

    @property
    def denominators(self) -> dict[str, np.ndarray]:
        """Per-document denominators, by each measurable measure of PAIRED.

        Arrays [documents].
        """
        _, original, zero = self.predictions.T
        losses = {"ce_loss_score": zero - original} if self.predictions.any() else {}
        return losses | {"variance_explained": self.variance}


class _Shared:
    """Sums that are shared by all coders."""

    def __init__(self) -> None:
        self.tokens, self._predictions = DocumentSums(), DocumentSums()

    def add(self, batch: HeldOut, documents: np.ndarray) -> None:
        x = batch.activations.double().numpy()
        self.tokens.add(documents, np.column_stack([np.ones(len(x)), (x**2).sum(1), x]))
        if batch.predictions is not None:
            original, zero = batch.predictions.original, batch.predictions.zero
            self._predictions.add(batch.predictions.documents, np.column_stack([np.ones(len(zero)), original, zero]))

    def over(self, documents: np.ndarray) -> _Statistics:
        sums = self.tokens.over(documents)
        tokens, squares, vectors = sums[:, 0], sums[:, 1], sums[:, 2:]
        mean = vectors.sum(0) / tokens.sum()
        variance = squares - 2 * vectors @ mean + tokens * (mean @ mean)
        predictions = (
            self._predictions.over(documents) if self._predictions.documents().size else np.zeros((len(documents), 3))
        )
        return _Statistics(documents, tokens, variance, predictions)


class _Sums:
    """Sums of one coder."""

    def __init__(self, latents: int) -> None:
        self.tokens, self.predictions, self.firing = DocumentSums(), DocumentSums(), Firing(latents)

    def add(self, batch: HeldOut, documents: np.ndarray, codes: Codes, reconstruction: torch.Tensor) -> None:
        x, n = batch.activations, len(batch.activations)
        norm = x.norm(dim=1).numpy()
        columns = {
            "relative_error": relative_errors(x, reconstruction).numpy(),
            "residual": (x.double() - reconstruction.double()).pow(2).sum(1).numpy(),
            "l0": np.bincount(codes.row, minlength=n),
            "negative": np.bincount(codes.row[codes.coefficient < 0], minlength=n),
            "large_negative": np.bincount(codes.row[codes.coefficient < -LARGE * norm[codes.row]], minlength=n),
        }
        self.tokens.add(documents, np.column_stack([columns[name] for name in _OF_TOKENS]))
        self.firing.add(documents, codes)
        if batch.predictions is not None:
            losses = batch.predictions.replaced(reconstruction)
            self.predictions.add(batch.predictions.documents, np.column_stack(losses))


def _ratios(sums: _Sums, of_all: _Statistics) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the per-document numerators and denominators of each measure.

    Arrays [documents].
    """
    denominators = of_all.denominators
    of_tokens = dict(zip(_OF_TOKENS, sums.tokens.over(of_all.documents).T, strict=True))
    ratios = {
        "relative_error": (of_tokens["relative_error"], of_all.tokens),
        "variance_explained": (of_all.variance - of_tokens["residual"], denominators["variance_explained"]),
        "l0": (of_tokens["l0"], of_all.tokens),
        "negative": (of_tokens["negative"], of_tokens["l0"]),
        "large_negative": (of_tokens["large_negative"], of_tokens["l0"]),
    }
    if of_all.predictions.any():
        n, _, zero = of_all.predictions.T
        ce, kl = sums.predictions.over(of_all.documents).T
        ratios |= {
            "ce_loss_score": (zero - ce, denominators["ce_loss_score"]),
            "ce_loss": (ce, n),
            "kl": (kl, n),
        }
    return ratios


def _measured(
    ratios: dict[str, tuple[np.ndarray, np.ndarray]], sums: _Sums, of_all: _Statistics
) -> dict[str, Measured]:
    numerators, denominators = (np.column_stack(columns) for columns in zip(*ratios.values(), strict=True))
    found = dict(zip(ratios, measured_ratios(numerators, denominators), strict=True))
    fired = sums.firing.measure(of_all.documents, of_all.tokens)
    found |= {"density": fired.density, "dead": fired.dead}
    return {name: value for name, value in found.items() if value is not None}
