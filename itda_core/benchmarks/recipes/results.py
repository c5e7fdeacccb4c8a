"""Settings and results of `itda bench recipes`."""

from dataclasses import asdict, dataclass, field
from typing import Any

from itda_core.benchmarks.models import PRETRAINED
from itda_core.benchmarks.sae.results import Contestant, Reach, SaeBench
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
SAE = "TopK SAE"
"""Name of the SAE among the recipes of a row."""


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
    saes: tuple[tuple[int, int], ...] = ()
    """Those of the sizes at which a TopK SAE is trained on the same activations."""
    sae_seconds: float = 600.0
    """Approximate processor seconds that an SAE is trained for."""
    lrs: tuple[float, ...] = (1e-3, 4e-3)
    """Learning rates of an SAE: each is tried for a tenth of that time, and the better one is used."""

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise UserError(f"draws are {self.draws}: ask for one or more")
        if PUBLISHED not in self.names or not set(self.names) <= set(NAMES):
            raise UserError(f"recipes are {', '.join(self.names)}: choose {PUBLISHED} and others of {', '.join(NAMES)}")
        if 2 * max(atoms for atoms, _ in self.sizes) > self.tokens:
            raise UserError(f"{self.tokens:,} tokens are too few for dictionaries of such sizes: ask for more")
        if not set(self.saes) <= set(self.sizes):
            raise UserError("an SAE is compared with dictionaries of its size: add that to the sizes")

    def sae(self, l0: int) -> SaeBench:
        """Return the settings of an SAE's training at this L0."""
        return SaeBench(l0=l0, sae_seconds=(("topk", self.sae_seconds),), lrs=self.lrs)


FULL_RECIPES = RecipesBench(
    tokens=48_000,
    measured=1_500,
    sites=tuple((PRETRAINED, layer) for layer in (5, 10, 15, 20, 25)),
    sizes=((1_000, 20), (1_000, 40), (4_000, 20), (4_000, 40), (16_000, 20), (16_000, 40)),
    names=(PUBLISHED, PUBLISHED + CENTRED, "pruned" + CENTRED + REFITTED, "random"),
    draws=1,
    saes=((4_000, 20),),
)
"""Settings of `itda bench recipes --full`: a pretrained model, and a TopK SAE at each layer."""


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
    threshold: float | None
    """Threshold at which its greedy build admits this number of atoms, relative to the squared length of what is
    decomposed; None for an SAE."""
    seconds: float
    """Processor seconds of one build, or of an SAE's training, which other programs hardly change; compiled loops are
    at hand."""
    encode_seconds: float
    """Processor seconds of encoding the held-out tokens by the dictionary of the first draw: median of three."""


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
    """By name, with the SAE's if one was trained."""
    sae: Contestant | None = None
    """The SAE's evaluations as it learned; None if none was trained."""
    reached: dict[str, Reach] = field(default_factory=dict)
    """Where the SAE first has the CE loss score of each recipe, and that recipe's time and tokens over its own."""

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
