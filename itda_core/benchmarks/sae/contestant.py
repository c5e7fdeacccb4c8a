"""Train an SAE as one method of a benchmark, evaluated as it learns."""

import time
from collections.abc import Callable, Sequence

import torch

from itda_core.benchmarks.sae.results import Contestant, CurvePoint, SaeBench
from itda_core.common.errors import UserError
from itda_core.common.settings import SaeKind, SaeSettings
from itda_core.evaluation.coders import Coder
from itda_core.evaluation.metrics import HeldOut, Setting, measure_points
from itda_core.evaluation.sae.coder import SaeCoder
from itda_core.evaluation.sae.saelens import new_sae, new_trainer
from itda_core.evaluation.sae.training import Mark, train

Clock = Callable[[], float]
"""Function that returns seconds, of which differences count."""
_OF_POINT = ("ce_loss_score", "relative_error", "l0", "variance_explained")
_FIRST_MARK = 0.02  # share of an SAE's run
_FEWEST_STEPS, _TIMED_STEPS = 10, 10
_AS_SPARSE = 1.25  # maximum L0 of a point, relative to the L0 of the comparison


class Judge:
    """Evaluation of coders on the same held-out tokens."""

    def __init__(self, batches: Sequence[HeldOut]) -> None:
        """Take the held-out tokens with the unchanged model's predictions.

        Raises UserError if there are none.
        """
        self._batches = batches
        self.tokens = sum(len(batch.sources) for batch in batches)
        found = measure_points([], batches)
        if found.ce_original is None or found.ce_zero is None:
            raise UserError(f"the {self.tokens:,} held-out tokens have no predictions: ask for more")
        self.ce_original, self.ce_zero = found.ce_original, found.ce_zero

    def point(self, coder: Coder, l0: int, tokens: int, seconds: float) -> CurvePoint:
        """Evaluate a coder as a point of a curve."""
        (point,) = measure_points([Setting(l0, coder)], self._batches).points
        found = {name: point.measured[name].value for name in _OF_POINT}
        return CurvePoint(tokens, seconds, point.latents, **found)


def train_contestant(
    x: torch.Tensor,
    kind: SaeKind,
    seconds: float,
    width: int,
    settings: SaeBench,
    judge: Judge,
    say: Callable[[str], None],
    clock: Clock = time.perf_counter,
) -> tuple[Contestant, SaeCoder]:
    """Train an SAE for a given time at the best learning rate.

    It is evaluated during training and at its end; the trained one is returned too.

    Args:
        x: [n, d_model] activations to train on.
        kind: architecture.
        seconds: approximate training time, by `clock`.
        width: number of latents.
        settings: L0, batch size, learning rates, evaluations.
        judge: evaluates on held-out tokens.
        say: called with a progress message.
        clock: seconds of the training time.
    """
    rate = _tokens_per_second(x, kind, width, settings, clock)
    tried: dict[float, float] = {}
    if len(settings.lrs) > 1:
        for lr in settings.lrs:
            training = _settings(kind, rate * seconds * settings.sweep_share, lr, settings)
            found = train(x, training, width, settings.l0, {}, clock=clock)
            tried[lr] = judge.point(SaeCoder(found.sae), settings.l0, found.tokens, found.seconds).ce_loss_score
            say(f"{kind}: learning rate {lr:g}, {found.tokens:,} tokens, CE loss score {tried[lr]:.4f}")
    lr = max(settings.lrs, key=lambda each: tried.get(each, 0.0))  # with a single rate, that one
    training = _settings(kind, rate * seconds, lr, settings)
    curve: list[CurvePoint] = []

    def look(mark: Mark) -> None:
        curve.append(judge.point(SaeCoder(mark.sae), settings.l0, mark.tokens, mark.seconds))
        say(f"{kind}: {mark.tokens:,} tokens, {mark.seconds:.0f} s, CE loss score {curve[-1].ce_loss_score:.4f}")

    steps = [round(training.tokens * _FIRST_MARK ** (1 - at / (settings.marks - 1))) for at in range(settings.marks)]
    sae = train(x, training, width, settings.l0, {}, tuple(steps), look, clock=clock).sae
    return Contestant(kind, tuple(curve), lr, {f"{each:g}": score for each, score in tried.items()}), SaeCoder(sae)


def _settings(kind: SaeKind, tokens: float, lr: float, settings: SaeBench) -> SaeSettings:
    """Return the training settings of an SAE for about this number of tokens."""
    steps = max(_FEWEST_STEPS, round(tokens / settings.batch))
    return SaeSettings(kind=kind, tokens=steps * settings.batch, batch=settings.batch, lr=lr, seed=settings.seed)


def _tokens_per_second(x: torch.Tensor, kind: SaeKind, width: int, settings: SaeBench, clock: Clock) -> float:
    """Measure the training speed of an SAE, by some steps of another.

    The auxiliary loss for dead latents is not included.
    """
    if len(x) < settings.batch:
        raise UserError(f"{len(x):,} activations are fewer than a step of {settings.batch:,}: ask for more tokens")
    sae = new_sae(kind, x.shape[1], width, settings.l0, 1.0, {})
    scale = x.shape[1] ** 0.5 / float(x.norm(dim=1).mean())
    trainer = new_trainer(
        sae, scale, samples=10**9, batch=settings.batch, lr=settings.lrs[0], warm_up=1, decay=1, dead_after=10**6
    )

    def steps(n: int) -> None:
        for _ in range(n):
            trainer.step(x[: settings.batch])

    steps(_TIMED_STEPS // 2)
    start = clock()
    steps(_TIMED_STEPS)
    return _TIMED_STEPS * settings.batch / (clock() - start)


def first_reach(curve: Sequence[CurvePoint], score: float, l0: int) -> tuple[float, float, bool]:
    """Return the tokens and seconds at which a curve first reaches a score.

    Also returns whether it does; if not, the values are those of its end. The curve is interpolated linearly between
    two points that are sparse enough. If the first sufficiently sparse point already has the score, that point is
    taken.
    """
    before: CurvePoint | None = None
    for point in curve:
        sparse = point.l0 <= _AS_SPARSE * l0
        if sparse and point.ce_loss_score >= score:
            if before is None:
                return point.tokens, point.seconds, True
            share = (score - before.ce_loss_score) / (point.ce_loss_score - before.ce_loss_score)
            tokens = before.tokens + share * (point.tokens - before.tokens)
            return tokens, before.seconds + share * (point.seconds - before.seconds), True
        before = point if sparse else None
    return curve[-1].tokens, curve[-1].seconds, False
