"""Settings and results of `itda bench pursuit`."""

from dataclasses import asdict, dataclass, field
from typing import Any

from itda_core.benchmarks.machine import Machine


@dataclass(frozen=True)
class PursuitBench:
    """Settings of `itda bench pursuit`.

    A run takes about five minutes on two cores, half of it for the plain algorithm.
    """

    sizes: tuple[int, ...] = (1_000, 6_000, 16_000)
    """Numbers of atoms of the dictionaries."""
    l0: int = 40
    """Pursuit steps."""
    batch_rows: int = 2_048
    """Rows in a batch of a build."""
    plain_work: int = 160_000_000
    """Rows × atoms that a plain build may cost: larger dictionaries are built from fewer rows."""
    least_rows: float = 1.5
    """Minimum number of rows per atom of a build, whatever the cost."""
    tolerance: float = 0.05
    """Tolerance for the size of a dictionary, relative to the requested size."""
    repeats: int = 5
    """Number of repetitions that a median time is over, or fewer for long calls; the plain build runs once."""
    encode_rows: int = 4_096
    """Rows held back from building, for the fast encoding."""
    plain_encode_rows: int = 1_024
    """Number of these rows for the plain encoding."""
    sklearn_rows: int = 20
    """Maximum number of these rows for scikit-learn's orthogonal pursuit, which stops after some seconds."""
    sequential_atoms: int = 6_000
    """The scans are compared on the dictionary nearest to this size."""
    identical_batches: tuple[int, ...] = (1, 7, 511, 2_048)
    """Batch sizes at which the sequential scan must give identical bytes."""
    identical_rows: int = 8_192
    """Number of rows of that comparison."""


@dataclass(frozen=True)
class SizeResult:
    """Results for one dictionary size.

    Ratios are seconds of the plain algorithm over seconds of this project's.
    """

    atoms: int
    """Number of atoms of the dictionary, near the requested size."""
    threshold: float
    """Relative error threshold for this size, with the batch scan and the frequent start."""
    build_rows: int
    """Number of activations that it was built from."""
    plain_build_seconds: float
    """Seconds of the plain build."""
    fast_build_seconds: float
    """Seconds of the same build by `build_dictionary`."""
    build_ratio: float
    """Ratio of the two."""
    iou: float
    """Intersection over union of the sources that the two dictionaries chose."""
    plain_rows_per_second: float
    """Throughput of encoding held-back rows by the plain algorithm."""
    fast_rows_per_second: float
    """Throughput of `Dictionary.encode`, after preparation."""
    encode_ratio: float
    """Ratio of the two, per row."""
    prepare_seconds: float
    """Additional seconds of a dictionary's first encoding, for its Gram matrix."""
    peak_mb: float | None
    """Growth of a fresh process's peak memory through loading the dictionary and encoding, in 10⁶ bytes."""
    bandwidth_fraction: float
    """Rate of reading Gram rows, at two bytes an entry, relative to the measured memory bandwidth; over 1 if they are
    cached."""
    product_fraction: float
    """Rate of the first correlations, 2·d_model·n_atoms per row, relative to the measured rate of float32 products."""
    sklearn_rows_per_second: float
    """scikit-learn's `orthogonal_mp_gram` with a precomputed Gram matrix: another method (orthogonal), for
    reference."""


@dataclass(frozen=True)
class SequentialResult:
    """Comparison of the sequential scan with the batch scan.

    Both are by `build_dictionary` from an empty start.
    """

    threshold: float
    """Relative error threshold, the same for both."""
    rows: int
    """Number of activations that both were built from."""
    sequential_atoms: int
    """Number of atoms by the sequential scan; fewer, since of near-duplicates in a batch only the first is
    admitted."""
    batch_atoms: int
    """Number of atoms by the batch scan."""
    sequential_seconds: float
    """Seconds of the sequential scan."""
    batch_seconds: float
    """Seconds of the batch scan."""
    sequential_ratio: float
    """Seconds of the sequential scan over seconds of the batch scan."""
    sequential_identical: bool
    """Whether atoms and sources are identical bytes at each of `batches`."""
    batches: tuple[int, ...]
    """Batch sizes in rows."""
    identical_rows: int
    """Number of activations of that comparison."""


@dataclass(frozen=True)
class PursuitReport:
    """Complete results of a run of `itda bench pursuit`."""

    rows: list[SizeResult]
    """One per size, in the requested order."""
    sequential: SequentialResult
    """Comparison of the two scans."""
    machine: Machine
    """Measured performance of the machine."""
    activations: dict[str, Any]
    """Origin, number and dimension of the activations."""
    settings: PursuitBench
    """Settings of the run."""
    left_out: list[int] = field(default_factory=list)
    """Sizes for which there are too few activations."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values."""
        return asdict(self)
