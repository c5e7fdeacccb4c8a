"""Settings and results of `itda bench capture`."""

from dataclasses import asdict, dataclass
from typing import Any

from itda_core.benchmarks.machine import Machine


@dataclass(frozen=True)
class CaptureBench:
    """Settings of `itda bench capture`.

    The default run takes about two minutes on two cores.
    """

    model: str = "docs-a"
    """A model of the demo."""
    batch_windows: int = 16
    """Windows in a forward pass, as in a build."""
    batches: int = 40
    """Number of batches that all methods capture in turn; a time is the median over them."""
    warm_up: int = 3
    """Number of batches before these, which are not timed."""
    early_layers: tuple[int, ...] = (0, 1)
    """Layers of the second run, after which nnsight stops."""
    memory_batches: int = 400
    """Number of batches over which the process's memory is monitored."""
    memory_windows: int = 4
    """Windows in each of these batches: fewer, since a leak grows with the number of passes and not with their
    size."""
    memory_from: int = 50
    """Batch number, counted from 1, after which memory should no longer grow."""


@dataclass(frozen=True)
class CaptureResult:
    """Results for one set of layers.

    The layers are captured through nnsight and by plain forward hooks on the same batches.
    """

    layers: tuple[int, ...]
    """Blocks whose outputs were captured."""
    batches: int
    """Number of batches timed."""
    tokens: int
    """Number of tokens captured from them."""
    capture_ms: float
    """`Capture`, which stops after the deepest layer: median milliseconds per batch."""
    hooks_ms: float
    """Forward hooks on the plain model, which runs to its end: median milliseconds per batch."""
    stopped_hooks_ms: float
    """Forward hooks, the deepest of which ends the pass by an exception: median milliseconds per batch."""
    ratio: float
    """Time of `Capture` over time of hooks."""
    stopped_ratio: float
    """Time of `Capture` over time of hooks that stop."""
    tokens_per_second: float
    """Tokens per second captured by `Capture`."""
    largest_difference: float
    """Largest absolute difference between the activations of any two methods."""


@dataclass(frozen=True)
class CaptureMemory:
    """Resident memory of the process while all layers are captured.

    Sizes are in 10⁶ bytes.
    """

    batches: int
    """Number of batches captured."""
    first_mb: float
    """Memory after the batch from which it should no longer grow."""
    last_mb: float
    """Memory after the last batch."""
    highest_mb: float
    """Maximum between these two batches."""
    slope_kb: float
    """Growth per batch between these two batches, by a least-squares line, in 10³ bytes."""


@dataclass(frozen=True)
class CaptureReport:
    """Complete results of a run of `itda bench capture`."""

    rows: list[CaptureResult]
    """Results for all layers, then for the early ones."""
    memory: CaptureMemory | None
    """None on a system that does not report a process's memory."""
    machine: Machine
    """Measured performance of the machine."""
    settings: CaptureBench
    """Settings of the run."""
    corpus: str
    """Id of the corpus."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values."""
        return asdict(self)
