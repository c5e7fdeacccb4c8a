"""An SAE trained by SAELens' trainer on activations that lie in memory, its curve looked at on the way.

The choices, from SAELens' defaults unless said: Adam (0.9, 0.999), gradients clipped at 1; activations scaled to a mean
norm of √d_model; the learning rate rises over the first 5 % of the steps and falls to 0 over the last 20 %; latents
that did not fire for 5 % of the steps are dead and get the auxiliary loss of TopK. A standard SAE has no L0 of its
own: its L1 weight is steered while it trains, so that one run ends near the L0 wanted and none is spent on looking for
the weight.

The learning rate is ten times SAELens' default, which is for far longer runs. Of the demo's docs-a, layer 3, 1,024
latents at L0 20, 300 steps of 1,024: a TopK SAE stood at a relative error of 0.209, 0.175, 0.163, 0.158 with rates of
1, 2, 4, 8 thousandths on held-out tokens, and a standard one at 0.295 and 0.235 with 2 and 4 (L0 19.7 and 18.1).
"""

import time
from collections.abc import Callable, Iterator
from math import ceil, exp, log
from typing import Any, NamedTuple

import torch

from itda_core.common.errors import UserError
from itda_core.evaluation.sae.saelens import new_sae, new_trainer, trained
from itda_core.reports.sae import SaeSettings

_WARM_UP, _DECAY, _DEAD_AFTER = 0.05, 0.2, 0.05  # shares of the steps
_FIRST_L1 = 0.3  # with inputs of norm √d_model
_THERE = 0.5  # share of the steps after which a standard SAE is to have its L0
_HOLD, _FOLLOW, _FASTEST = 0.03, 0.3, 0.1  # log L1 a step: by log (L0 / wanted), by its change; and at most
_LEAST_L0 = 0.01


class Mark(NamedTuple):
    """An SAE on its way."""

    tokens: int
    """Activations seen so far, those seen again counted again."""
    seconds: float
    """Time that training took up to here, without what was done at earlier marks."""
    sae: Any
    """The SAE as it stands, for use on activations as they are."""


class TrainedSae(NamedTuple):
    """An SAE at the end of its training."""

    sae: Any
    """It, as SAELens has it."""
    tokens: int
    """Activations seen, those seen again counted again."""
    distinct: int
    """Different ones among them."""
    seconds: float
    """Time that training took, without what was done at marks."""


def train(
    x: torch.Tensor,
    settings: SaeSettings,
    width: int,
    k: int,
    metadata: dict[str, str],
    marks: tuple[int, ...] = (),
    look: Callable[[Mark], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
) -> TrainedSae:
    """Train an SAE. The same arguments give the same SAE on one machine.

    Args:
        x: [n, d_model] float32; shuffled anew for each pass over it, as the seed has it.
        settings: kind, tokens, batch, learning rate, seed.
        width: latents.
        k: latents that are to be active at a token: just so many of TopK, about so many on average of standard.
        metadata: what its configuration says of where it belongs.
        marks: numbers of tokens, rising, at which to look at it; the first step at or after each is taken.
        look: called there; the clock stands still meanwhile.
        advance: told of the tokens of each step.

    Raises:
        UserError: there are fewer activations than one step takes, or k is more than the width.
    """
    if len(x) < settings.batch:
        raise UserError(f"{len(x):,} activations are fewer than a step's {settings.batch:,}: lower --batch")
    if k > width:
        raise UserError(f"k is {k} and the width {width}: no more latents can be active than there are")
    torch.manual_seed(settings.seed)
    steps = steps_of(settings)
    seen = torch.zeros(len(x), dtype=torch.bool)
    sae = new_sae(settings.kind, x.shape[1], width, k, _FIRST_L1, metadata)  # the first one imports SAELens
    start = time.perf_counter()
    trainer = new_trainer(
        sae,
        x.shape[1] ** 0.5 / float(x.norm(dim=1).mean()),
        samples=steps * settings.batch,
        batch=settings.batch,
        lr=settings.lr,
        warm_up=max(1, round(_WARM_UP * steps)),
        decay=max(1, round(_DECAY * steps)),
        dead_after=max(1, round(_DEAD_AFTER * steps)),
    )
    steer = _Steering(trainer, k, steps) if settings.kind == "standard" else None
    waiting = list(marks)
    away = 0.0
    for _, rows in zip(range(steps), _batches(len(x), settings), strict=False):
        batch = x[rows]
        seen[rows] = True
        output = trainer.step(batch)
        trainer.n_training_steps += 1
        trainer.maybe_reset_sparsity()
        if steer is not None:
            steer.by(output.feature_acts)
        if waiting and trainer.n_training_samples >= waiting[0]:
            left = time.perf_counter()
            while waiting and trainer.n_training_samples >= waiting[0]:
                waiting.pop(0)
            look(Mark(trainer.n_training_samples, left - start - away, trained(trainer)))
            away += time.perf_counter() - left
        advance(len(batch))
    trainer.set_final_sae_metadata()
    spent = time.perf_counter() - start - away
    return TrainedSae(trained(trainer), trainer.n_training_samples, int(seen.sum()), spent)


def steps_of(settings: SaeSettings) -> int:
    """Steps that training takes: each of a batch, and so of a few more tokens than asked for."""
    return ceil(settings.tokens / settings.batch)


class _Steering:
    """Leads a standard SAE to the L0 wanted, by its L1 weight.

    L0 is to fall from what it is at the start, on a line in its logarithm, until it is there after a share of the
    steps: a weight that is too high for a while kills latents, which do not come back. The weight follows how far L0 is
    off, and how that changes.
    """

    def __init__(self, trainer: Any, wanted: int, steps: int) -> None:
        self._schedule, self._wanted = trainer.coefficient_schedulers["l1"], log(wanted)
        self._steps, self._step = max(1.0, _THERE * steps), 0
        self._start = self._before = 0.0

    @torch.no_grad()
    def by(self, acts: torch.Tensor) -> None:
        active = log(max(float((acts > 0).sum()) / len(acts), _LEAST_L0))
        self._start = active if self._step == 0 else self._start
        off = active - self._start - min(1.0, self._step / self._steps) * (self._wanted - self._start)
        change = _HOLD * max(-1.0, min(1.0, off)) + (_FOLLOW * (off - self._before) if self._step else 0.0)
        self._schedule.final_value *= exp(max(-_FASTEST, min(_FASTEST, change)))
        self._before, self._step = off, self._step + 1


def _batches(n: int, settings: SaeSettings) -> Iterator[torch.Tensor]:
    """[batch] int64 of n rows, shuffled anew for each pass, without end; what is left of a pass is left out."""
    generator = torch.Generator().manual_seed(settings.seed)
    while True:
        order = torch.randperm(n, generator=generator)
        for first in range(0, n - settings.batch + 1, settings.batch):
            yield order[first : first + settings.batch]
