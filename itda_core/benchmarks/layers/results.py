"""What `itda bench layers` is asked for, and what it answers."""

from dataclasses import asdict, dataclass, field
from typing import Any

from itda_core.benchmarks.machine import Machine
from itda_core.common.errors import UserError


@dataclass(frozen=True)
class LayersBench:
    """What `itda bench layers` measures. The default takes some minutes on two cores; `--full` has more of all."""

    tokens: int = 3_000
    """Tokens of the corpus, the same for all models and measures."""
    l0: int = 10
    """Pursuit steps; the models are narrow, and many steps would explain any activation."""
    threshold: float = 0.1
    """Relative error above which an activation becomes an atom, wherever no other is named."""
    thresholds: tuple[float, ...] = (0.3, 0.1, 0.05)
    """The thresholds of the sweep."""
    union_sources: tuple[int, ...] = (500, 1_000, 1_500)
    """Sources of a model, of all its layers together, at which whole models are compared: all have as many."""
    budgets: tuple[int, ...] = (100, 300, 1_000)
    """Numbers of tokens of the sweep; each measure has no more than them."""
    draws: int = 2
    """So many separate stretches of tokens are taken for a budget, or as many as there are."""
    transplant_tokens: int = 2_000
    """Tokens at most for transplanting, which encodes them anew for each pair of layers."""
    batch_windows: int = 16
    """Windows in a forward pass."""

    def __post_init__(self) -> None:
        if any(sources >= self.tokens for sources in self.union_sources):
            raise UserError(f"{self.tokens:,} tokens give no {max(self.union_sources):,} sources: ask for fewer")
        if self.draws < 1 or any(tokens > self.tokens for tokens in self.budgets):
            raise UserError(f"budgets are {self.budgets} of {self.tokens:,} tokens: ask for fewer, in one draw or more")


FULL_LAYERS = LayersBench(
    tokens=10_000,
    thresholds=(0.3, 0.2, 0.1, 0.05),
    budgets=(100, 300, 1_000, 3_000),
    draws=3,
)
"""More tokens, more thresholds and more draws: for the last digit."""


@dataclass(frozen=True)
class Accuracy:
    """The layer-matching accuracy of each measure on some tokens; a measure that needs more tokens is left out."""

    tokens: int
    """Tokens of each draw."""
    draws: int
    """Stretches of tokens that it is the mean over."""
    threshold: float
    """Relative error of the seeds' dictionaries."""
    atoms: dict[str, float]
    """By model: mean size of its dictionaries."""
    accuracy: dict[str, float]
    """By measure: share of layers that found the layer of the same depth."""
    interval: dict[str, tuple[float, float] | None]
    """By measure: 95 % bootstrap interval over the models; None where there are two."""
    left_out: dict[str, str]
    """By measure: why it has no accuracy here."""


@dataclass(frozen=True)
class Cost:
    """What a measure took for the seeds, beyond the activations. Megabytes are 10⁶ bytes."""

    prepare_seconds: float
    """For all sites of the seeds together: what is done once for each; building and encoding included."""
    compare_ms: float
    """For one pair of sites."""
    peak_mb: float | None
    """Growth of the process's peak meanwhile; None on a system that does not say."""


@dataclass(frozen=True)
class Lead:
    """How far the most accurate measure is ahead of another on the same pairs of models."""

    best: str
    """The most accurate measure."""
    difference: float
    """Of their accuracies."""
    interval: tuple[float, float] | None
    """95 % bootstrap interval over the models; None where there are two."""


@dataclass(frozen=True)
class Unions:
    """Pairs of whole models, by the sources of all their layers, where every model has about as many."""

    sources: int
    """So many distinct sources each model has, to 1 % where that can be met and 5 % at worst."""
    chance: float
    """IoU of two such sets drawn blindly."""
    threshold: dict[str, float]
    """By model: the relative error at which it has so many."""
    pairs: dict[str, float]
    """Union IoU of each pair of models."""
    ranges: dict[str, tuple[float, float] | None]
    """Lowest and highest of them: `same` architecture, `different` architectures."""


@dataclass(frozen=True)
class LayersReport:
    """All that a run of `itda bench layers` measured."""

    models: dict[str, list[int]]
    """By model: layers and width."""
    seeds: list[str]
    """The models of one architecture that Eq. 9 is taken over."""
    others: list[str]
    """The models of the other architecture."""
    corpus: str
    """Id of the corpus."""
    n_pairs: int
    """Ordered pairs of distinct seeds."""
    main: Accuracy
    """All tokens, the usual threshold."""
    lead: dict[str, Lead]
    """By measure that is not the most accurate of `main`: by how much that one is ahead."""
    held_out: Accuracy | None
    """The same between those seeds alone that no setting was chosen by; None where fewer than two are left."""
    held_out_seeds: list[str]
    """Those seeds."""
    budgets: list[Accuracy]
    """Accuracy against the number of tokens."""
    thresholds: list[Accuracy]
    """Accuracy against the threshold, on all tokens."""
    across: list[Accuracy]
    """Accuracy between the two architectures, whose depths differ, for each number of tokens."""
    foreign: dict[str, Accuracy]
    """By model with another tokenizer: accuracy between the seeds and it, on tokens that end at the same character."""
    cost: dict[str, Cost]
    """By measure, on all tokens with the usual threshold."""
    equal_threshold: dict[str, float]
    """By model that is no seed: the threshold at which it has as many sources as the seeds; what it is compared at."""
    unions: list[Unions]
    """Whole models against each other, at some numbers of sources."""
    convergence: dict[str, Any]
    """`model`, `steps`, and `iou`: per step, the IoU of each layer's dictionary with that of the final weights."""
    machine: Machine
    """What the machine can do."""
    settings: LayersBench
    """What was asked for."""
    seconds: float = field(default=0.0)
    """Of the whole run."""

    def as_json(self) -> dict[str, Any]:
        """The report as values that JSON has, the main accuracies at the top."""
        main = asdict(self.main)
        return {"accuracy": main["accuracy"], "interval": main["interval"], "n_pairs": self.n_pairs, **asdict(self)}
