"""State of each page: one frozen dataclass per URL."""

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
"""Measures that can colour the library's grid."""
COLOURS = ("density", "strongest", "error", "admission")
"""Values that can colour the map of atoms."""
POINTERS = ("pick", "circle")
"""Modes of the pointer on the map."""
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
"""Sort orders of the list of atoms → the query's sort, and whether it descends."""
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
"""Sort orders of the lists of two dictionaries → the query's sort, and whether it descends."""
RANKINGS = ("heaviest", "surprising", "strongest")
"""Rankings of the atoms that appeared or disappeared: those sort orders that express an atom's importance."""
BESIDES = ("match", "a", "b")
"""What is shown beside an atom: its twin or best match, or, for the atom of A or of B, its transplant."""
LINES = ("own", "all")
"""Lines of the Quality page: those of the settings that a dictionary was built with, or one for each setting."""
CLICKS = ("open", "compare")
"""Actions of a click on a cell of the library's grid."""


@dataclass(frozen=True)
class LibraryState:
    """State of the library page, `/`."""

    hook: str | None = field(default=None, metadata=param("hook", one_of(HOOKS)))
    """Hook whose dictionaries the grid shows; None takes the first that there is."""
    measure: str = field(default="error", metadata=param("measure", one_of(MEASURES)))
    """Measure that colours the grid."""
    click: str = field(default="open", metadata=param("click", one_of(CLICKS)))
    """Action of a click on a cell: open its atoms, or choose it to be compared."""
    first: str = field(default="", metadata=param("first", text_value))
    """Id of the dictionary that was chosen first, to be A; empty before."""


@dataclass(frozen=True)
class AtomsState:
    """State of the list and the map of a dictionary's atoms, `/atoms`."""

    dictionary: str = field(default="", metadata=param("d", text_value))
    """Id of the dictionary; empty when none is chosen."""
    text: str = field(default="", metadata=param("text", text_value))
    """Text to find."""
    scope: str = field(default="source", metadata=param("scope", one_of(SCOPES)))
    """Where to find it."""
    sort: str = field(default="admission", metadata=param("sort", one_of(tuple(SORTS))))
    """Sort order of the list."""
    page: int = field(default=1, metadata=param("page", whole_value(1)))
    """Page of the list, from 1."""
    density: Range | None = field(default=None, metadata=param("density", range_value, show_range))
    """Range of the share of tokens that an atom fires on."""
    strongest: Range | None = field(default=None, metadata=param("strongest", range_value, show_range))
    """Range of the largest absolute coefficient."""
    error: Range | None = field(default=None, metadata=param("error", range_value, show_range))
    """Range of the error at admission."""
    first: int | None = field(default=None, metadata=param("first", whole_value(1)))
    """Only so many of the atoms admitted first: the dictionary as it is when cropped to them."""
    region: Polygon | None = field(default=None, metadata=param("region", polygon_value, show_polygon))
    """Region selected on the map."""
    colour: str = field(default="density", metadata=param("colour", one_of(COLOURS)))
    """Value that colours the map."""
    pointer: str = field(default="pick", metadata=param("pointer", one_of(POINTERS)))
    """Mode of the pointer on the map: click atoms, or circle them."""
    picked: int | None = field(default=None, metadata=param("picked", whole_value(0)))
    """The atom whose source is shown with the map."""

    def where(self, selected: tuple[int, ...] | None) -> AtomFilter:
        """Return the filter for queries.

        `selected` are the atoms inside the region, None without one.
        """
        return AtomFilter(self.text, self.scope, self.density, self.strongest, self.error, selected, self.first)


@dataclass(frozen=True)
class AtomState:
    """State of the page of one atom, `/atom`."""

    dictionary: str = field(default="", metadata=param("d", text_value))
    """Id of the dictionary; empty when none is chosen."""
    atom: int | None = field(default=None, metadata=param("a", whole_value(0)))
    """Number of the atom; None when none is chosen."""


@dataclass(frozen=True)
class DecomposeState:
    """State of the page of a text that a dictionary decomposes, `/decompose`."""

    dictionary: str = field(default="", metadata=param("d", text_value))
    """Id of the dictionary; empty when none is chosen."""
    text: str = field(default="", metadata=param("text", passage_value))
    """The text; empty where there is none, or where it is too long for a URL."""
    kept: str = field(default="", metadata=param("kept", text_value))
    """Name under which the app keeps a text that is too long for a URL."""
    token: int | None = field(default=None, metadata=param("t", whole_value(0)))
    """The selected token, from 0; None when none is selected."""


@dataclass(frozen=True)
class CompareState:
    """State of the comparison of two dictionaries, `/compare`.

    With an atom of either, the page shows two atoms side by side.
    """

    a: str = field(default="", metadata=param("d", text_value))
    """Id of the dictionary on the left; empty when none is chosen."""
    b: str = field(default="", metadata=param("e", text_value))
    """Id of the dictionary on the right; empty when none is chosen."""
    part: str = field(default="both", metadata=param("part", one_of(PARTITION)))
    """Part whose atoms are listed."""
    text: str = field(default="", metadata=param("text", text_value))
    """Text to find on either side."""
    sort: str = field(default="strongest", metadata=param("sort", one_of(tuple(PAIR_SORTS))))
    """Sort order of the list."""
    page: int = field(default=1, metadata=param("page", whole_value(1)))
    """Page of the list, from 1."""
    ranking: str = field(default="heaviest", metadata=param("by", one_of(RANKINGS)))
    """Ranking of the atoms that appeared or disappeared."""
    atom_a: int | None = field(default=None, metadata=param("a", whole_value(0)))
    """The selected atom of A."""
    atom_b: int | None = field(default=None, metadata=param("b", whole_value(0)))
    """The selected atom of B."""
    passage: str = field(default="", metadata=param("passage", passage_value))
    """The user's text that both decompose; empty where there is none, or where it is too long for a URL."""
    kept: str = field(default="", metadata=param("kept", text_value))
    """Name under which the app keeps a text that is too long for a URL."""
    segment: int | None = field(default=None, metadata=param("s", whole_value(0)))
    """The selected segment of that text, from 0."""
    beside: str = field(default="match", metadata=param("beside", one_of(BESIDES)))
    """What is shown beside the selected atoms: each other, or for the atom of this side its transplant."""

    @property
    def where(self) -> PairFilter:
        """The filter for queries."""
        return PairFilter(self.part, self.text)


