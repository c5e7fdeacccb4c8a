"""Terminal tables of `itda bench sae`."""

from itda_core.benchmarks.sae.results import NAMES, Contestant, Reach, SaeReport, SiteContest, Versus
from itda_core.common.columns import columns


def sae_table(report: SaeReport) -> str:
    """Format an SAE report as text.

    Per site it has the points at which each method reaches the other's score, and the curves; then the paper's
    figures.
    """
    lines = [
        f"{report.threads} threads; compiling ITDA's loops from nothing took {report.compile_seconds:.1f} s and is in "
        "its time; capture is in nobody's",
    ]
    for contest in report.contests:
        lines += ["", *_contest(report, contest)]
    return "\n".join([*lines, "", *_PAPER])


def _contest(report: SaeReport, contest: SiteContest) -> list[str]:
    site, itda = contest.site, contest.contestants[0].curve[-1]
    lines = [
        f"{site.model}, layer {site.layer}, width {contest.d_model}: {contest.latents:,} latents, L0 "
        f"{report.settings.l0}; {contest.tokens:,} activations for ITDA, {contest.sae_tokens:,} for the SAEs "
        f"(captured in {contest.capture_seconds:.1f} s); measured on {contest.measured_tokens:,} tokens of other "
        "documents",
        f"ITDA: CE loss score {itda.ce_loss_score:.4f} from {itda.tokens:,} tokens in {itda.seconds:.1f} s",
        *columns([_HEADS, *(row for versus in contest.versus for row in _rows(versus, contest))]),
        "",
        "CE loss score, relative error and L0 against tokens and time:",
        *columns([_CURVE_HEADS, *(row for each in contest.contestants for row in _curve(each))]),
        *(
            f"{NAMES[each.name]}: learning rate {each.lr:g}, of those tried (score): "
            + ", ".join(f"{lr} ({score:.4f})" for lr, score in each.tried.items())
            for each in contest.contestants
            if each.tried
        ),
    ]
    return lines


_HEADS = ("method", "reaches", "score", "tokens", "time", "ITDA's time", "ITDA's tokens")
_CURVE_HEADS = ("", "tokens", "time", "latents", "score", "error", "L0")


def _rows(versus: Versus, contest: SiteContest) -> list[tuple[str, ...]]:
    ends = {each.name: each.curve[-1].ce_loss_score for each in contest.contestants}
    sae = NAMES[versus.sae]
    return [
        (sae, "ITDA's", f"{ends['itda']:.4f}", *_reach(versus.at_itda)),
        ("ITDA", f"{sae}'s", f"{ends[versus.sae]:.4f}", *_reach(versus.at_sae)),
    ]


def _reach(reach: Reach) -> tuple[str, ...]:
    sign = {None: "", "upper": "under ", "lower": "over "}[reach.bound]
    where = "" if reach.reached else "not in "
    return (
        f"{where}{reach.tokens:,.0f}",
        f"{where}{reach.seconds:.1f} s",
        f"{sign}{reach.time_ratio:.1%}",
        f"{sign}{reach.token_ratio:.1%}",
    )


def _curve(contestant: Contestant) -> list[tuple[str, ...]]:
    return [
        (
            NAMES[contestant.name],
            f"{point.tokens:,}",
            f"{point.seconds:.1f} s",
            f"{point.latents:,}",
            f"{point.ce_loss_score:.4f}",
            f"{point.relative_error:.4f}",
            f"{point.l0:.1f}",
        )
        for point in contestant.curve
    ]


_PAPER = (
    "The paper: 1 % of the time and of the tokens of an SAE of the same performance; on GPT-2 small, 8 minutes against "
    "2 to 8 hours; 1.2 million tokens against hundreds of millions.",
    "Its CE loss scores at L0 40, read off Figure 7(a), smallest and largest ITDA, worst and best SAE: Pythia-70m 0.94 "
    "and 0.97, 0.97 and 0.98; Pythia-160m 0.88 and 0.96, – and 0.98; Gemma-2 2B 0.76 and 0.87, 0.96 and 0.98.",
)
