"""Settings and results of `itda bench recipes`."""

from dataclasses import asdict, dataclass
from typing import Any

from itda_core.common.errors import UserError
from itda_core.common.settings import RECIPES

PUBLISHED = "published"
"""Recipe that the others are compared with: activations over the threshold, encoded by matching pursuit."""
CENTRED = ", centred"
"""Part of a recipe's name for the mean taken out first."""
REFITTED = ", refitted"
"""Part of a recipe's name for encoding by `refitted` instead of matching pursuit; last in the name."""
NAMES = tuple(recipe + centred + fitted for centred in ("", CENTRED) for recipe in RECIPES for fitted in ("", REFITTED))
"""Names of all recipes, such as `pruned, centred, refitted`."""
PRETRAINED = "SmolLM2-135M"
"""Name of the pretrained model."""


@dataclass(frozen=True)
class RecipesBench:
    """Settings of `itda bench recipes`."""

    tokens: int = 24_000
    """Number of tokens of the corpus that each model reads; every tenth document is held out for evaluation."""
    measured: int = 3_000
    """Number of held-out tokens that are measured at most, the first ones."""
    sites: tuple[tuple[str, int], ...] = (("docs-b", 2), ("docs-b", 4), ("docs-c", 3), ("code-a", 3), ("seeds/s3", 4))
    """Models and layers; the pruned recipe was chosen on docs-a. Sites of one model are neighbours."""
    sizes: tuple[tuple[int, int], ...] = ((300, 20), (1_000, 10), (1_000, 20), (1_000, 40))
    """Numbers of atoms and pursuit steps."""
    names: tuple[str, ...] = NAMES
    """Recipes to measure."""
    draws: int = 2
    """Number of repetitions of recipes with random selection; the mean is reported."""
    batch_windows: int = 16
    """Windows in a forward pass."""

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise UserError(f"draws are {self.draws}: ask for one or more")
        if PUBLISHED not in self.names or not set(self.names) <= set(NAMES):
            raise UserError(f"recipes are {', '.join(self.names)}: choose {PUBLISHED} and others of {', '.join(NAMES)}")
        if 2 * max(atoms for atoms, _ in self.sizes) > self.tokens:
            raise UserError(f"{self.tokens:,} tokens are too few for dictionaries of such sizes: ask for more")


FULL_RECIPES = RecipesBench(
    measured=1_500,
    sites=((PRETRAINED, 10), (PRETRAINED, 20)),
    sizes=((1_000, 20), (3_000, 20), (3_000, 40)),
    names=(PUBLISHED, "random", *(name for name in NAMES if CENTRED in name)),
    draws=1,
)
"""Settings of `itda bench recipes --full`: a pretrained model."""


@dataclass(frozen=True)
class RecipeResult:
    """Results of one recipe at one size and L0, on one site."""

    unexplained: tuple[float, float, float]
    """Fraction of unexplained variance of the held-out tokens, with its 95 % interval over documents; mean over the
    draws."""
    ce_loss_score: tuple[float, float, float]
    """CE loss score, likewise."""
    ce_lead: tuple[float, float, float]
    """Difference of that score to the published recipe's, with its 95 % interval, both resampled over the same
    documents; mean over the draws."""
    threshold: float
    """Threshold at which its greedy build admits this number of atoms, relative to the squared length of what is
    decomposed."""
    seconds: float
    """Seconds of one build."""
    encode_seconds: float
    """Seconds of encoding the held-out tokens by the dictionary of the first draw: median of three."""


@dataclass(frozen=True)
class RecipeRow:
    """Results of all recipes at one size and L0, on one site."""

    model: str
    """Name of the model."""
    layer: int
    """The layer."""
    atoms: int
    """Number of atoms of each dictionary."""
    l0: int
    """Pursuit steps, for building and evaluation."""
    ce_original: float
    """Cross-entropy of the unchanged model's predictions, in nats."""
    ce_zero: float
    """The same with the activations replaced by zeros."""
    mean_energy: float
    """Share of the activations' energy that is in their mean vector."""
    recipes: dict[str, RecipeResult]
    """By name."""

    def ce_added(self, name: str) -> float:
        """Return the cross-entropy that a recipe's reconstructions add, in nats."""
        return (1 - self.recipes[name].ce_loss_score[0]) * (self.ce_zero - self.ce_original)


@dataclass(frozen=True)
class Lead:
    """Advantage of one recipe over the published one, over all rows."""

    unexplained: float
    """Mean relative reduction of the unexplained variance."""
    unexplained_better: int
    """Number of rows in which it leaves less variance unexplained."""
    ce_loss_score: float
    """Mean difference of the CE loss scores."""
    ce_better: int
    """Number of rows in which it has the higher score."""
    ce_added: float
    """Mean ratio of the cross-entropy that it adds to that which the published one adds."""
    surely_better: int
    """Number of rows in which the complete interval of `ce_lead` is above 0."""
    surely_worse: int
    """Number of rows in which it is below 0."""
    seconds: float
    """Its build time over the published one's: sums over all rows."""
    encode_seconds: float
    """Its encoding time over the published one's, likewise."""


@dataclass(frozen=True)
class RecipesReport:
    """Complete results of `itda bench recipes`."""

    corpus: str
    """Id of the corpus."""
    settings: RecipesBench
    """Settings of the run."""
    held_out: dict[str, int]
    """Number of evaluation tokens, by model."""
    rows: list[RecipeRow]
    """Results by site, atoms and L0."""
    leads: dict[str, Lead]
    """Advantage of every other recipe over the published one."""
    seconds: float
    """Duration of the complete run."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values."""
        return asdict(self)