@dataclass(frozen=True)
class SimilarityState:
    """State of the similarity of two models' layers, `/similarity`.

    Each model is named by one of its dictionaries.
    """

    a: str = field(default="", metadata=param("d", text_value))
    """Id of a dictionary of the model on the left; empty when none is chosen."""
    b: str = field(default="", metadata=param("e", text_value))
    """Id of a dictionary of the model on the right; empty when none is chosen."""
    measure: str = field(default="jaccard", metadata=param("by", one_of(tuple(LAYER_MEASURES))))
    """Measure that the heatmap shows."""
    layer: int | None = field(default=None, metadata=param("layer", whole_value(0)))
    """The selected layer of A; None takes the middle one."""
    other: int | None = field(default=None, metadata=param("other", whole_value(0)))
    """The layer of B that it is compared with; None takes the most similar."""


@dataclass(frozen=True)
class QualityState:
    """State of the quality page, `/quality`.

    The page shows a dictionary, and a second one or an SAE beside it.
    """

    a: str = field(default="", metadata=param("d", text_value))
    """Id of the dictionary; empty when none is chosen."""
    b: str = field(default="", metadata=param("e", text_value))
    """Id of the dictionary or the SAE that it is compared with; empty for none."""
    measure: str = field(default="ce_loss_score", metadata=param("by", one_of(tuple(QUALITY_METRICS))))
    """Measure that the curves show."""
    lines: str | None = field(default=None, metadata=param("lines", one_of(LINES)))
    """Lines that are drawn; None draws all lines of one dictionary, and of two those of their own settings."""
    sae: str = field(default="", metadata=param("sae", text_value))
    """Id of the SAE whose entry is open; empty for none."""
    sae_kind: str = field(default="topk", metadata=param("kind", one_of(SAE_KINDS)))
    """Kind of SAE to train."""
    probed: str = field(default="", metadata=param("p", text_value))
    """Name of the property whose probes are shown; empty for the average of all of them."""


@dataclass(frozen=True)
class BuildState:
    """State of the form of the build page, `/build`.

    Each field is named as the option of `itda build` that it stands for. The default form is a working build: a model
    that comes with the project, on the installed documentation.
    """

    model: str = field(default="docs-a", metadata=param("model", path_value, is_blank_kept=True))
    """A demo model's name, a folder, or an id of the Hub."""
    revision: str = field(default="", metadata=param("revision", text_value))
    """Branch, tag or commit on the Hub."""
    corpus: str = field(default="docs", metadata=param("corpus", path_value, is_blank_kept=True))
    """Corpus: `docs`, a file, a folder, or a dataset's id on the Hub."""
    layers: str = field(default="2", metadata=param("layers", text_value, is_blank_kept=True))
    """Layers (blocks), as typed."""
    hook: str = field(default="resid", metadata=param("hook", text_value, is_blank_kept=True))
    """Hooks in each block, as typed."""
    l0: int = field(default=20, metadata=param("l0", whole_value(0)))
    """Pursuit steps for one activation."""
    threshold: float = field(default=0.2, metadata=param("threshold", number_value, short))
    """Error above which an activation becomes an atom."""
    error: str = field(default="relative", metadata=param("error", one_of(ERRORS)))
    """Unit of that error."""
    tokens: int = field(default=40_000, metadata=param("tokens", whole_value(0)))
    """Tokens to capture at most."""
    device: str = field(default="", metadata=param("device", text_value))
    """Device that the model runs on; empty takes what there is."""
    dtype: str = field(default="float32", metadata=param("dtype", one_of(DTYPES)))
    """Number type that the model computes in."""
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
    """Windows to read of each document: the first, or all."""
    keep_first: bool = field(default=False, metadata=param("keep_first", flag_value, show_flag))
    """Whether a window's first token is captured too."""
    batch: int = field(default=16, metadata=param("batch", whole_value(0)))
    """Windows in one pass of the model."""
    keep_activations: bool = field(default=False, metadata=param("keep_activations", flag_value, show_flag))
    """Whether the activations stay in the library."""
    no_holdout: bool = field(default=False, metadata=param("no_holdout", flag_value, show_flag))
    """Whether the dictionary is built from every document, with none held out."""
    scan: str = field(default="sequential", metadata=param("scan", one_of(SCANS)))
    """Scan of the activations: row by row, or by batches."""
    init: str = field(default="empty", metadata=param("init", one_of(INITS)))
    """Initial atoms of the dictionary: none, or frequent rows."""
    method: str = field(default="matching", metadata=param("method", one_of(METHODS)))
    """Method of pursuit."""
    recipe: str = field(default="published", metadata=param("recipe", one_of(RECIPES)))
    """Recipe that selects which activations become the atoms."""
    max_atoms: int | None = field(default=None, metadata=param("max_atoms", whole_value(0)))
    """Atoms at most."""
    job: str = field(default="", metadata=param("job", text_value))
    """Id of the job that is followed here; empty for none."""
