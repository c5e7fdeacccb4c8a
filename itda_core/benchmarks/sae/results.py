"""What `itda bench sae` is asked for, and what it answers."""

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from itda_core.benchmarks.machine import Machine
from itda_core.common.errors import UserError


class BenchSite(NamedTuple):
    """A place that is coded."""

    model: str
    """A model of the demo."""
    layer: int
    """Its block, whose output is coded."""
    threshold: float
    """Relative error above which an activation becomes an atom."""


@dataclass(frozen=True)
class SaeBench:
    """What `itda bench sae` measures. The default takes under eight minutes on two cores; `--full` trains longer."""

    sites: tuple[BenchSite, ...] = (BenchSite("docs-a", 3, 0.15),)
    """The places; the first is what the figures at the top of the report are of."""
    l0: int = 20
    """Pursuit steps, and k of the SAEs."""
    tokens: int = 40_000
    """Tokens that the dictionary is built from, the first of the corpus; those of every tenth document are for
    measuring."""
    sae_tokens: int = 500_000
    """Tokens that the SAEs learn from, those of the dictionary first; all that there are where the corpus has fewer.
    Also without every tenth document."""
    measured_tokens: int = 3_000
    """Of `tokens`, so many at least are measured on, to the end of a batch of windows."""
    sae_seconds: tuple[tuple[str, float], ...] = (("topk", 220.0), ("standard", 40.0))
    """By kind: time that an SAE is trained for, about: some steps are timed first, and as many tokens as fit in are
    what it sees. The learning rate falls at their end."""
    batch: int = 1_024
    """Activations in an SAE's step."""
    lrs: tuple[float, ...] = (4e-3,)
    """Learning rates: with several, each is tried for `sweep_share` of the time, and the one that ends at the highest
    CE loss score is taken. The trials are in nobody's time."""
    sweep_share: float = 0.1
    """Share of an SAE's time that a trial of a learning rate has."""
    build_rows: int = 2_048
    """Activations in a batch of the build."""
    marks: int = 12
    """So many times is each contestant measured on its way, at numbers of tokens that rise by one factor."""
    seed: int = 0
    """Of the SAEs."""

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
"""Other models beside, one with another tokenizer and width; longer training on the whole corpus, at the better of two
learning rates. Some 50 minutes."""


@dataclass(frozen=True)
class CurvePoint:
    """A contestant on its way."""

    tokens: int
    """Activations seen so far, those seen again counted again."""
    seconds: float
    """Time so far, compiling included; neither capture nor the time that measuring took."""
    latents: int
    """Atoms or latents."""
    ce_loss_score: float
    """Over the held-out tokens."""
    relative_error: float
    """Over the same."""
    l0: float
    """Mean active latents at a token."""


@dataclass(frozen=True)
class Contestant:
    """One way to code a site's activations."""

    name: str
    """`itda`, `topk`, `standard`."""
    curve: tuple[CurvePoint, ...]
    """In order of tokens; the last point is the end of its run."""
    lr: float | None = None
    """Learning rate; None of ITDA."""
    tried: dict[str, float] = field(default_factory=dict)
    """By learning rate that was tried: the CE loss score at the end of the trial."""


@dataclass(frozen=True)
class Reach:
    """Where one contestant comes to the final CE loss score of another, at the L0 compared at and a quarter at most."""

    reached: bool
    """Whether it does in its run."""
    tokens: float
    """Activations seen up to there, on the straight line between two points of its curve; in its run if never."""
    seconds: float
    """Time up to there, likewise."""
    time_ratio: float
    """ITDA's time over the SAE's, at the score."""
    token_ratio: float
    """The same of tokens."""
    bound: str | None
    """Where it is never reached: `upper`, the ratio would be smaller if the SAE went on until it is, or `lower`, it
    would be larger if ITDA did. None where it is reached."""


@dataclass(frozen=True)
class Versus:
    """ITDA against one SAE."""

    sae: str
    """Its name."""
    at_itda: Reach
    """The SAE comes to ITDA's score: ITDA's whole time over the SAE's up to there."""
    at_sae: Reach
    """ITDA comes to the SAE's score: ITDA's time up to there over the SAE's whole."""


@dataclass(frozen=True)
class SiteContest:
    """One place: ITDA and the SAEs, of one width, at one L0."""

    site: BenchSite
    """Which."""
    d_model: int
    """Width of the activations."""
    latents: int
    """Atoms of the dictionary, and latents of each SAE."""
    tokens: int
    """Activations that the dictionary was built from."""
    sae_tokens: int
    """Different activations that the SAEs learn from, those among them."""
    measured_tokens: int
    """Tokens that all of them were measured on, of other documents."""
    capture_seconds: float
    """What capturing took: in nobody's time."""
    ce_original: float
    """Cross-entropy of the unchanged model on the measured tokens, in nats."""
    ce_zero: float
    """The same with zeros for the activations."""
    contestants: tuple[Contestant, ...]
    """ITDA first."""
    versus: tuple[Versus, ...]
    """ITDA against each of the others."""


@dataclass(frozen=True)
class SaeReport:
    """All that a run of `itda bench sae` measured."""

    contests: tuple[SiteContest, ...]
    """One for each site."""
    compile_seconds: float
    """What compiling ITDA's loops takes where nothing of it is kept on the disk; it is in ITDA's time everywhere."""
    threads: int
    """Threads that each contestant had."""
    machine: Machine
    """What the machine can do."""
    settings: SaeBench
    """What was asked for."""
    corpus: str
    """Id of the corpus."""
    seconds: float = field(default=0.0)
    """Of the whole run."""

    def as_json(self) -> dict[str, Any]:
        """The report as values that JSON has; at the top, ITDA against the first SAE at the first site."""
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
"""The paper: the claim (abstract, §1); times on GPT-2 small (§5.1); tokens (§4.1); CE loss scores as its Figure 7(a)
was read off, to about 0.01, the extremes of its ITDAs and SAEs."""
