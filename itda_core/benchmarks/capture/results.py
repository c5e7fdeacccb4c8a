"""Results of `itda bench capture`."""

from dataclasses import asdict, dataclass
from typing import Any

from itda_core.benchmarks.machine import Machine


@dataclass(frozen=True)
class CaptureBench:
    """What `itda bench capture` measures. The default takes about two minutes on two cores."""

    model: str = "docs-a"
    """A model of the demo."""
    batch_windows: int = 16
    """Windows in a forward pass, as a build has them."""
    batches: int = 40
    """Batches that all contestants capture by turns; a time is the median over them."""
    warm_up: int = 3
    """Batches before those, which are not timed."""
    early_layers: tuple[int, ...] = (0, 1)
    """The layers of the second run, after which nnsight stops."""
    memory_batches: int = 400
    """Batches over which the process's memory is watched."""
    memory_windows: int = 4
    """Windows in each of them: fewer, since what leaks, leaks with the pass and not with its size."""
    memory_from: int = 50
    """The batch, counted from 1, after which it should grow no more."""


@dataclass(frozen=True)
class CaptureResult:
    """One set of layers, captured through nnsight and by plain forward hooks on the same batches."""

    layers: tuple[int, ...]
    """Blocks whose outputs were wanted."""
    batches: int
    """Batches timed."""
    tokens: int
    """Tokens captured from them."""
    capture_ms: float
    """`Capture`, which stops after the deepest layer: median milliseconds a batch."""
    hooks_ms: float
    """Forward hooks on the plain model, which runs to its end."""
    stopped_hooks_ms: float
    """Forward hooks of which the deepest ends the pass by an exception."""
    ratio: float
    """`Capture` over hooks."""
    stopped_ratio: float
    """`Capture` over hooks that stop."""
    tokens_per_second: float
    """Captured tokens a second of `Capture`."""
    largest_difference: float
    """Largest absolute difference between any two contestants' activations."""


@dataclass(frozen=True)
class CaptureMemory:
    """The process's resident size while all layers are captured, in 10⁶ bytes."""

    batches: int
    """Batches captured."""
    first_mb: float
    """After the batch from which it should grow no more."""
    last_mb: float
    """After the last batch."""
    highest_mb: float
    """The highest between the two."""
    slope_kb: float
    """Growth a batch between the two, a line of least squares, in 10³ bytes."""


@dataclass(frozen=True)
class CaptureReport:
    """All that a run of `itda bench capture` measured."""

    rows: list[CaptureResult]
    """All layers, then the early ones."""
    memory: CaptureMemory | None
    """None on a system that does not say how much memory a process takes."""
    machine: Machine
    """What the machine can do."""
    settings: CaptureBench
    """What was asked for."""
    corpus: str
    """Id of the corpus."""

    def as_json(self) -> dict[str, Any]:
        """The report as values that JSON has."""
        return asdict(self)
