"""Settings and results of `itda bench sae`."""

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from itda_core.benchmarks.machine import Machine
from itda_core.common.errors import UserError
from itda_core.common.settings import SaeKind


class BenchSite(NamedTuple):
    """A site of the benchmark."""

    model: str
    """A model of the demo."""
    layer: int
    """Index of the block whose output is encoded."""
    threshold: float
    """Relative error above which an activation becomes an atom."""


@dataclass(frozen=True)
class SaeBench:
    """Settings of `itda bench sae`.

    The default run takes under eight minutes on two cores; `--full` trains longer.
    """

    sites: tuple[BenchSite, ...] = (BenchSite("docs-a", 3, 0.15),)
    """The sites; the figures at the top of the report are of the first."""
    l0: int = 20
    """Pursuit steps, and k of the SAEs."""
    tokens: int = 40_000
    """Number of tokens that the dictionary is built from, the first of the corpus; those of every tenth document are
    held out for evaluation."""
    sae_tokens: int = 500_000
    """Number of tokens that the SAEs are trained on, starting with those of the dictionary; all available if the
    corpus has fewer. Also without every tenth document."""
    measured_tokens: int = 3_000
    """Minimum number of evaluation tokens, out of `tokens`, completed to a batch of windows."""
    sae_seconds: tuple[tuple[SaeKind, float], ...] = (("topk", 220.0), ("standard", 40.0))
    """Approximate training time in seconds of an SAE, by kind: some steps are timed first, and the number of training
    tokens is set accordingly. The learning rate decays at their end."""
    batch: int = 1_024
    """Activations in an SAE's step."""
    lrs: tuple[float, ...] = (4e-3,)
    """Learning rates: with several, each is tried for `sweep_share` of the time, and the one with the highest final CE
    loss score is used. The trials are not counted in any training time."""
    sweep_share: float = 0.1
    """Share of an SAE's time that a trial of a learning rate takes."""
    build_rows: int = 2_048
    """Activations in a batch of the build."""
    marks: int = 12
    """Number of evaluations of each method during its run, at geometrically spaced numbers of tokens."""
    seed: int = 0
    """Seed of the SAEs."""

    def __post_init__(self) -> None:
        if not self.sites or self.marks < 2:
            raise UserError("the bench needs a site and two marks at least")
        if self.sae_tokens < self.tokens:
            raise UserError("the SAEs have the dictionary's tokens at least: sae_tokens is tokens or more")
        if not self.sae_seconds or not self.lrs or any(seconds <= 0 for _, seconds in self.sae_seconds):
            raise UserError("the bench needs a learning rate, an SAE at least, and some time for each")


FULL_SAE = SaeBench(
    sites=(BenchSite("docs-a", 3, 0.15), BenchSite("docs-c", 3, 0.05), BenchSite("code-a", 3, 0.15)),
    sae_tokens=2_000_000,
    sae_seconds=(("topk", 450.0), ("standard", 90.0)),
    lrs=(2e-3, 4e-3),
)
"""Additional models, one with another tokenizer and activation dimension; longer training on the complete corpus, at
the better of two learning rates. About 50 minutes."""


NAMES = {"itda": "ITDA", "topk": "TopK SAE", "standard": "ReLU SAE"}
"""Methods as tables name them."""


@dataclass(frozen=True)
class CurvePoint:
    """Evaluation of a method during its run."""

    tokens: int
    """Activations seen so far, repetitions included."""
    seconds: float
    """Seconds so far, including compilation, without capture and evaluation."""
    latents: int
    """Number of atoms or latents."""
    ce_loss_score: float
    """CE loss score over the held-out tokens."""
    relative_error: float
    """Relative error over the held-out tokens."""
    l0: float
    """Mean number of active latents per token."""
    variance_explained: float | None = None
    """Share of the variance of the held-out tokens that is explained; None in reports that do not have it."""


@dataclass(frozen=True)
class Contestant:
    """One method of encoding a site's activations."""

    name: str
    """`itda`, `topk`, `standard`."""
    curve: tuple[CurvePoint, ...]
    """In order of tokens; the last point is the end of its run."""
    lr: float | None = None
    """Learning rate; None for ITDA."""
    tried: dict[str, float] = field(default_factory=dict)
    """CE loss score at the end of the trial, by learning rate tried."""


