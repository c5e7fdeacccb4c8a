"""Source of the activations for benchmarks.

Real activations are used: they are anisotropic, and random ones give misleading results.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from itda_core.common.errors import UserError

if TYPE_CHECKING:
    from itda_core.corpus.store import Corpus

_PREPARED = Path("shared", "activations", "minilm_layer3.safetensors")  # beside the repository, where it is provided
_MODEL, _LAYER, _TOKENS = "docs-a", 3, 40_000


@dataclass(frozen=True)
class Activations:
    """Activations of one site, with their origin."""

    x: torch.Tensor
    """[n, d_model] float32."""
    sources: torch.Tensor
    """[n, 2] int64: document, position."""
    origin: str
    """Name of the file or the model, for display."""


def find_activations(file: Path | None, say: Callable[[str], None]) -> Activations:
    """Find the activations of a file, or the default ones.

    The default is the file prepared beside the repository, or else activations captured from the demo model.

    Args:
        file: as `read_activations` takes it, or None.
        say: called with a progress message.

    Raises:
        UserError: the file is invalid, or the demo's model is not available.
    """
    prepared = Path(__file__).parents[3] / _PREPARED
    if file is None and prepared.is_file():
        file = prepared
    return capture_activations(say) if file is None else read_activations(file)


def read_activations(file: Path) -> Activations:
    """Read a safetensors file of activations.

    It has `activations` [n, d_model] and, optionally, `sources` [n, 2].

    Raises:
        UserError: the file is missing, not in safetensors, or has other content or a value that is not finite.
    """
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{str(file)!r} cannot be read as activations in safetensors: {error}") from error
    x = tensors.get("activations")
    if x is None or x.ndim != 2 or not x.is_floating_point() or 0 in x.shape:
        raise UserError(f"{str(file)!r} needs a float tensor named activations, [n, d_model]")
    sources = tensors.get("sources", torch.stack([torch.zeros(len(x)), torch.arange(len(x))], 1))
    if sources.shape != (len(x), 2):
        raise UserError(f"sources in {str(file)!r} are {list(sources.shape)}, they must be [{len(x)}, 2]")
    x = x.to(torch.float32)
    if not torch.isfinite(x).all():
        raise UserError(f"{str(file)!r} has an activation that is not finite")
    return Activations(x, sources.to(torch.int64), file.name)


@contextmanager
def documentation() -> Iterator["Corpus"]:
    """Provide the installed documentation as a corpus while the context is open."""
    from itda_core.common.settings import CorpusSettings, WindowSettings
    from itda_core.corpus.store import ingest

    with TemporaryDirectory() as root:
        yield ingest(CorpusSettings("docs"), WindowSettings(), Path(root))


def capture_activations(say: Callable[[str], None], tokens: int = _TOKENS) -> Activations:
    """Capture the demo model's activations over the installed documentation.

    At most `tokens` activations are captured.

    Raises:
        UserError: the demo's model is not available.
    """
    from itda_core.capture.local import Capture
    from itda_core.common.settings import BuildSettings
    from itda_core.common.types import Site
    from itda_core.corpus.windows import make_windows
    from itda_core.models.bundled import model_folder
    from itda_core.models.model import load_model

    folder, site = model_folder(_MODEL), Site(_LAYER)
    say(f"capturing {tokens:,} activations of {_MODEL}, layer {_LAYER}, on the installed documentation")
    with documentation() as corpus:
        model = load_model(str(folder), device="cpu")
        windows = lambda: make_windows(corpus.documents(), model.tokenizer, corpus.cut, tokens)  # noqa: E731
        batches = list(Capture(model, [site], windows, BuildSettings((_LAYER,)).batch_windows))
    x = torch.cat([batch.activations[site] for batch in batches])
    return Activations(x, torch.cat([batch.sources for batch in batches]), f"{_MODEL}, layer {_LAYER}, docs")
