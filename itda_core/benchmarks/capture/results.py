"""Settings and results of `itda bench capture`."""

from dataclasses import asdict, dataclass
from typing import Any

from itda_core.benchmarks.machine import Machine
from itda_core.benchmarks.models import PRETRAINED
from itda_core.common.settings import Dtype


@dataclass(frozen=True)
class CaptureBench:
    """Settings of `itda bench capture`.

    The default run takes about two minutes on two cores.
    """

    model: str = "docs-a"
    """A model of the demo, or the pretrained one."""
    dtypes: tuple[Dtype, ...] = ("float32",)
    """Number types that it computes in, float32 first."""
    batch_windows: int = 16
    """Windows in a forward pass, as in a build."""
    batches: int = 40
    """Number of batches that all methods capture in turn; a time is the median over them."""
    warm_up: int = 3
    """Number of batches before these, which are not timed."""
    layers: tuple[tuple[int, ...], ...] = ((0, 1, 2, 3, 4, 5), (0, 1))
    """Layers of each run, after the last of which nnsight stops."""
    memory_batches: int = 400
    """Number of batches over which the process's memory is monitored; not at all if 0."""
    memory_windows: int = 4
    """Windows in each of these batches: fewer, since a leak grows with the number of passes and not with their
    size."""
    memory_from: int = 50
    """Batch number, counted from 1, after which memory should no longer grow."""


FULL_CAPTURE = CaptureBench(
    model=PRETRAINED,
    dtypes=("float32", "bfloat16"),
    batches=6,
    warm_up=1,
    layers=((10,), (20,)),
    memory_batches=0,
)
"""Settings of `itda bench capture --full`: a pretrained model, in two number types."""


@dataclass(frozen=True)
class CaptureResult:
    """Results for one set of layers.

    The layers are captured through nnsight and by plain forward hooks on the same batches.
    """

    dtype: Dtype
    """Number type that the model computed in."""
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
    peak_share: float
    """Throughput of the model's products, two operations for each weight up to the deepest layer and token, over that
    of the machine in float32."""
    largest_difference: float
    """Largest absolute difference between the activations of any two methods."""
    deviation: float
    """Mean distance of the last batch's activations from those of float32, relative to their norm."""


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
    """Results by number type, then by layers."""
    memory: CaptureMemory | None
    """None if not measured, or on a system that does not report a process's memory."""
    machine: Machine
    """Measured performance of the machine."""
    settings: CaptureBench
    """Settings of the run."""
    corpus: str
    """Id of the corpus."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values."""
        return asdict(self)
