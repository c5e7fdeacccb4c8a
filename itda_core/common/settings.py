"""Settings: frozen dataclasses that refuse values that cannot work. Nothing here imports torch.

A field's docstring is also the help of its option, in the terminal and in the form: see `itda_core.common.options`.
"""

from dataclasses import KW_ONLY, asdict, dataclass
from typing import Any, Literal, get_args

from pydantic import ConfigDict

from itda_core.common.arguments import count, number
from itda_core.common.errors import UserError
from itda_core.common.options import option
from itda_core.common.types import HOOKS
from itda_core.common.validate import MOST, is_number

ErrorUnit = Literal["relative", "squared", "cosine"]
Scan = Literal["sequential", "batch"]
Init = Literal["empty", "frequent"]
Windows = Literal["first", "all"]
Method = Literal["matching", "orthogonal", "nonnegative", "refitted"]
Recipe = Literal["published", "pruned", "random"]
Center = Literal["none", "mean"]
Dtype = Literal["float32", "bfloat16", "float16"]
SaeKind = Literal["topk", "standard"]
ERRORS: tuple[ErrorUnit, ...] = get_args(ErrorUnit)
SCANS: tuple[Scan, ...] = get_args(Scan)
INITS: tuple[Init, ...] = get_args(Init)
WINDOWS: tuple[Windows, ...] = get_args(Windows)
METHODS: tuple[Method, ...] = get_args(Method)
RECIPES: tuple[Recipe, ...] = get_args(Recipe)
CENTERS: tuple[Center, ...] = get_args(Center)
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
SAE_KINDS: tuple[SaeKind, ...] = get_args(SaeKind)
RESERVOIR_ROWS = 32_768
"""Activations that a recipe other than the published one keeps a sample of."""
NDIF_KEY_VARIABLE = "NDIF_API_KEY"
"""Environment variable that holds the key of NDIF; it is never written or printed."""

_STRICT = ConfigDict(extra="forbid")
"""Of settings that files state: under a name that is unknown here, a setting would silently take its default."""
DEEPEST = 9999
"""The last layer that any model has."""
_MOST_STEPS = 10_000  # of pursuit: each takes room for every activation


def _whole(name: str, value: Any, lowest: int, highest: int = MOST) -> int:
    """Convert an integer of any type to Python's own, which JSON can hold."""
    try:
        found = count(value, name, lowest)
    except ValueError as error:
        raise UserError(str(error)) from error
    if found > highest:
        raise UserError(f"{name} is {str(found)[:40]}: it must be {highest:,} at most")
    return found


def _number(name: str, value: Any) -> int | float:
    try:
        return number(value, name)
    except ValueError as error:
        raise UserError(str(error)) from error


def _set_whole(settings: Any, field: str, lowest: int, highest: int = MOST, name: str | None = None) -> None:
    object.__setattr__(settings, field, _whole(name or field, getattr(settings, field), lowest, highest))


def _is_bool(name: str, value: bool) -> None:
    if not isinstance(value, bool):
        raise UserError(f"{name} is {str(value)[:80]!r}: it is either true or false")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name} is {value!r}: choose one of {', '.join(choices)}")


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


@dataclass(frozen=True)
class ModelSettings:
    """Model to load, and how it runs."""

    _: KW_ONLY
    revision: str | None = None
    """Branch, tag or commit of the model on the Hub."""
    device: str | None = None
    """cpu, cuda, mps, or auto to distribute the model with accelerate; CUDA if available unless set."""
    dtype: Dtype = "float32"
    """Number type that the model computes in."""
    remote: bool = False
    """Run the model on NDIF, with the key in NDIF_API_KEY, if it is too large for this machine."""

    def __post_init__(self) -> None:
        if self.remote and (self.device or self.dtype != "float32"):
            raise UserError("--remote runs the model where it is: leave out --device and --dtype")


@dataclass(frozen=True)
class CorpusSettings:
    """Texts to read."""

    spec: str = option(name="corpus")
    """docs (the installed documentation), a text file, a folder of .txt and .md files, a .jsonl, .ndjson, .json, .csv,
    .tsv or .parquet file, or the id of a dataset on the Hub. All but Parquet may be compressed with gzip, bz2 or zst. A
    text file, or a folder of fewer than ten, is cut into passages of about a window each, so that every tenth can be
    held out; a row of a table, and a file of a larger folder, is one document."""
    _: KW_ONLY
    column: str = "text"
    """Field that holds the text, in JSON, CSV, TSV, Parquet and datasets of the Hub."""
    split: str = "train"
    """Split of a dataset of the Hub."""
    name: str | None = option(None, name="config")
    """Configuration of a dataset of the Hub, where it has several."""
    revision: str | None = option(None, name="corpus_revision")
    """Branch, tag or commit of a dataset of the Hub."""
    documents: int | None = None
    """Maximum number of documents to read; unless set, all, or the first 10,000 of a dataset of the Hub."""

    def __post_init__(self) -> None:
        if not self.spec:
            raise UserError("name a corpus: docs, a file or folder, or a dataset id of the Hub")
        if self.documents is not None:
            _set_whole(self, "documents", 1)


