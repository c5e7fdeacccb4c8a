"""What a page shows, as a typed value, to and from the address. The address is the only place where it is kept.

Widgets are set from it before they are drawn and write to it when they change, so that Back, reload and a link that
was sent to someone else all show the same page. What an address says is not trusted.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar
from urllib.parse import quote_plus

from itda_core.config import DTYPES, ERRORS, INITS, METHODS, RECIPES, SCANS, WINDOWS
from itda_core.layers import MEASURES as LAYER_MEASURES
from itda_core.pair_queries import PARTS, PairFilter
from itda_core.quality import MEASURES as QUALITY_MEASURES
from itda_core.queries import SCOPES, AtomFilter
from itda_core.sae_records import KINDS as SAE_KINDS
from itda_core.types import HOOKS, UserError

Range = tuple[float, float]
Polygon = tuple[tuple[float, float], ...]
State = TypeVar("State", bound="AnyState")

MEASURES = ("error", "atoms", "density", "tokens")
"""What the library's grid can be coloured by."""
COLOURS = ("density", "strongest", "error", "admission")
"""What the map of atoms can be coloured by."""
POINTERS = ("pick", "circle")
"""What the pointer does on the map."""
SORTS: dict[str, tuple[str, bool]] = {
    "admission": ("admission", False),
    "densest": ("density", True),
    "rarest": ("density", False),
    "strongest": ("strongest", True),
    "weakest": ("strongest", False),
    "negative": ("minimum", False),
    "surprising": ("error", True),
    "expected": ("error", False),
}
"""Orders of the list of atoms → the query's sort, and whether it descends."""
PAIR_SORTS: dict[str, tuple[str, bool]] = {
    "strongest": ("strongest", True),
    "admission": ("admission", False),
    "densest": ("density", True),
    "rarest": ("density", False),
    "surprising": ("error", True),
    "heaviest": ("weight", True),
    "matched": ("match", True),
    "unmatched": ("match", False),
    "gained": ("change", True),
    "lost": ("change", False),
}
"""Orders of the lists of two dictionaries → the query's sort, and whether it descends."""
RANKINGS = ("heaviest", "surprising", "strongest")
"""What the atoms that came or went can be ranked by: those of the orders that say how much there is to an atom."""
BESIDES = ("match", "a", "b")
"""What an atom can stand beside: its twin or best match, or, for the one of A or of B, its transplant."""
LINES = ("own", "all")
"""Which lines the Quality page draws: those of the settings that a dictionary was built with, or one for each."""
CLICKS = ("open", "compare")
"""What a click on a cell of the library does."""
MOST_CORNERS = 64
"""Corners that a selection on the map keeps: enough for any lasso, and short enough for an address."""

MOST_IN_ADDRESS = 4000
"""Characters that a passage may take in an address, as the address writes it: browsers and proxies let them pass."""

_LONGEST_TEXT = 200
_LONGEST_PATH = 1000
_LARGEST_NUMBER = 10**9


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return parse


