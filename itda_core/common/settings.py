"""Settings, each a frozen dataclass that refuses what cannot work. Nothing here imports torch."""

from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

from itda_core.common.arguments import count
from itda_core.common.errors import UserError
from itda_core.common.types import HOOKS
from itda_core.common.validate import MOST, is_number

ERRORS = ("relative", "squared", "cosine")
SCANS = ("sequential", "batch")
INITS = ("empty", "frequent")
WINDOWS = ("first", "all")
METHODS = ("matching", "orthogonal", "nonnegative", "refitted")
RECIPES = ("published", "pruned", "random")
RESERVOIR_ROWS = 32_768
"""Activations that a recipe other than the published one keeps a sample of."""
DTYPES = ("float32", "bfloat16", "float16")
NDIF_KEY_VARIABLE = "NDIF_API_KEY"
"""Environment variable that holds the key of NDIF; it is never written or printed."""

DEEPEST = 9999
"""The last layer that any model has."""
_MOST_STEPS = 10_000  # of pursuit: each takes room for every activation


def _whole(name: str, value: Any, lowest: int, highest: int = MOST) -> int:
    """A whole number of any integer type as Python's own, which JSON has a word for."""
    try:
        found = count(value, name, lowest)
    except ValueError as error:
        raise UserError(str(error)) from error
    if found > highest:
        raise UserError(f"{name} is {str(found)[:40]}: it must be {highest:,} at most")
    return found


def _set_whole(settings: Any, field: str, lowest: int, highest: int = MOST, name: str | None = None) -> None:
    object.__setattr__(settings, field, _whole(name or field, getattr(settings, field), lowest, highest))


def _is_bool(name: str, value: bool) -> None:
    if not isinstance(value, bool):
        raise UserError(f"{name} is {str(value)[:80]!r}: it is either true or false")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name} is {value!r}: choose one of {', '.join(choices)}")


@dataclass(frozen=True)
class CorpusSettings:
    """Which texts."""

    spec: str
    """`docs` (the installed documentation), a text file, a folder of .txt and .md files, a .jsonl, .ndjson, .json,
    .csv, .tsv or .parquet file, or a Hub id. All but Parquet may be compressed with gzip, bz2 or zst. A text file, or a
    folder of fewer than ten, is cut into passages of about a window each: see
    `itda_core.corpus.readers.read_documents`."""
    column: str = "text"
    """The field that holds the text, in JSON, CSV, TSV, Parquet and Hub datasets."""
    split: str = "train"
    """The split of a Hub dataset."""
    name: str | None = None
    """The configuration of a Hub dataset, where it has several."""
    revision: str | None = None
    """The revision of a Hub dataset."""
    documents: int | None = None
    """Read this many documents at most; None reads all, or the first 10,000 of a Hub dataset."""

    def __post_init__(self) -> None:
        if not self.spec:
            raise UserError("name a corpus: docs, a file or folder, or a dataset id of the Hub")
        if self.documents is not None:
            _set_whole(self, "documents", 1)


@dataclass(frozen=True)
class WindowSettings:
    """How documents are cut into the windows that a model reads."""

    context: int = 128
    """Tokens in a window, the document's own."""
    windows: str = "first"
    """`first` takes one window a document, as the paper does; `all` goes on to the document's end."""
    keep_first: bool = False
    """Whether a window's first token, where attention sinks, is captured too."""

    def __post_init__(self) -> None:
        _set_whole(self, "context", 2)
        _one_of("windows", self.windows, WINDOWS)
        _is_bool("keep_first", self.keep_first)


