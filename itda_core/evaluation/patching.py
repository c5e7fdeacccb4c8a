"""Model predictions with the activations of one site replaced, through nnsight.

Only captured tokens are replaced: tokens that are never captured, such as a window's first token (the attention sink)
and special tokens, keep the model's own activations. A prediction counts if it is made at a captured token and its
target is the document's next own token in the same window; all replacements of a batch are evaluated on the same
predictions.

The complete model runs once for each batch. Every replacement runs only the part after the site: nnsight skips the
blocks before it, whose output is cached, and the replaced module itself. The first batch checks that this reproduces
the unchanged model's own logits when nothing is replaced; if it does not, the complete model runs every time.
"""

import gc
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from itda_core.capture.local import ModelInputs, collate
from itda_core.common.errors import UserError
from itda_core.common.types import Site
from itda_core.corpus.windows import Window
from itda_core.models.architectures import tensor_of, with_tensor
from itda_core.models.model import Model
from itda_core.models.passes import must_be_finite, one_pass

_VALUES_AT_ONCE = 1 << 22  # number of logits that are converted to probabilities at once
_SAME = 1e-3  # tolerance relative to the largest logit, for running a part of the model


class Losses(NamedTuple):
    """Losses at each prediction, in nats: float64 arrays [m]."""

    ce: np.ndarray
    """Cross-entropy of the actual next token."""
    kl: np.ndarray
    """Kullback-Leibler divergence of the prediction from the unchanged model's, KL(unchanged ‖ replaced), 0 or
    more."""


class Predictions:
    """Predictions of a model over windows, unchanged and with replaced activations.

    Attributes:
        activations: [n, d_model] float32 on the CPU: the site's activations at the captured tokens.
        sources: [n, 2] int64: document and position of each.
        documents: [m] int64: the document of each prediction that counts.
        original: [m] float64: the unchanged model's cross-entropy of each, in nats.
        zero: [m] float64: the same with the activations at all captured tokens replaced by zeros.
    """

    def __init__(self, place: "PredictingSite", windows: Sequence[Window]) -> None:
        """Run the model over windows.

        Use `PredictingSite.predictions` instead of this constructor.
        """
        self._place = place
        self._fed = collate(place.model, list(windows))
        targets, counted = _next_tokens(self._fed, windows)
        run = place.run(self._fed)
        self._before, self._output = run.before, run.output
        self._counted, self._targets = counted, targets[counted]
        self.sources = self._fed.sources
        self.documents = np.array(
            [w.document for w in windows for at in w.captured if at + 1 < len(w.tokens)], np.int64
        )
        tensor = self._tensor()
        self.activations = tensor[self._fed.kept.to(tensor.device)].to("cpu", torch.float32)
        self._unchanged = _log_probabilities(run.logits[counted.to(run.logits.device)])
        self.original = self._cross_entropy(self._unchanged, slice(None))
        self._must_be_finite(self.original)
        place.check(self._fed, run)
        self.zero = self.replaced(torch.zeros_like(self.activations)).ce

    def replaced(self, reconstruction: torch.Tensor) -> Losses:
        """Return the losses with each captured activation replaced by its reconstruction.

        Args:
            reconstruction: [n, d_model] float32, in order of `sources`.

        Raises:
            UserError: a loss is not finite.
        """
        if reconstruction.shape != self.activations.shape:
            raise ValueError(
                f"reconstructions are {list(self.activations.shape)}, as the activations are; got "
                f"{list(reconstruction.shape)}"
            )
        tensor = self._tensor().clone()
        tensor[self._fed.kept.to(tensor.device)] = reconstruction.to(tensor.device, tensor.dtype)
        logits = self._place.rerun(self._fed, self._before, with_tensor(self._output, tensor))
        return self._judge(logits[self._counted.to(logits.device)])

    def _tensor(self) -> torch.Tensor:
        return tensor_of(self._output, *self._fed.ids.shape)

    def _judge(self, logits: torch.Tensor) -> Losses:
        """Return the losses of logits [m, vocabulary] of the predictions that count."""
        found = Losses(np.empty(len(logits)), np.empty(len(logits)))
        for here in _parts(logits):
            predicted, before = logits[here].float().log_softmax(1), self._unchanged[here]
            found.ce[here] = self._cross_entropy(predicted, here)
            divergence = (before.exp() * (before - predicted)).sum(1)
            found.kl[here] = divergence.clamp_min(0).double().cpu().numpy()  # below 0 by rounding alone
        self._must_be_finite(*found)
        return found

    def _cross_entropy(self, predicted: torch.Tensor, here: slice) -> np.ndarray:
        """Return the cross-entropy of the predictions `here`.

        Float64, from their log-probabilities [some, vocabulary].
        """
        return -predicted.gather(1, self._targets[here, None].to(predicted.device))[:, 0].double().cpu().numpy()

    def _must_be_finite(self, *losses: np.ndarray) -> None:
        if not all(np.isfinite(each).all() for each in losses):
            raise UserError(
                f"{self._place.model.name} makes predictions that are not finite: build the dictionary with another "
                "--dtype"
            )