@dataclass(frozen=True)
class WindowSettings:
    """Windows of tokens that documents are cut into."""

    __pydantic_config__ = _STRICT

    context: int = 128
    """Tokens of a document per window."""
    windows: Windows = "first"
    """Windows of each document: the first, as in the paper, or all of them."""
    keep_first: bool = False
    """Capture each window's first token too, an attention sink."""

    def __post_init__(self) -> None:
        _set_whole(self, "context", 2)
        _one_of("windows", self.windows, WINDOWS)
        _is_bool("keep_first", self.keep_first)


@dataclass(frozen=True, kw_only=True)
class DictionarySettings:
    """Building of a dictionary (paper, Algorithm 1) and decomposition with it (Algorithm 2)."""

    __pydantic_config__ = _STRICT

    l0: int = 40
    """Pursuit steps per activation, the maximum number of non-zero coefficients (an atom may be selected twice)."""
    threshold: float = 0.3
    """Reconstruction error above which an activation becomes an atom, in the unit of the error. A lower threshold gives
    more atoms."""
    error: ErrorUnit = "relative"
    """Unit of the error: relative, |x-x'|²/|x|²; squared, |x-x'|², Eq. 6 of the paper; cosine, the mean over dimensions
    of the squared difference of the normalised vectors, as in the published code (at most 4/d)."""
    scan: Scan = "sequential"
    """Order of admission. sequential: each activation is decomposed with all atoms admitted before it. batch: the
    activations of a batch are decomposed with the dictionary before the batch, as in the published code."""
    init: Init = "empty"
    """Initial atoms. empty: none. frequent: each batch's most frequent distinct activations, up to d_model atoms, as in
    the published code; it requires the scan in batches."""
    n_atoms: int | None = option(None, name="atoms")
    """Number of atoms to build (within 5 %), for which the threshold is found by building at several thresholds."""
    max_atoms: int | None = None
    """Number of atoms at which admission stops."""
    method: Method = "matching"
    """Pursuit algorithm. matching: as in the paper. orthogonal: all coefficients are fitted again at every step, much
    slower. nonnegative: no negative coefficients. refitted: matching pursuit, then a least-squares fit of all
    coefficients (after admission)."""
    recipe: Recipe = "published"
    """Selection of atoms. published: activations above the threshold. pruned: as many atoms, the most used of the
    published ones and up to three times as many random ones; it explains more of the variance at about the same CE
    loss, and takes longer to build. random: as many atoms, drawn at random, as a baseline."""
    center: Center = "none"
    """Vector that is subtracted from every activation. mean: the mean activation, which can have more than half of the
    energy; atoms and threshold then apply to deviations from it. none: nothing, as in the paper."""
    max_norm: float | None = None
    """Maximum norm of an activation, in multiples of the median norm, such as 5. Tokens above it, such as attention
    sinks, count as not captured. No limit unless set."""

    def __post_init__(self) -> None:
        _set_whole(self, "l0", 1, _MOST_STEPS)
        _one_of("error", self.error, ERRORS)
        _one_of("scan", self.scan, SCANS)
        _one_of("init", self.init, INITS)
        _one_of("method", self.method, METHODS)
        _one_of("recipe", self.recipe, RECIPES)
        _one_of("center", self.center, CENTERS)
        if not isinstance(self.threshold, int | float):  # numpy's, or a tensor's, which JSON has no word for
            object.__setattr__(self, "threshold", _number("threshold", self.threshold))
        if not is_number(self.threshold) or self.threshold < 0:
            raise UserError(f"threshold is {str(self.threshold)[:40]}: it must be a finite number, 0 or more")
        if self.max_norm is not None:
            found = self.max_norm if isinstance(self.max_norm, int | float) else _number("max_norm", self.max_norm)
            if not is_number(found) or found < 1:
                raise UserError(f"max_norm is {str(found)[:40]}: it must be a finite number, 1 or more")
            object.__setattr__(self, "max_norm", float(found))
        if self.n_atoms is not None:
            _set_whole(self, "n_atoms", 1, name="atoms")
            if self.recipe == "random" and self.n_atoms > RESERVOIR_ROWS:
                raise UserError(f"atoms are {self.n_atoms}: {RESERVOIR_ROWS} random atoms are the most")
        if self.max_atoms is not None:
            if self.n_atoms is not None:
                raise UserError("atoms and max_atoms exclude each other: give one of them")
            _set_whole(self, "max_atoms", 1)
            if self.recipe == "random" and self.max_atoms > RESERVOIR_ROWS:
                raise UserError(f"max_atoms is {self.max_atoms}: {RESERVOIR_ROWS} random atoms are the most")

    def described(self) -> dict[str, Any]:
        """Return the settings as manifests and ids have them.

        Those of the published recipe without centring and limit are as they were before there were others."""
        described = asdict(self)
        if self.recipe == "published":
            del described["recipe"]
        if self.center == "none":
            del described["center"]
        if self.max_norm is None:
            del described["max_norm"]
        del described["n_atoms"]  # of which the threshold is what remains
        return described

    def check_scan(self) -> None:
        """Refuse what depends on the batches together with what must not. Raises ValueError."""
        if self.n_atoms is not None and self.scan != "sequential":
            raise ValueError('a number of atoms requires scan="sequential"')
        if self.init == "frequent" and self.scan != "batch":
            raise ValueError('init="frequent" requires scan="batch"')


