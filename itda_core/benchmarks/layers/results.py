"""Settings and results of `itda bench layers`."""

from dataclasses import asdict, dataclass, field
from typing import Any

from itda_core.benchmarks.machine import Machine
from itda_core.common.errors import UserError


@dataclass(frozen=True)
class LayersBench:
    """Settings of `itda bench layers`.

    The default run takes some minutes on two cores; `--full` increases all sizes.
    """

    tokens: int = 3_000
    """Number of tokens of the corpus, the same for all models and measures."""
    l0: int = 10
    """Pursuit steps; the models are narrow, and many steps would reconstruct any activation."""
    threshold: float = 0.1
    """Default relative error above which an activation becomes an atom."""
    thresholds: tuple[float, ...] = (0.3, 0.1, 0.05)
    """Thresholds of the sweep."""
    union_sources: tuple[int, ...] = (500, 1_000, 1_500)
    """Numbers of sources, over all layers of a model, at which complete models are compared: equal for all models."""
    budgets: tuple[int, ...] = (100, 300, 1_000)
    """Numbers of tokens of the sweep; each measure uses no more tokens."""
    draws: int = 2
    """Maximum number of disjoint stretches of tokens for each budget."""
    transplant_tokens: int = 2_000
    """Maximum number of tokens for transplanting, which encodes them again for each pair of layers."""
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
"""More tokens, thresholds and draws, for more precise results."""


@dataclass(frozen=True)
class Accuracy:
    """Layer-matching accuracy of each measure on a set of tokens.

    A measure that needs more tokens is left out.
    """

    tokens: int
    """Number of tokens of each draw."""
    draws: int
    """Number of stretches of tokens that it is the mean over."""
    threshold: float
    """Relative error threshold of the seeds' dictionaries."""
    atoms: dict[str, float]
    """Mean size of its dictionaries, by model."""
    accuracy: dict[str, float]
    """Share of layers matched to the layer of the same depth, by measure."""
    interval: dict[str, tuple[float, float] | None]
    """95 % bootstrap interval over the models, by measure; None for two models."""
    left_out: dict[str, str]
    """Reason for a missing accuracy, by measure."""


@dataclass(frozen=True)
class Cost:
    """Cost of a measure for the seeds, without capturing the activations.

    Megabytes are 10⁶ bytes.
    """

    prepare_seconds: float
    """Seconds for preprocessing all sites of the seeds, including building and encoding."""
    compare_ms: float
    """Milliseconds for one pair of sites."""
    peak_mb: float | None
    """Growth of the process's peak memory during preprocessing; None on a system that does not report it."""


@dataclass(frozen=True)
class Lead:
    """Difference in accuracy between the most accurate measure and another.

    Both are evaluated on the same pairs of models.
    """

    best: str
    """Name of the most accurate measure."""
    difference: float
    """Difference of the accuracies."""
    interval: tuple[float, float] | None
    """95 % bootstrap interval over the models; None for two models."""


@dataclass(frozen=True)
class Unions:
    """Comparison of complete models by the union of their layers' sources.

    Every model has about the same number of sources.
    """

    sources: int
    """Number of distinct sources of each model, met to 1 % if possible and to 5 % at worst."""
    chance: float
    """Expected IoU of two random sets of this size."""
    threshold: dict[str, float]
    """Relative error threshold at which it has this number of sources, by model."""
    pairs: dict[str, float]
    """Union IoU of each pair of models."""
    ranges: dict[str, tuple[float, float] | None]
    """Minimum and maximum of the union IoUs, for pairs of the `same` architecture and of `different` ones."""


@dataclass(frozen=True)
class LayersReport:
    """Complete results of a run of `itda bench layers`."""

    models: dict[str, list[int]]
    """Number of layers and activation dimension, by model."""
    seeds: list[str]
    """Models of one architecture that Eq. 9 is evaluated on."""
    others: list[str]
    """Models of the other architecture."""
    corpus: str
    """Id of the corpus."""
    n_pairs: int
    """Number of ordered pairs of distinct seeds."""
    main: Accuracy
    """Accuracy on all tokens at the default threshold."""
    lead: dict[str, Lead]
    """Lead of the most accurate measure in `main`, by each other measure."""
    held_out: Accuracy | None
    """Accuracy among the seeds that were not used to choose settings; None if fewer than two such seeds exist."""
    held_out_seeds: list[str]
    """Names of these seeds."""
    budgets: list[Accuracy]
    """Accuracy by number of tokens."""
    thresholds: list[Accuracy]
    """Accuracy by threshold, on all tokens."""
    across: list[Accuracy]
    """Accuracy between the two architectures, which differ in depth, by number of tokens."""
    foreign: dict[str, Accuracy]
    """Accuracy between the seeds and a model with another tokenizer, by model, on tokens that end at the same
    character."""
    cost: dict[str, Cost]
    """Cost on all tokens at the default threshold, by measure."""
    equal_threshold: dict[str, float]
    """Threshold at which a model that is not a seed has as many sources as the seeds, used for comparison, by
    model."""
    unions: list[Unions]
    """Comparisons of complete models, at several numbers of sources."""
    convergence: dict[str, Any]
    """`model`, `steps`, and `iou`: per step, the IoU of each layer's dictionary with that of the final weights."""
    machine: Machine
    """Measured performance of the machine."""
    settings: LayersBench
    """Settings of the run."""
    seconds: float = field(default=0.0)
    """Duration of the complete run."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values.

        The main accuracies are at the top level.
        """
        main = asdict(self.main)
        return {"accuracy": main["accuracy"], "interval": main["interval"], "n_pairs": self.n_pairs, **asdict(self)}