class PartOfPredictions:
    """Predictions of which only some captured tokens are replaced; the others keep the model's own activations.

    Attributes:
        documents: as of `Predictions`.
        original: likewise.
        zero: [m] float64: the cross-entropy with the activations at these tokens replaced by zeros.
    """

    def __init__(self, predictions: Predictions, rows: torch.Tensor) -> None:
        """Take the rows of a mask, bool [n]."""
        self._predictions, self._rows = predictions, rows
        self.documents, self.original = predictions.documents, predictions.original
        self.zero = self.replaced(torch.zeros_like(predictions.activations[rows])).ce

    def replaced(self, reconstruction: torch.Tensor) -> Losses:
        """Return the losses with the activations at these tokens replaced by reconstructions [rows, d_model].

        Raises UserError if a loss is not finite.
        """
        activations = self._predictions.activations.clone()
        activations[self._rows] = reconstruction
        return self._predictions.replaced(activations)


class _Run(NamedTuple):
    """One pass of the unchanged model."""

    before: Any
    """Output of the block before the site's block, or for the residual stream of the block before that; None for the
    first."""
    output: Any
    """Output of the site's module."""
    logits: torch.Tensor
    """[rows, longest, vocabulary]."""


class PredictingSite:
    """A site of a predicting model, whose activations can be replaced."""

    def __init__(self, model: Model, site: Site) -> None:
        """Resolve the site.

        Raises:
            UserError: the model has no such site, or predicts no next token.
        """
        if not model.predicts:
            raise UserError(f"{model.name} predicts no next token, so that nothing can be lost of its predictions")
        self.model = model
        self._site = site
        self._module = model.module(site)
        self._earlier = [model.nnsight.blocks[layer] for layer in range(site.layer)]
        self._whole: bool | None = None  # whether the complete model has to run; None until this is checked

    def predictions(self, windows: Sequence[Window]) -> Predictions:
        """Run the model over at least one window, unchanged and with zeros.

        The windows are batched in one pass.

        Raises:
            UserError: a window is longer than the model's context, or an activation or a prediction is not finite.
        """
        return Predictions(self, windows)

    def run(self, fed: ModelInputs) -> _Run:
        """Run one pass of the unchanged model."""
        network, module, shape = self.model.nnsight, self._module, fed.ids.shape
        last = self._earlier[-1:]
        saved: Any
        with one_pass(self.model), network.trace(self._inputs(fed)):
            saved = list()
            for block in last:
                saved.append(_kept(block.output, shape))
            saved.append(_kept(module.output, shape))
            saved.append(network.output.logits)
            saved.save()
        gc.collect(1)  # as after every pass of a capture
        *before, output, logits = saved
        must_be_finite(self.model, self._site, tensor_of(output, *shape)[fed.kept.to(logits.device)])
        return _Run(before[0] if before else None, output, logits)

    def rerun(self, fed: ModelInputs, before: Any, output: Any) -> torch.Tensor:
        """Return the logits with the output of the site's module replaced.

        Shape [rows, longest, vocabulary].

        Args:
            fed: the model's inputs.
            before: cached output of the block before the site's.
            output: replacement for the output of the site's module.
        """
        network, module = self.model.nnsight, self._module
        logits: Any
        if self._whole:
            with one_pass(self.model), network.trace(self._inputs(fed)):
                module.output = output
                logits = network.output.logits.save()
        else:
            earlier = self._earlier
            with one_pass(self.model), network.trace(self._inputs(fed)):
                for block in earlier:
                    block.skip(before)
                module.skip(output)
                logits = network.output.logits.save()
        gc.collect(1)
        return logits

    def check(self, fed: ModelInputs, run: _Run) -> None:
        """Check once that running the part after the site reproduces the model's logits.

        The check replaces nothing.

        Raises:
            UserError: even the complete model does not reproduce them.
        """
        if self._whole is None:
            self._whole = not self._gives_the_same(fed, run)
            if self._whole and not self._gives_the_same(fed, run):
                raise UserError(f"{self.model.name} gives different predictions each time: they cannot be measured")

    def _gives_the_same(self, fed: ModelInputs, run: _Run) -> bool:
        again = self.rerun(fed, run.before, run.output)
        read = fed.mask.bool().to(again.device)
        return bool(((again - run.logits)[read].abs().max() <= _SAME * run.logits[read].abs().max()).item())

    def _inputs(self, fed: ModelInputs) -> dict[str, torch.Tensor]:
        return {"input_ids": fed.ids.to(self.model.device), "attention_mask": fed.mask.to(self.model.device)}


def _parts(logits: torch.Tensor) -> Iterator[slice]:
    """Return slices of the rows of logits [m, vocabulary] to evaluate at once."""
    rows = max(1, _VALUES_AT_ONCE // logits.shape[1])
    return (slice(first, first + rows) for first in range(0, len(logits), rows))


def _log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Convert logits [m, vocabulary] to float32 log-probabilities.

    Float32 logits are overwritten.
    """
    found = logits.float()
    for here in _parts(found):
        found[here] = found[here].log_softmax(1)
    return found


def _kept(output: Any, shape: torch.Size) -> Any:
    """Return a module's output with a copied tensor.

    Some modules are modified in place afterwards.
    """
    return with_tensor(output, tensor_of(output, *shape).clone())


def _next_tokens(fed: ModelInputs, windows: Sequence[Window]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the next token of each position and whether its prediction counts.

    Int64 and bool, both of shape [rows, longest].
    """
    targets, counted = torch.zeros_like(fed.ids), torch.zeros_like(fed.kept)
    targets[:, :-1] = fed.ids[:, 1:]
    for row, window in enumerate(windows):
        begin, stop = len(window.prefix), min(window.captured.stop, len(window.tokens) - 1)
        counted[row, begin + window.captured.start : begin + stop] = True
    return targets, counted
