"""The state of each page: one frozen dataclass per URL."""

from dataclasses import dataclass, field

from app.state.codec import (
    Polygon,
    Range,
    flag_value,
    number_value,
    one_of,
    param,
    passage_value,
    path_value,
    polygon_value,
    range_value,
    short,
    show_flag,
    show_polygon,
    show_range,
    text_value,
    whole_value,
)
from itda_core.common.settings import DTYPES, ERRORS, INITS, METHODS, RECIPES, SCANS, WINDOWS
from itda_core.common.types import HOOKS
from itda_core.queries.filters import SCOPES, AtomFilter
from itda_core.queries.pair_filters import PARTITION, PairFilter
from itda_core.reports.layers import LAYER_MEASURES
from itda_core.reports.quality import QUALITY_METRICS
from itda_core.reports.sae import SAE_KINDS

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


@dataclass(frozen=True)
class LibraryState:
    """The library page, `/`."""

    hook: str | None = field(default=None, metadata=param("hook", one_of(HOOKS)))
    """Which place in the blocks the grid shows; None takes the first that there is."""
    measure: str = field(default="error", metadata=param("measure", one_of(MEASURES)))
    """What the grid is coloured by."""
    click: str = field(default="open", metadata=param("click", one_of(CLICKS)))
    """What a click on a cell does: open its atoms, or choose it to be compared."""
    first: str = field(default="", metadata=param("first", text_value))
    """Id of the dictionary that was chosen first, to be A; empty before."""


@dataclass(frozen=True)
class AtomsState:
    """The list and the map of a dictionary's atoms, `/atoms`."""

    dictionary: str = field(default="", metadata=param("d", text_value))
    """Id of the dictionary; empty when none is chosen."""
    text: str = field(default="", metadata=param("text", text_value))
    """Text to find."""
    scope: str = field(default="source", metadata=param("scope", one_of(SCOPES)))
    """Where to find it."""
    sort: str = field(default="admission", metadata=param("sort", one_of(tuple(SORTS))))
    """Order of the list."""
    page: int = field(default=1, metadata=param("page", whole_value(1)))
    """Page of the list, from 1."""
    density: Range | None = field(default=None, metadata=param("density", range_value, show_range))
    """Share of tokens that an atom fires on."""
    strongest: Range | None = field(default=None, metadata=param("strongest", range_value, show_range))
    """Largest absolute coefficient."""
    error: Range | None = field(default=None, metadata=param("error", range_value, show_range))
    """Error at admission."""
    first: int | None = field(default=None, metadata=param("first", whole_value(1)))
    """Only those that were admitted among the first so many: the dictionary as it is when it is cropped to them."""
    region: Polygon | None = field(default=None, metadata=param("region", polygon_value, show_polygon))
    """What is selected on the map."""
    colour: str = field(default="density", metadata=param("colour", one_of(COLOURS)))
    """What the map is coloured by."""
    pointer: str = field(default="pick", metadata=param("pointer", one_of(POINTERS)))
    """What the pointer does on the map: click atoms, or circle them."""
    picked: int | None = field(default=None, metadata=param("picked", whole_value(0)))
    """The atom whose source is shown under the map."""

    def where(self, selected: tuple[int, ...] | None) -> AtomFilter:
        """The filter as queries take it; `selected` are the atoms inside the region, None without one."""
        return AtomFilter(self.text, self.scope, self.density, self.strongest, self.error, selected, self.first)


@dataclass(frozen=True)
class AtomState:
    """One atom, `/atom`."""

    dictionary: str = field(default="", metadata=param("d", text_value))
    """Id of the dictionary; empty when none is chosen."""
    atom: int | None = field(default=None, metadata=param("a", whole_value(0)))
    """Number of the atom; None when none is chosen."""


