"""Results of `itda bench pursuit`."""

from dataclasses import asdict, dataclass, field
from typing import Any

from itda_core.benchmarks.machine import Machine


@dataclass(frozen=True)
class PursuitBench:
    """What `itda bench pursuit` measures. It takes about five minutes on two cores, the plain algorithm half of it."""

    sizes: tuple[int, ...] = (1_000, 6_000, 16_000)
    """Atoms of the dictionaries."""
    l0: int = 40
    """Pursuit steps."""
    batch_rows: int = 2_048
    """Rows in a batch of a build."""
    plain_work: int = 160_000_000
    """Rows × atoms that a plain build may cost: larger dictionaries are built from fewer rows."""
    least_rows: float = 1.5
    """A build has at least this many rows per atom, whatever it costs."""
    tolerance: float = 0.05
    """How far a dictionary may be from the size asked for."""
    repeats: int = 5
    """Each time is the median of so many, or of fewer where they take long; the plain build runs once."""
    encode_rows: int = 4_096
    """Rows held back from building, for the fast encode."""
    plain_encode_rows: int = 1_024
    """As many of them as the plain encode gets."""
    sklearn_rows: int = 20
    """As many of them at most as scikit-learn's orthogonal pursuit gets, which stops after some seconds."""
    sequential_atoms: int = 6_000
    """The scans are compared at the dictionary nearest to this size."""
    identical_batches: tuple[int, ...] = (1, 7, 511, 2_048)
    """Batch sizes at which the sequential scan must give the same bytes."""
    identical_rows: int = 8_192
    """Rows of that comparison."""


@dataclass(frozen=True)
class SizeResult:
    """One dictionary size. Ratios are seconds of the plain algorithm over seconds of this project's."""

    atoms: int
    """Atoms of the dictionary, near to the size asked for."""
    threshold: float
    """Relative error that gave it, with the batch scan and the frequent start."""
    build_rows: int
    """Activations that it was built from."""
    plain_build_seconds: float
    """The plain build."""
    fast_build_seconds: float
    """The same build by `build_dictionary`."""
    build_ratio: float
    """Of the two."""
    iou: float
    """Intersection over union of the sources that the two dictionaries chose."""
    plain_rows_per_second: float
    """Encoding of held-back rows by the plain algorithm."""
    fast_rows_per_second: float
    """Encoding by `Dictionary.encode`, once prepared."""
    encode_ratio: float
    """Of the two, per row."""
    prepare_seconds: float
    """What the first encode of a dictionary takes beyond that: its Gram matrix."""
    peak_mb: float | None
    """Growth of a fresh process's peak memory through loading the dictionary and encoding, in 10⁶ bytes."""
    bandwidth_fraction: float
    """Gram rows read, at two bytes an entry, against the memory's measured rate; over 1 where caches hold them."""
    product_fraction: float
    """First correlations, 2·d_model·n_atoms a row, against the measured rate of float32 products."""
    sklearn_rows_per_second: float
    """scikit-learn's `orthogonal_mp_gram` from a ready Gram matrix: another method (orthogonal), for orientation."""


@dataclass(frozen=True)
class SequentialResult:
    """The sequential scan against the batch scan, both by `build_dictionary` from an empty start."""

    threshold: float
    """Relative error, the same for both."""
    rows: int
    """Activations that both were built from."""
    sequential_atoms: int
    """Fewer than the other's: of near-duplicates in a batch only the first is admitted."""
    batch_atoms: int
    """Atoms by the batch scan."""
    sequential_seconds: float
    """The sequential scan."""
    batch_seconds: float
    """The batch scan."""
    sequential_ratio: float
    """Seconds of the sequential scan over seconds of the batch scan."""
    sequential_identical: bool
    """Whether atoms and sources are the same bytes at each of `batches`."""
    batches: tuple[int, ...]
    """Rows in a batch."""
    identical_rows: int
    """Activations of that comparison."""


@dataclass(frozen=True)
class PursuitReport:
    """All that a run of `itda bench pursuit` measured."""

    rows: list[SizeResult]
    """One per size, in the order asked for."""
    sequential: SequentialResult
    """The two scans."""
    machine: Machine
    """What the machine can do."""
    activations: dict[str, Any]
    """Where the activations came from, how many there are, and their width."""
    settings: PursuitBench
    """What was asked for."""
    left_out: list[int] = field(default_factory=list)
    """Sizes that the activations do not reach."""

    def as_json(self) -> dict[str, Any]:
        """The report as values that JSON has."""
        return asdict(self)
