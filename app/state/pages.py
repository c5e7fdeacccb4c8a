"""State of each page: one frozen dataclass per URL."""

from dataclasses import MISSING, dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from app.state.codec import (
    MOST_IN_ADDRESS,
    Polygon,
    Range,
    decode,
    encode,
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
from itda_core.common.errors import UserError
from itda_core.common.options import options_of
from itda_core.common.settings import (
    SAE_KINDS,
    BuildSettings,
    CorpusSettings,
    DictionarySettings,
    ModelSettings,
    WindowSettings,
)
from itda_core.common.types import HOOKS
from itda_core.queries.filters import SCOPES, AtomFilter
from itda_core.queries.pair_filters import PARTITION, PairFilter
from itda_core.reports.layers import LAYER_MEASURES
from itda_core.reports.quality import QUALITY_METRICS

MEASURES = ("error", "explained", "atoms", "density", "tokens")
"""Measures that can colour the library's grid."""
COLOURS = ("density", "strongest", "error", "admission")
"""Values that can colour the map of atoms."""
POINTERS = ("pick", "circle")
"""Modes of the pointer on the map."""
SORTS: dict[str, tuple[str, bool]] = {
    "best": ("best", True),
    "varied": ("varied", True),
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
"""Panel beside an atom: its twin or best match, or, for the atom of A or of B, its transplant."""
ATOM_TABS = ("fires", "range", "relatives")
"""Tabs of the Atom page."""
COMPARE_TABS = ("atoms", "passage", "changes")
"""Tabs of the Compare page."""
QUALITY_TABS = ("measured", "saes", "recipes", "probes")
"""Tabs of the Quality page."""
SIMILARITY_TABS = ("pair", "trust", "training")
"""Tabs of the Similarity page."""
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
    sort: str | None = field(default=None, metadata=param("sort", one_of(tuple(SORTS))))
    """The chosen sort order of the list; None takes the usual one."""
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

    @property
    def usual_order(self) -> str:
        """The sort order that the list has unless another is chosen."""
        return "best" if self.text else "varied"

    @property
    def order(self) -> str:
        """The sort order of the list; without a text, there is no best match."""
        return self.usual_order if self.sort is None or (self.sort == "best" and not self.text) else self.sort

    @property
    def listed(self) -> "AtomsState":
        """The list alone: without the dictionary, the page, and the atom that is picked on the map."""
        return replace(self, dictionary="", page=1, picked=None)


def _list_value(value: str) -> AtomsState:
    """Parse the parameters of a list of atoms."""
    if len(value) > MOST_IN_ADDRESS:
        raise ValueError(f"must be at most {MOST_IN_ADDRESS} characters long")
    try:
        return decode(AtomsState, dict(parse_qsl(value))).listed
    except UserError as error:
        raise ValueError("must be the parameters of a list of atoms") from error


def _show_list(value: AtomsState) -> str:
    """Format a list of atoms as a URL parameter."""
    return urlencode(encode(value))


@dataclass(frozen=True)
class AtomState:
    """State of the page of one atom, `/atom`."""

    dictionary: str = field(default="", metadata=param("d", text_value))
    """Id of the dictionary; empty when none is chosen."""
    atom: int | None = field(default=None, metadata=param("a", whole_value(0)))
    """Number of the atom; None when none is chosen."""
    listed: AtomsState = field(default=AtomsState(), metadata=param("list", _list_value, _show_list))
    """The list that the atom is read in, whose order Next and Previous follow: the one of all atoms by default."""
    tab: str = field(default="fires", metadata=param("tab", one_of(ATOM_TABS)))
    """The open tab."""


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
    tab: str | None = field(default=None, metadata=param("tab", one_of(COMPARE_TABS)))
    """The tab that was chosen; None where none was."""

    @property
    def opened(self) -> str:
        """The open tab: the one with the text, where the URL has a text and names no tab."""
        return self.tab or ("passage" if self.passage or self.kept else "atoms")

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
    measure: str = field(default="shared_concordance", metadata=param("by", one_of(tuple(LAYER_MEASURES))))
    """Measure that the heatmap shows; at first the one that finds most layers in `itda bench layers`."""
    layer: int | None = field(default=None, metadata=param("layer", whole_value(0)))
    """The selected layer of A; None takes the middle one."""
    other: int | None = field(default=None, metadata=param("other", whole_value(0)))
    """The layer of B that it is compared with; None takes the most similar."""
    tab: str = field(default="pair", metadata=param("tab", one_of(SIMILARITY_TABS)))
    """The open tab."""


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
    tab: str | None = field(default=None, metadata=param("tab", one_of(QUALITY_TABS)))
    """The tab that was chosen; None where none was."""

    @property
    def opened(self) -> str:
        """The open tab: that of the SAE or the property in the URL, where it names no tab."""
        return self.tab or ("saes" if self.sae else "probes" if self.probed else "measured")


BUILD_OPTIONS = {
    each.name: each
    for settings in (ModelSettings, CorpusSettings, WindowSettings, BuildSettings, DictionarySettings)
    for each in options_of(settings)
}
"""Options of `itda build` by name, each with its help."""


def _option(name: str, default: Any = MISSING, is_blank_kept: bool = False) -> Any:
    """Return the field of the build form for an option of `itda build`, with its default unless another is passed."""
    each = BUILD_OPTIONS[name]
    if default is MISSING:
        default = "" if each.kind is str and each.default is None else each.default
    if each.choices:
        return field(default=default, metadata=param(name, one_of(each.choices)))
    parse, show = {
        bool: (flag_value, show_flag),
        int: (whole_value(0), str),
        float: (number_value, short),
        str: (path_value if name == "corpus" else text_value, str),
    }[each.kind]
    return field(default=default, metadata=param(name, parse, show, is_blank_kept))


@dataclass(frozen=True)
class BuildState:
    """State of the form of the build page, `/build`.

    Each field but the first and the last is the option of `itda build` of its name. The default form is a working
    build: a model that comes with the project, on the installed documentation.
    """

    model: str = field(default="docs-a", metadata=param("model", path_value, is_blank_kept=True))
    """A demo model's name, a folder, or an id of the Hub."""
    revision: str = _option("revision")
    corpus: str = _option("corpus", "docs", is_blank_kept=True)
    layers: str = _option("layers", "2", is_blank_kept=True)
    hook: str = _option("hook", "resid", is_blank_kept=True)
    l0: int = _option("l0", 20)
    threshold: float = _option("threshold", 0.2)
    error: str = _option("error")
    tokens: int = _option("tokens", 40_000)
    device: str = _option("device")
    dtype: str = _option("dtype")
    remote: bool = _option("remote")
    column: str = _option("column")
    split: str = _option("split")
    config: str = _option("config")
    corpus_revision: str = _option("corpus_revision")
    documents: int | None = _option("documents")
    context: int = _option("context")
    windows: str = _option("windows")
    keep_first: bool = _option("keep_first")
    batch: int = _option("batch")
    keep_activations: bool = _option("keep_activations")
    no_holdout: bool = _option("no_holdout")
    no_map: bool = _option("no_map")
    scan: str = _option("scan")
    init: str = _option("init")
    method: str = _option("method")
    recipe: str = _option("recipe")
    max_atoms: int | None = _option("max_atoms")
    atoms: int | None = _option("atoms")
    center: str = _option("center", "mean")
    max_norm: float | None = _option("max_norm")
    job: str = field(default="", metadata=param("job", text_value))
    """Id of the job that is followed here; empty for none."""
