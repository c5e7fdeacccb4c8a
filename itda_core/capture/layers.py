"""Capture every block's activations, and match tokens between two models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from itda_core.capture.local import Capture
from itda_core.common.types import Site
from itda_core.corpus.windows import Window
from itda_core.models.model import Model


@dataclass(frozen=True)
class LayerActivations:
    """Activations of the same tokens at one hook of every block."""

    layers: Sequence[torch.Tensor]
    """Per layer [n, d_model] float32."""
    sources: torch.Tensor
    """[n, 2] int64: document, position."""
    ends: torch.Tensor
    """[n, 2] int64: document, character offset of the token's end, by which tokens of two tokenizers are matched. The
    offset is −1 for a token that is not matched, see `ends_of`."""

    def take(self, rows: torch.Tensor | slice) -> "LayerActivations":
        """Return the activations of a subset of the tokens."""
        return LayerActivations([x[rows] for x in self.layers], self.sources[rows], self.ends[rows])


def capture_layers(
    model: Model,
    windows: Sequence[Window],
    hook: str = "resid",
    batch_windows: int = 16,
    advance: Callable[[int], None] = lambda _: None,
) -> LayerActivations:
    """Run a model over windows and keep the activations of all layers in memory.

    Args:
        model: the model.
        windows: windows cut by its own tokenizer; at least one.
        hook: the hook of the blocks.
        batch_windows: windows in a forward pass.
        advance: called with the number of newly captured tokens after each batch.
    """
    sites = [Site(layer, hook) for layer in range(model.n_layers)]
    parts: dict[Site, list[torch.Tensor]] = {site: [] for site in sites}
    sources = []
    for batch in Capture(model, sites, lambda: windows, batch_windows):
        for site in sites:
            parts[site].append(batch.activations[site])
        sources.append(batch.sources)
        advance(len(batch.sources))
    return LayerActivations([torch.cat(parts[site]) for site in sites], torch.cat(sources), ends_of(windows))


def ends_of(windows: Sequence[Window]) -> torch.Tensor:
    """Return [n, 2] int64 document and character offset of each captured token's end.

    If several tokens end at one character (they are its bytes), the last one represents it, captured or not: only that
    one has seen the complete character. The others have −1. The pair queries apply the same rule to the tokens in an
    index.
    """
    ends = []
    for window, after in zip(windows, [*windows[1:], None], strict=True):
        stops = [stop for _, stop in window.spans]
        following = [*stops[1:], after.spans[0][1] if after is not None and after.document == window.document else None]
        ends += [(window.document, -1 if following[at] == stops[at] else stops[at]) for at in window.captured]
    return torch.tensor(ends, dtype=torch.int64).reshape(-1, 2)


def common_rows(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of a and of b, [n, 2] sources or ends, that are equal.

    Ends of −1 never match.
    """
    places = [{tuple(key): row for row, key in enumerate(keys.tolist()) if key[1] >= 0} for keys in (a, b)]
    shared = [key for key in places[0] if key in places[1]]
    rows = [torch.tensor([place[key] for key in shared], dtype=torch.int64) for place in places]
    return rows[0], rows[1]