@dataclass(frozen=True)
class Reach:
    """Point at which one method reaches the final CE loss score of another.

    Its L0 there must be at most 1.25 times the L0 of the comparison.
    """

    reached: bool
    """Whether it reaches the score in its run."""
    tokens: float
    """Activations seen up to there, by linear interpolation between two points of its curve; of the complete run if
    never."""
    seconds: float
    """Seconds up to there, likewise."""
    time_ratio: float
    """ITDA's time over the SAE's, at the score."""
    token_ratio: float
    """The same ratio for tokens."""
    bound: str | None
    """If the score is not reached: `upper` if a longer run of the SAE would lower the ratio, `lower` if a longer run
    of ITDA would raise it. None if it is reached."""


@dataclass(frozen=True)
class Versus:
    """ITDA compared with one SAE."""

    sae: str
    """Name of the SAE."""
    at_itda: Reach
    """The SAE reaches ITDA's score: ITDA's total time over the SAE's time up to there."""
    at_sae: Reach
    """ITDA reaches the SAE's score: ITDA's time up to there over the SAE's total time."""


@dataclass(frozen=True)
class SiteContest:
    """Results for one site: ITDA and the SAEs, with the same width and L0."""

    site: BenchSite
    """The site."""
    d_model: int
    """Activation dimension."""
    latents: int
    """Number of atoms of the dictionary, and of latents of each SAE."""
    tokens: int
    """Number of activations that the dictionary was built from."""
    sae_tokens: int
    """Number of distinct activations that the SAEs are trained on, including these."""
    measured_tokens: int
    """Number of tokens that all of them were evaluated on, from other documents."""
    capture_seconds: float
    """Seconds of capture, not counted in any method's time."""
    ce_original: float
    """Cross-entropy of the unchanged model on the evaluation tokens, in nats."""
    ce_zero: float
    """The same with the activations replaced by zeros."""
    contestants: tuple[Contestant, ...]
    """The methods, ITDA first."""
    versus: tuple[Versus, ...]
    """ITDA compared with each of the others."""


@dataclass(frozen=True)
class SaeReport:
    """Complete results of a run of `itda bench sae`."""

    contests: tuple[SiteContest, ...]
    """One for each site."""
    compile_seconds: float
    """Seconds of compiling ITDA's loops with an empty disk cache; always included in ITDA's time."""
    threads: int
    """Number of threads of each method."""
    machine: Machine
    """Measured performance of the machine."""
    settings: SaeBench
    """Settings of the run."""
    corpus: str
    """Id of the corpus."""
    seconds: float = field(default=0.0)
    """Duration of the complete run."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values.

        The top level has ITDA against the first SAE at the first site.
        """
        first = self.contests[0]
        itda, reach = first.contestants[0].curve[-1], first.versus[0].at_itda
        compiled = (itda.seconds - self.compile_seconds) / reach.seconds
        return {
            "time_ratio": reach.time_ratio,
            "token_ratio": reach.token_ratio,
            "reached": reach.reached,
            "ce_loss_score": itda.ce_loss_score,
            "time_ratio_without_compiling": compiled,
            "capture_seconds": first.capture_seconds,
            "paper": PAPER,
            **asdict(self),
        }


PAPER: dict[str, Any] = {
    "claim": {"time_ratio": 0.01, "token_ratio": 0.01},
    "seconds": {"itda": 8 * 60, "sae": [2 * 3600, 8 * 3600]},
    "tokens": {"itda": 1_200_000, "sae": "hundreds of millions"},
    "ce_loss_score": {
        "l0": [10, 20, 40, 80],
        "pythia-70m": {
            "itda_4k": [0.85, 0.89, 0.94, 0.96],
            "itda_16k": [0.88, 0.92, 0.97, 0.98],
            "worst_sae_4k": [0.86, 0.95, 0.97, 0.98],
            "best_sae_16k": [0.87, 0.96, 0.98, 0.99],
        },
        "pythia-160m": {
            "itda_4k": [0.70, 0.79, 0.88, 0.93],
            "itda_64k": [0.83, 0.90, 0.96, 0.98],
            "worst_sae_4k": [None, 0.95, None, None],
            "best_sae_64k": [None, 0.97, 0.98, 0.99],
        },
        "gemma-2-2b": {
            "itda_4k": [None, 0.70, 0.76, 0.81],
            "itda_64k": [None, 0.83, 0.87, 0.92],
            "worst_sae_4k": [None, 0.95, 0.96, 0.98],
            "best_sae_64k": [None, 0.98, 0.98, 0.99],
        },
    },
}
"""Figures of the paper: the claim (abstract, §1); times on GPT-2 small (§5.1); tokens (§4.1); CE loss scores read off
its Figure 7(a), to about 0.01, the extremes of its ITDAs and SAEs."""
