"""Tables of `itda bench sae` as they stand in `data/results/sae.md`."""

import math

from itda_core.benchmarks.sae.results import NAMES, PAPER, Contestant, Reach, SaeReport, SiteContest
from itda_core.common.columns import columns

_PAPER_MODELS = {"pythia-70m": "Pythia-70m", "pythia-160m": "Pythia-160m", "gemma-2-2b": "Gemma-2 2B"}
_L0 = 40
_HEADS = ("model, latents", "method", "reaches the score of", "score", "tokens", "time", "ITDA's time", "ITDA's tokens")


def sae_page(report: SaeReport) -> str:
    """Format an SAE report for its page: where each reaches the other's score, and the scores of the paper."""
    reached = [_HEADS, *(row for contest in report.contests for row in _rows(contest))]
    return "\n".join([*columns(reached), *columns(_paper())])


def _rows(contest: SiteContest) -> list[tuple[str, ...]]:
    of = {each.name: each for each in contest.contestants}
    place = f"`{contest.site.model}`, {contest.latents:,}"
    pairs = [
        (contestant, other, reach)
        for versus in contest.versus
        for contestant, other, reach in ((versus.sae, "itda", versus.at_itda), ("itda", versus.sae, versus.at_sae))
    ]
    return [(place, *_row(of[contestant], of[other], reach)) for contestant, other, reach in pairs]


def _row(contestant: Contestant, other: Contestant, reach: Reach) -> tuple[str, ...]:
    never = "" if reach.reached else "not in "
    end = "" if reach.reached else f" (ends at {contestant.curve[-1].ce_loss_score:.3f})"
    return (
        NAMES[contestant.name],
        NAMES[other.name],
        f"{other.curve[-1].ce_loss_score:.3f}",
        f"{never}{reach.tokens:,.0f}{end}",
        f"{never}{reach.seconds:.1f} s",
        ratio(reach.time_ratio, reach.bound),
        ratio(reach.token_ratio, reach.bound),
    )


def ratio(value: float, bound: str | None) -> str:
    """Format a ratio in percent; a bound is rounded to where it still holds."""
    if bound is None:
        return f"{100 * value:.1f} %"
    if bound == "upper":
        return f"under {math.ceil(1000 * value) / 10:.1f} %"
    return f"over {math.floor(1000 * value) / 10:.1f} %"


def _paper() -> list[tuple[str, ...]]:
    """Format the paper's scores: of its smallest and largest ITDA, and of its worst and best SAE."""
    scores = PAPER["ce_loss_score"]
    at = scores["l0"].index(_L0)
    rows = [
        (name, " and ".join(found[:2]), " and ".join(found[2:]))
        for key, name in _PAPER_MODELS.items()
        for found in [["–" if curve[at] is None else f"{curve[at]:.2f}" for curve in scores[key].values()]]
    ]
    return [("model", "ITDA, smallest and largest", "SAE, worst and best"), *rows]
