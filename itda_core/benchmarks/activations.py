"""Where the activations to measure on come from. Real ones: they are anisotropic, and random ones mislead."""

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

_PREPARED = Path("shared", "activations", "minilm_layer3.safetensors")  # beside the repository, where it is lent
_MODEL, _LAYER, _TOKENS = "docs-a", 3, 40_000


@dataclass(frozen=True)
class Activations:
    """Activations of one site and where they came from."""

    x: torch.Tensor
    """[n, d_model] float32."""
    sources: torch.Tensor
    """[n, 2] int64: document, position."""
    origin: str
    """The file or the model, for people."""


def find_activations(file: Path | None, say: Callable[[str], None]) -> Activations:
    """The activations of a file; without one those prepared beside the repository, or else the demo model's.

    Args:
        file: as `read_activations` takes it, or None.
        say: called with a line on what is being done.

    Raises:
        UserError: the file is not what it should be, or the demo's model is not here.
    """
    prepared = Path(__file__).parents[3] / _PREPARED
    if file is None and prepared.is_file():
        file = prepared
    return capture_activations(say) if file is None else read_activations(file)


def read_activations(file: Path) -> Activations:
    """Read a safetensors file with `activations` [n, d_model] and, as an option, `sources` [n, 2].

    Raises:
        UserError: the file is missing, no safetensors, or holds something else or a value that is not finite.
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
    """The installed documentation as a corpus, for as long as the context is open."""
    from itda_core.common.settings import CorpusSettings, WindowSettings
    from itda_core.corpus.store import ingest

    with TemporaryDirectory() as root:
        yield ingest(CorpusSettings("docs"), WindowSettings(), Path(root))


def capture_activations(say: Callable[[str], None], tokens: int = _TOKENS) -> Activations:
    """Capture the demo model's activations over the installed documentation, `tokens` of them at most.

    Raises:
        UserError: the demo's model is not here.
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