@dataclass(frozen=True)
class DecomposeState:
    """A text as a dictionary decomposes it, `/decompose`."""

    dictionary: str = field(default="", metadata=param("d", text_value))
    """Id of the dictionary; empty when none is chosen."""
    text: str = field(default="", metadata=param("text", passage_value))
    """The text; empty where there is none, or where it is too long for an address."""
    kept: str = field(default="", metadata=param("kept", text_value))
    """Under what the app keeps a text that is too long for an address."""
    token: int | None = field(default=None, metadata=param("t", whole_value(0)))
    """The chosen token, from 0; None when none is chosen."""


@dataclass(frozen=True)
class CompareState:
    """Two dictionaries side by side, `/compare`; with an atom of either, the two atoms side by side."""

    a: str = field(default="", metadata=param("d", text_value))
    """Id of the dictionary on the left; empty when none is chosen."""
    b: str = field(default="", metadata=param("e", text_value))
    """Id of the dictionary on the right; empty when none is chosen."""
    part: str = field(default="both", metadata=param("part", one_of(PARTITION)))
    """Whose atoms are listed."""
    text: str = field(default="", metadata=param("text", text_value))
    """Text to find on either side."""
    sort: str = field(default="strongest", metadata=param("sort", one_of(tuple(PAIR_SORTS))))
    """Order of the list."""
    page: int = field(default=1, metadata=param("page", whole_value(1)))
    """Page of the list, from 1."""
    ranking: str = field(default="heaviest", metadata=param("by", one_of(RANKINGS)))
    """What the atoms that came or went are ranked by."""
    atom_a: int | None = field(default=None, metadata=param("a", whole_value(0)))
    """The atom of A that is looked at."""
    atom_b: int | None = field(default=None, metadata=param("b", whole_value(0)))
    """The atom of B that is looked at."""
    passage: str = field(default="", metadata=param("passage", passage_value))
    """A text of the reader's that both decompose; empty where there is none, or where it is too long for an address."""
    kept: str = field(default="", metadata=param("kept", text_value))
    """Under what the app keeps a text that is too long for an address."""
    segment: int | None = field(default=None, metadata=param("s", whole_value(0)))
    """The part of it that is looked at, from 0."""
    beside: str = field(default="match", metadata=param("beside", one_of(BESIDES)))
    """What two atoms that are looked at stand beside: each other, or the one of this side its transplant."""

    @property
    def where(self) -> PairFilter:
        """The filter as queries take it."""
        return PairFilter(self.part, self.text)


@dataclass(frozen=True)
class SimilarityState:
    """The layers of two models, `/similarity`, each model named by a dictionary of it."""

    a: str = field(default="", metadata=param("d", text_value))
    """Id of a dictionary of the model on the left; empty when none is chosen."""
    b: str = field(default="", metadata=param("e", text_value))
    """Id of a dictionary of the model on the right; empty when none is chosen."""
    measure: str = field(default="jaccard", metadata=param("by", one_of(tuple(LAYER_MEASURES))))
    """What the heatmap shows."""
    layer: int | None = field(default=None, metadata=param("layer", whole_value(0)))
    """The layer of A that is asked about; None takes the middle one."""
    other: int | None = field(default=None, metadata=param("other", whole_value(0)))
    """The layer of B that it is held against; None takes the most alike."""


@dataclass(frozen=True)
class QualityState:
    """How good a dictionary is, `/quality`, and a second one, or an SAE, beside it."""

    a: str = field(default="", metadata=param("d", text_value))
    """Id of the dictionary; empty when none is chosen."""
    b: str = field(default="", metadata=param("e", text_value))
    """Id of the dictionary or the SAE that is laid over it; empty for none."""
    measure: str = field(default="ce_loss_score", metadata=param("by", one_of(tuple(QUALITY_METRICS))))
    """What the curves show."""
    lines: str | None = field(default=None, metadata=param("lines", one_of(LINES)))
    """Which lines there are; None has all of one dictionary, and of two those of their own settings."""
    sae: str = field(default="", metadata=param("sae", text_value))
    """Id of the SAE whose entry is open; empty for none."""
    sae_kind: str = field(default="topk", metadata=param("kind", one_of(SAE_KINDS)))
    """Which kind of SAE would be trained."""
    probed: str = field(default="", metadata=param("p", text_value))
    """Name of the property whose probes are shown; empty for all of them on average."""