def _whole(lowest: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch("[0-9]{1,10}", value) or not lowest <= int(value) <= _LARGEST_NUMBER:
            raise ValueError(f"must be a whole number, {lowest} or more")
        return int(value)

    return parse


def _at_most(length: int) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if len(value) > length:
            raise ValueError(f"must be at most {length} characters long")
        return value

    return parse


_text, _path, _passage = _at_most(_LONGEST_TEXT), _at_most(_LONGEST_PATH), _at_most(MOST_IN_ADDRESS)


def fits_address(passage: str) -> bool:
    """Whether a passage is short enough for an address, in which a letter of other scripts takes six or nine."""
    return len(passage) <= MOST_IN_ADDRESS and len(quote_plus(passage, errors="replace")) <= MOST_IN_ADDRESS


def _flag(value: str) -> bool:
    if value not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return value == "1"


def _number(value: str) -> float:
    number = float(value) if re.fullmatch(r"[-+0-9.eE]{1,24}", value) else math.nan
    if not math.isfinite(number):
        raise ValueError("must be made of plain numbers")
    return number


def _range(value: str) -> Range:
    try:
        low, high = map(_number, value.split("~"))
    except ValueError as error:
        raise ValueError("must be two numbers like 0.1~0.5") from error
    if low > high:
        raise ValueError("must begin with the smaller number")
    return low, high


def _polygon(value: str) -> Polygon:
    try:
        corners = tuple((_number(x), _number(y)) for x, y in (corner.split(",") for corner in value.split("~")))
    except ValueError as error:
        raise ValueError("must be corners like 0,0~1,0~1,1") from error
    if not 3 <= len(corners) <= MOST_CORNERS:
        raise ValueError(f"must have 3 to {MOST_CORNERS} corners")
    return corners


def _short(number: float) -> str:
    return f"{number:.9g}"


def _show_range(value: Range) -> str:
    return "~".join(map(_short, value))


def _show_polygon(value: Polygon) -> str:
    return "~".join(f"{x:.3f},{y:.3f}" for x, y in value)


def _show_flag(value: bool) -> str:
    return "1" if value else "0"


def _param(
    name: str, parse: Callable[[str], Any], show: Callable[[Any], str] = str, is_blank_kept: bool = False
) -> dict[str, Any]:
    """How a field stands in the address: its parameter, how to read and write it, and whether it may be emptied."""
    return {"param": name, "parse": parse, "show": show, "is_blank_kept": is_blank_kept}


@dataclass(frozen=True)
class LibraryState:
    """The library page, `/`."""

    hook: str | None = field(default=None, metadata=_param("hook", _one_of(HOOKS)))
    """Which place in the blocks the grid shows; None takes the first that there is."""
    measure: str = field(default="error", metadata=_param("measure", _one_of(MEASURES)))
    """What the grid is coloured by."""
    click: str = field(default="open", metadata=_param("click", _one_of(CLICKS)))
    """What a click on a cell does: open its atoms, or choose it to be compared."""
    first: str = field(default="", metadata=_param("first", _text))
    """Id of the dictionary that was chosen first, to be A; empty before."""


@dataclass(frozen=True)
class AtomsState:
    """The list and the map of a dictionary's atoms, `/atoms`."""

    dictionary: str = field(default="", metadata=_param("d", _text))
    """Id of the dictionary; empty when none is chosen."""
    text: str = field(default="", metadata=_param("text", _text))
    """Text to find."""
    scope: str = field(default="source", metadata=_param("scope", _one_of(SCOPES)))
    """Where to find it."""
    sort: str = field(default="admission", metadata=_param("sort", _one_of(tuple(SORTS))))
    """Order of the list."""
    page: int = field(default=1, metadata=_param("page", _whole(1)))
    """Page of the list, from 1."""
    density: Range | None = field(default=None, metadata=_param("density", _range, _show_range))
    """Share of tokens that an atom fires on."""
    strongest: Range | None = field(default=None, metadata=_param("strongest", _range, _show_range))
    """Largest absolute coefficient."""
    error: Range | None = field(default=None, metadata=_param("error", _range, _show_range))
    """Error at admission."""
    first: int | None = field(default=None, metadata=_param("first", _whole(1)))
    """Only those that were admitted among the first so many: the dictionary as it is when it is cropped to them."""
    region: Polygon | None = field(default=None, metadata=_param("region", _polygon, _show_polygon))
    """What is selected on the map."""
    colour: str = field(default="density", metadata=_param("colour", _one_of(COLOURS)))
    """What the map is coloured by."""
    pointer: str = field(default="pick", metadata=_param("pointer", _one_of(POINTERS)))
    """What the pointer does on the map: click atoms, or circle them."""
    picked: int | None = field(default=None, metadata=_param("picked", _whole(0)))
    """The atom whose source is shown under the map."""

    def where(self, selected: tuple[int, ...] | None) -> AtomFilter:
        """The filter as queries take it; `selected` are the atoms inside the region, None without one."""
        return AtomFilter(self.text, self.scope, self.density, self.strongest, self.error, selected, self.first)


@dataclass(frozen=True)
class AtomState:
    """One atom, `/atom`."""

    dictionary: str = field(default="", metadata=_param("d", _text))
    """Id of the dictionary; empty when none is chosen."""
    atom: int | None = field(default=None, metadata=_param("a", _whole(0)))
    """Number of the atom; None when none is chosen."""


@dataclass(frozen=True)
class DecomposeState:
    """A text as a dictionary decomposes it, `/decompose`."""

    dictionary: str = field(default="", metadata=_param("d", _text))
    """Id of the dictionary; empty when none is chosen."""
    text: str = field(default="", metadata=_param("text", _passage))
    """The text; empty where there is none, or where it is too long for an address."""
    kept: str = field(default="", metadata=_param("kept", _text))
    """Under what the app keeps a text that is too long for an address."""
    token: int | None = field(default=None, metadata=_param("t", _whole(0)))
    """The chosen token, from 0; None when none is chosen."""


@dataclass(frozen=True)
class CompareState:
    """Two dictionaries side by side, `/compare`; with an atom of either, the two atoms side by side."""

    a: str = field(default="", metadata=_param("d", _text))
    """Id of the dictionary on the left; empty when none is chosen."""
    b: str = field(default="", metadata=_param("e", _text))
    """Id of the dictionary on the right; empty when none is chosen."""
    part: str = field(default="both", metadata=_param("part", _one_of(PARTS)))
    """Whose atoms are listed."""
    text: str = field(default="", metadata=_param("text", _text))
    """Text to find on either side."""
    sort: str = field(default="strongest", metadata=_param("sort", _one_of(tuple(PAIR_SORTS))))
    """Order of the list."""
    page: int = field(default=1, metadata=_param("page", _whole(1)))
    """Page of the list, from 1."""
    ranking: str = field(default="heaviest", metadata=_param("by", _one_of(RANKINGS)))
    """What the atoms that came or went are ranked by."""
    atom_a: int | None = field(default=None, metadata=_param("a", _whole(0)))
    """The atom of A that is looked at."""
    atom_b: int | None = field(default=None, metadata=_param("b", _whole(0)))
    """The atom of B that is looked at."""
    passage: str = field(default="", metadata=_param("passage", _passage))
    """A text of the reader's that both decompose; empty where there is none, or where it is too long for an address."""
    kept: str = field(default="", metadata=_param("kept", _text))
    """Under what the app keeps a text that is too long for an address."""
    segment: int | None = field(default=None, metadata=_param("s", _whole(0)))
    """The part of it that is looked at, from 0."""
    beside: str = field(default="match", metadata=_param("beside", _one_of(BESIDES)))
    """What two atoms that are looked at stand beside: each other, or the one of this side its transplant."""

    @property
    def where(self) -> PairFilter:
        """The filter as queries take it."""
        return PairFilter(self.part, self.text)


@dataclass(frozen=True)
class SimilarityState:
    """The layers of two models, `/similarity`, each model named by a dictionary of it."""

    a: str = field(default="", metadata=_param("d", _text))
    """Id of a dictionary of the model on the left; empty when none is chosen."""
    b: str = field(default="", metadata=_param("e", _text))
    """Id of a dictionary of the model on the right; empty when none is chosen."""
    measure: str = field(default="jaccard", metadata=_param("by", _one_of(tuple(LAYER_MEASURES))))
    """What the heatmap shows."""
    layer: int | None = field(default=None, metadata=_param("layer", _whole(0)))
    """The layer of A that is asked about; None takes the middle one."""
    other: int | None = field(default=None, metadata=_param("other", _whole(0)))
    """The layer of B that it is held against; None takes the most alike."""


@dataclass(frozen=True)
class QualityState:
    """How good a dictionary is, `/quality`, and a second one, or an SAE, beside it."""

    a: str = field(default="", metadata=_param("d", _text))
    """Id of the dictionary; empty when none is chosen."""
    b: str = field(default="", metadata=_param("e", _text))
    """Id of the dictionary or the SAE that is laid over it; empty for none."""
    measure: str = field(default="ce_loss_score", metadata=_param("by", _one_of(tuple(QUALITY_MEASURES))))
    """What the curves show."""
    lines: str | None = field(default=None, metadata=_param("lines", _one_of(LINES)))
    """Which lines there are; None has all of one dictionary, and of two those of their own settings."""
    sae: str = field(default="", metadata=_param("sae", _text))
    """Id of the SAE whose entry is open; empty for none."""
    sae_kind: str = field(default="topk", metadata=_param("kind", _one_of(SAE_KINDS)))
    """Which kind of SAE would be trained."""
    probed: str = field(default="", metadata=_param("p", _text))
    """Name of the property whose probes are shown; empty for all of them on average."""


@dataclass(frozen=True)
class BuildState:
    """The form of `/build`: each field is named as the option of `itda build` that it stands for.

    As it opens, it is something that works: a model that comes with the project, on the installed documentation.
    """

    model: str = field(default="docs-a", metadata=_param("model", _path, is_blank_kept=True))
    """A demo model's name, a folder, or an id of the Hub."""
    revision: str = field(default="", metadata=_param("revision", _text))
    """Branch, tag or commit on the Hub."""
    corpus: str = field(default="docs", metadata=_param("corpus", _path, is_blank_kept=True))
    """Which texts."""
    layers: str = field(default="2", metadata=_param("layers", _text, is_blank_kept=True))
    """Blocks, as typed."""
    hook: str = field(default="resid", metadata=_param("hook", _text, is_blank_kept=True))
    """Places in each block, as typed."""
    l0: int = field(default=20, metadata=_param("l0", _whole(0)))
    """Pursuit steps."""
    threshold: float = field(default=0.2, metadata=_param("threshold", _number, _short))
    """Error above which an activation becomes an atom."""
    error: str = field(default="relative", metadata=_param("error", _one_of(ERRORS)))
    """Unit of that error."""
    tokens: int = field(default=40_000, metadata=_param("tokens", _whole(0)))
    """Tokens to capture at most."""
    device: str = field(default="", metadata=_param("device", _text))
    """Where the model runs; empty takes what there is."""
    dtype: str = field(default="float32", metadata=_param("dtype", _one_of(DTYPES)))
    """What the model computes in."""
    remote: bool = field(default=False, metadata=_param("remote", _flag, _show_flag))
    """Whether the model runs on NDIF."""
    column: str = field(default="text", metadata=_param("column", _text))
    """Field that holds the text."""
    split: str = field(default="train", metadata=_param("split", _text))
    """Split of a dataset of the Hub."""
    config: str = field(default="", metadata=_param("config", _text))
    """Configuration of a dataset of the Hub."""
    corpus_revision: str = field(default="", metadata=_param("corpus_revision", _text))
    """Revision of a dataset of the Hub."""
    documents: int | None = field(default=None, metadata=_param("documents", _whole(0)))
    """Documents to read at most."""
    context: int = field(default=128, metadata=_param("context", _whole(0)))
    """Tokens in a window."""
    windows: str = field(default="first", metadata=_param("windows", _one_of(WINDOWS)))
    """Windows of a document."""
    keep_first: bool = field(default=False, metadata=_param("keep_first", _flag, _show_flag))
    """Whether a window's first token is captured too."""
    batch: int = field(default=16, metadata=_param("batch", _whole(0)))
    """Windows in one pass of the model."""
    keep_activations: bool = field(default=False, metadata=_param("keep_activations", _flag, _show_flag))
    """Whether the activations stay in the library."""
    no_holdout: bool = field(default=False, metadata=_param("no_holdout", _flag, _show_flag))
    """Whether every document is built from."""
    scan: str = field(default="sequential", metadata=_param("scan", _one_of(SCANS)))
    """How rows are judged."""
    init: str = field(default="empty", metadata=_param("init", _one_of(INITS)))
    """What the dictionary starts from."""
    method: str = field(default="matching", metadata=_param("method", _one_of(METHODS)))
    """Of pursuit."""
    recipe: str = field(default="published", metadata=_param("recipe", _one_of(RECIPES)))
    """Which activations become the atoms."""
    max_atoms: int | None = field(default=None, metadata=_param("max_atoms", _whole(0)))
    """Atoms at most."""
    job: str = field(default="", metadata=_param("job", _text))
    """Id of the job that is followed here; empty for none."""


AnyState = (
    LibraryState | AtomsState | AtomState | DecomposeState | CompareState | SimilarityState | QualityState | BuildState
)
"""What a page shows."""


def decode(kind: type[State], params: Mapping[str, str]) -> State:
    """What an address says. Parameters of other pages are passed over.

    Raises:
        UserError: a parameter that cannot be; the message says what it must be.
    """
    found: dict[str, Any] = {}
    for each in fields(kind):
        value = params.get(_name(each))
        if value is None or (value == "" and not each.metadata["is_blank_kept"]):
            continue
        try:
            found[each.name] = each.metadata["parse"](value)
        except ValueError as error:
            shown = value if len(value) <= 40 else value[:40] + "…"
            raise UserError(f"the address says {_name(each)}={shown!r}: {_name(each)} {error}") from error
    return kind(**found)


def encode(state: AnyState) -> dict[str, str]:
    """The parameters of a state; what is as usual is left out."""
    return {
        _name(each): each.metadata["show"](value)
        for each in fields(state)
        if (value := getattr(state, each.name)) != each.default
    }


def _name(each: Field) -> str:
    return each.metadata["param"]