@dataclass(frozen=True)
class BuildSettings:
    """Activations that are captured for a build."""

    layers: tuple[int, ...] = option(parse=parse_layers)
    """Layers (blocks), counted from 0, such as 2,4-6. Each gives a separate dictionary."""
    _: KW_ONLY
    hooks: tuple[str, ...] = option(("resid",), name="hook", parse=parse_hooks)
    """Hook points in each block, such as resid,mlp: resid (block output), mlp, attn."""
    tokens: int = 200_000
    """Number of tokens to capture, including held-out ones."""
    holdout: bool = option(True, negation="no_holdout")
    """Hold out every tenth document (ordinal ending in 9) for evaluation."""
    keep_activations: bool = False
    """Keep the activations in the library, in fp16."""
    batch_windows: int = option(16, name="batch")
    """Windows per forward pass."""
    maps: bool = option(True, negation="no_map")
    """Compute a map of each dictionary's atoms."""

    def __post_init__(self) -> None:
        if not self.layers:
            raise UserError("name at least one layer, for instance --layers 3")
        _set_whole(self, "tokens", 1)
        _set_whole(self, "batch_windows", 2, name="windows in a batch")


@dataclass(frozen=True)
class LayersSettings:
    """Comparison of the layers of two models."""

    tokens: int = 3_000
    """Number of tokens of the corpus that each model reads."""
    threshold: float = 0.1
    """Relative error above which a token becomes an atom."""
    l0: int = 40
    """Pursuit steps for one activation."""

    def __post_init__(self) -> None:
        _set_whole(self, "tokens", 100)
        DictionarySettings(l0=self.l0, threshold=self.threshold)  # raises for values that cannot be


@dataclass(frozen=True, kw_only=True)
class MeasureSettings:
    """Grid that a dictionary is measured on, beside its own L0."""

    __pydantic_config__ = _STRICT

    l0s: tuple[int, ...] = option((10, 20, 40, 80), hidden=True)
    """Pursuit steps for one activation."""
    shares: tuple[float, ...] = option((0.125, 0.25, 0.5, 1.0), hidden=True)
    """Sizes, by cropping: shares of its atoms, in order of admission."""
    tokens: int = 10_000
    """Maximum number of held-out tokens to measure on (the first ones)."""
    seed: int = option(0, hidden=True)
    """Seed of the draw of random atoms."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "l0s", tuple(_whole("L0", l0, 1, _MOST_STEPS) for l0 in self.l0s))
        for share in self.shares:
            if not is_number(share) or not 0 < share <= 1:
                raise UserError(f"a share of the atoms is {str(share)[:40]}: it must be above 0, and 1 at most")
        if not self.shares:
            raise UserError("name at least one share of the atoms")
        _set_whole(self, "tokens", 1)
        _set_whole(self, "seed", 0)


@dataclass(frozen=True, kw_only=True)
class SaeSettings:
    """Training of a sparse autoencoder."""

    kind: SaeKind = "topk"
    """Architecture. topk: only the k largest latents are active (Gao et al. 2025). standard: ReLU with an L1 penalty
    that is adjusted to reach the requested L0 (Bricken et al. 2023)."""
    tokens: int = 2_000_000
    """Number of activations to train on, repeats included."""
    batch: int = 1_024
    """Activations per step."""
    lr: float = 4e-3
    """Peak learning rate."""
    seed: int = 0
    """Seed of the weights and of the order of the activations."""

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, SAE_KINDS)
        for name, lowest in (("tokens", 1), ("batch", 2), ("seed", 0)):
            _set_whole(self, name, lowest)
        if not is_number(self.lr) or self.lr <= 0:
            raise UserError(f"lr is {str(self.lr)[:40]}: it must be a finite number above 0")
        if self.tokens < self.batch:
            raise UserError(f"tokens are {self.tokens:,}, less than one step of {self.batch:,}: raise --tokens")


@dataclass(frozen=True)
class ProbingSettings:
    """Probing of atoms for properties of tokens."""

    tokens: int = 40_000
    """Maximum number of tokens to read."""
    seed: int = option(0, hidden=True)
    """Seed of the split, of random atoms and of random directions."""

    def __post_init__(self) -> None:
        if not 1000 <= self.tokens < 2**31:
            raise UserError(f"tokens is {self.tokens}: probes need 1000 or more, and take fewer than 2^31")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed is {self.seed}: give a whole number from 0 to 2^32 − 1")