@dataclass(frozen=True)
class BuildState:
    """The form of `/build`: each field is named as the option of `itda build` that it stands for.

    As it opens, it is something that works: a model that comes with the project, on the installed documentation.
    """

    model: str = field(default="docs-a", metadata=param("model", path_value, is_blank_kept=True))
    """A demo model's name, a folder, or an id of the Hub."""
    revision: str = field(default="", metadata=param("revision", text_value))
    """Branch, tag or commit on the Hub."""
    corpus: str = field(default="docs", metadata=param("corpus", path_value, is_blank_kept=True))
    """Which texts."""
    layers: str = field(default="2", metadata=param("layers", text_value, is_blank_kept=True))
    """Blocks, as typed."""
    hook: str = field(default="resid", metadata=param("hook", text_value, is_blank_kept=True))
    """Places in each block, as typed."""
    l0: int = field(default=20, metadata=param("l0", whole_value(0)))
    """Pursuit steps."""
    threshold: float = field(default=0.2, metadata=param("threshold", number_value, short))
    """Error above which an activation becomes an atom."""
    error: str = field(default="relative", metadata=param("error", one_of(ERRORS)))
    """Unit of that error."""
    tokens: int = field(default=40_000, metadata=param("tokens", whole_value(0)))
    """Tokens to capture at most."""
    device: str = field(default="", metadata=param("device", text_value))
    """Where the model runs; empty takes what there is."""
    dtype: str = field(default="float32", metadata=param("dtype", one_of(DTYPES)))
    """What the model computes in."""
    remote: bool = field(default=False, metadata=param("remote", flag_value, show_flag))
    """Whether the model runs on NDIF."""
    column: str = field(default="text", metadata=param("column", text_value))
    """Field that holds the text."""
    split: str = field(default="train", metadata=param("split", text_value))
    """Split of a dataset of the Hub."""
    config: str = field(default="", metadata=param("config", text_value))
    """Configuration of a dataset of the Hub."""
    corpus_revision: str = field(default="", metadata=param("corpus_revision", text_value))
    """Revision of a dataset of the Hub."""
    documents: int | None = field(default=None, metadata=param("documents", whole_value(0)))
    """Documents to read at most."""
    context: int = field(default=128, metadata=param("context", whole_value(0)))
    """Tokens in a window."""
    windows: str = field(default="first", metadata=param("windows", one_of(WINDOWS)))
    """Windows of a document."""
    keep_first: bool = field(default=False, metadata=param("keep_first", flag_value, show_flag))
    """Whether a window's first token is captured too."""
    batch: int = field(default=16, metadata=param("batch", whole_value(0)))
    """Windows in one pass of the model."""
    keep_activations: bool = field(default=False, metadata=param("keep_activations", flag_value, show_flag))
    """Whether the activations stay in the library."""
    no_holdout: bool = field(default=False, metadata=param("no_holdout", flag_value, show_flag))
    """Whether every document is built from."""
    scan: str = field(default="sequential", metadata=param("scan", one_of(SCANS)))
    """How rows are judged."""
    init: str = field(default="empty", metadata=param("init", one_of(INITS)))
    """What the dictionary starts from."""
    method: str = field(default="matching", metadata=param("method", one_of(METHODS)))
    """Of pursuit."""
    recipe: str = field(default="published", metadata=param("recipe", one_of(RECIPES)))
    """Which activations become the atoms."""
    max_atoms: int | None = field(default=None, metadata=param("max_atoms", whole_value(0)))
    """Atoms at most."""
    job: str = field(default="", metadata=param("job", text_value))
    """Id of the job that is followed here; empty for none."""