@dataclass(frozen=True)
class DictionarySettings:
    """How a dictionary is built (paper, Algorithm 1) and how activations are decomposed with it (Algorithm 2)."""

    l0: int = 40
    """Pursuit steps for one activation; an atom may be picked twice, so this bounds the non-zeros."""
    threshold: float = 0.3
    """Reconstruction error above which an activation is admitted as an atom, in the unit of `error`."""
    error: str = "relative"
    """`relative` |x-x'|²/|x|²; `squared` |x-x'|², the paper's Eq. 6; `cosine` mean over dimensions of the squared
    difference of the normalised vectors, what the published code thresholds (at most 4/d)."""
    scan: str = "sequential"
    """`sequential` judges each row by a dictionary that holds the rows admitted before it; `batch` judges a whole batch
    by the dictionary as it stood before the batch, as the published code does."""
    init: str = "empty"
    """`empty` starts from nothing; `frequent` first takes the batch's most frequent distinct rows, up to d_model atoms,
    as the published code does. It depends on the batches, so it needs `scan="batch"`."""
    max_atoms: int | None = None
    """Admission stops at this many atoms."""
    method: str = "matching"
    """`matching` pursuit, as the paper; `orthogonal` matching pursuit, which fits all coefficients anew at every step
    and takes far longer; `nonnegative` matching pursuit, which only ever adds atoms; `refitted`, matching pursuit whose
    coefficients are fitted anew together at the end (what is admitted is judged before that)."""
    recipe: str = "published"
    """Which activations become the atoms. `published`: those over the threshold when they come. `pruned` and `random`
    have as many atoms as that gives: `pruned` keeps those that carry most of other activations, among the published
    ones and up to three times as many random ones; `random` draws them."""

    def __post_init__(self) -> None:
        _set_whole(self, "l0", 1, _MOST_STEPS)
        _one_of("error", self.error, ERRORS)
        _one_of("scan", self.scan, SCANS)
        _one_of("init", self.init, INITS)
        _one_of("method", self.method, METHODS)
        _one_of("recipe", self.recipe, RECIPES)
        if isinstance(self.threshold, Real) and not isinstance(self.threshold, int | float):
            object.__setattr__(self, "threshold", float(self.threshold))  # numpy's, which JSON has no word for
        if not is_number(self.threshold) or self.threshold < 0:
            raise UserError(f"threshold is {str(self.threshold)[:40]}: it must be a finite number, 0 or more")
        if self.max_atoms is not None:
            _set_whole(self, "max_atoms", 1)
            if self.recipe == "random" and self.max_atoms > RESERVOIR_ROWS:
                raise UserError(f"max_atoms is {self.max_atoms}: {RESERVOIR_ROWS} random atoms are the most")

    def described(self) -> dict[str, Any]:
        """The settings as manifests and ids have them: as before there were recipes, where it is the published one."""
        said = asdict(self)
        if self.recipe == "published":
            del said["recipe"]
        return said

    def check_scan(self) -> None:
        """Refuse a start that depends on the batches with a scan that must not. Raises ValueError."""
        if self.init == "frequent" and self.scan != "batch":
            raise ValueError('init="frequent" depends on the batches, so it needs scan="batch"')


@dataclass(frozen=True)
class BuildSettings:
    """What is captured for a build."""

    layers: tuple[int, ...]
    """Block indices, from 0."""
    hooks: tuple[str, ...] = ("resid",)
    """Places in each block: `resid`, `mlp`, `attn`."""
    tokens: int = 200_000
    """Stop after this many captured tokens, held-out ones included."""
    holdout: bool = True
    """Keep every tenth document (ordinal ending in 9) out of building and measure on it."""
    keep_activations: bool = False
    """Keep the captured activations in the library, as fp16 shards with a checksum."""
    batch_windows: int = 16
    """Windows in one forward pass."""

    def __post_init__(self) -> None:
        if not self.layers:
            raise UserError("name at least one layer, for instance --layers 3")
        _set_whole(self, "tokens", 1)
        _set_whole(self, "batch_windows", 2, name="windows in a batch")


@dataclass(frozen=True)
class LayersSettings:
    """What the layers of two models are compared on."""

    tokens: int = 3_000
    """Tokens of the corpus that each model reads."""
    threshold: float = 0.1
    """Relative error above which one of them becomes an atom."""
    l0: int = 40
    """Pursuit steps for one activation."""

    def __post_init__(self) -> None:
        _set_whole(self, "tokens", 100)
        DictionarySettings(self.l0, self.threshold)  # says what is wrong with them


@dataclass(frozen=True)
class MeasureSettings:
    """What a dictionary is measured at, beside its own L0."""

    l0s: tuple[int, ...] = (10, 20, 40, 80)
    """Pursuit steps for one activation."""
    shares: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0)
    """Sizes, by cropping: shares of its atoms, in order of admission."""
    tokens: int = 10_000
    """Held-out tokens at most, the first ones."""
    seed: int = 0
    """Of the lot that the random atoms are drawn by."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "l0s", tuple(_whole("L0", l0, 1, _MOST_STEPS) for l0 in self.l0s))
        for share in self.shares:
            if not is_number(share) or not 0 < share <= 1:
                raise UserError(f"a share of the atoms is {str(share)[:40]}: it must be above 0, and 1 at most")
        if not self.shares:
            raise UserError("name at least one share of the atoms")
        _set_whole(self, "tokens", 1)
        _set_whole(self, "seed", 0)


def parse_layers(text: str) -> tuple[int, ...]:
    """`2,4-6` → (2, 4, 5, 6). Raises UserError for what is no list of layers."""
    layers: set[int] = set()
    for part in text.split(","):
        first, dash, last = (each.strip() for each in part.partition("-"))
        is_number = first.isdecimal() and (last.isdecimal() or not dash)
        if not is_number or (dash and int(last) < int(first)):
            raise UserError(f"layers are {text!r}: write a list such as 2,4-6")
        if int(last or first) > DEEPEST:
            raise UserError(f"layers are {text!r}: no model has a layer {last or first}")
        layers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(layers))


def parse_hooks(text: str) -> tuple[str, ...]:
    """`resid,mlp` → ("resid", "mlp"). Raises UserError for a place that there is not."""
    hooks = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for hook in hooks:
        _one_of("hook", hook, HOOKS)
    return hooks
