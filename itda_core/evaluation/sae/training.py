"""Train an SAE with SAELens' trainer on activations in memory.

The training curve can be observed at chosen token counts.

Settings are SAELens' defaults unless noted: Adam (0.9, 0.999), gradients clipped at 1; activations scaled to a mean
norm of √d_model; the learning rate rises over the first 5 % of the steps and falls to 0 over the last 20 %; latents
that did not fire for 5 % of the steps are dead and get the auxiliary loss of TopK. A standard SAE has no fixed L0:
its L1 weight is controlled during training, so that a single run ends near the target L0 and no runs are needed to
search for the weight.

The learning rate is ten times SAELens' default, which is for far longer runs. On the demo's docs-a, layer 3, 1,024
latents at L0 20, 300 steps of 1,024: a TopK SAE had a relative error of 0.209, 0.175, 0.163, 0.158 with rates of 1,
2, 4, 8 thousandths on held-out tokens, and a standard one 0.295 and 0.235 with 2 and 4 (L0 19.7 and 18.1).
"""

import time
from collections.abc import Callable, Iterator
from math import ceil, exp, log
from typing import Any, NamedTuple

import torch

from itda_core.common.errors import UserError
from itda_core.common.settings import SaeSettings
from itda_core.evaluation.sae.saelens import new_sae, new_trainer, trained

_WARM_UP, _DECAY, _DEAD_AFTER = 0.05, 0.2, 0.05  # shares of the steps
_FIRST_L1 = 0.3  # with inputs of norm √d_model
_THERE = 0.5  # share of the steps after which a standard SAE has to reach its L0
_HOLD, _FOLLOW, _FASTEST = 0.03, 0.3, 0.1  # log L1 per step: gains on log (L0 / target), on its change; limit
_LEAST_L0 = 0.01


class Mark(NamedTuple):
    """An SAE during training."""

    tokens: int
    """Activations seen so far, repetitions included."""
    seconds: float
    """Training time in seconds so far, without the time spent at earlier marks."""
    sae: Any
    """The SAE in its current state, for unscaled activations."""


class TrainedSae(NamedTuple):
    """An SAE at the end of its training."""

    sae: Any
    """The SAE, as a SAELens object."""
    tokens: int
    """Activations seen, repetitions included."""
    distinct: int
    """Number of distinct activations among them."""
    seconds: float
    """Training time in seconds, without the time spent at marks."""


def train(
    x: torch.Tensor,
    settings: SaeSettings,
    width: int,
    k: int,
    metadata: dict[str, str],
    marks: tuple[int, ...] = (),
    look: Callable[[Mark], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainedSae:
    """Train an SAE.

    Deterministic for fixed arguments on one machine.

    Args:
        x: [n, d_model] float32; shuffled again for each pass over it, according to the seed.
        settings: kind, tokens, batch, learning rate, seed.
        width: number of latents.
        k: active latents per token: exactly for TopK, approximately on average for standard.
        metadata: model and hook names for its configuration.
        marks: numbers of tokens, ascending, at which `look` is called, after the first step that reaches each.
        look: called at each mark; the clock is paused meanwhile.
        advance: called with the number of tokens of each step.
        clock: seconds of the training time.

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
    sae = new_sae(settings.kind, x.shape[1], width, k, _FIRST_L1, metadata)  # the first call imports SAELens
    start = clock()
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
            left = clock()
            while waiting and trainer.n_training_samples >= waiting[0]:
                waiting.pop(0)
            look(Mark(trainer.n_training_samples, left - start - away, trained(trainer)))
            away += clock() - left
        advance(len(batch))
    trainer.set_final_sae_metadata()
    spent = clock() - start - away
    return TrainedSae(trained(trainer), trainer.n_training_samples, int(seen.sum()), spent)


def steps_of(settings: SaeSettings) -> int:
    """Return the number of training steps.

    Each step takes a complete batch, so slightly more tokens than requested may be used.
    """
    return ceil(settings.tokens / settings.batch)


class _Steering:
    """Controller that brings a standard SAE to the target L0 by its L1 weight.

    The target for L0 falls from the initial value, linearly in its logarithm, and reaches the final value after a
    share of the steps: a weight that is too high for a while kills latents, which do not recover. The weight follows
    the deviation of L0, and the change of the deviation.
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
    """Yield the rows of batches from n rows, shuffled again for each pass, endlessly.

    Int64, shape [batch]; an incomplete last batch of a pass is left out.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    while True:
        order = torch.randperm(n, generator=generator)
        for first in range(0, n - settings.batch + 1, settings.batch):
            yield order[first : first + settings.batch]
