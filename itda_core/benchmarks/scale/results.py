"""Settings and results of `itda bench scale`."""

from dataclasses import asdict, dataclass, field
from typing import Any

from itda_core.benchmarks.machine import Machine


@dataclass(frozen=True)
class ScaleBench:
    """Settings of `itda bench scale`.

    The default run takes about three minutes on two cores; `--full` has more atoms.
    """

    models: dict[str, int] = field(default_factory=lambda: {"Llama-3.1 70B": 8_192, "Llama-3.1 405B": 16_384})
    """Activation dimension, by name of the model."""
    atoms: int = 4_000
    """Maximum number of atoms of the dictionaries."""
    l0: int = 40
    """Pursuit steps."""
    threshold: float = 0.12
    """Relative error above which an activation is admitted."""
    noise: float = 0.05
    """Share of the squared norm that is isotropic noise."""
    batch_rows: int = 1_024
    """Rows in a batch of the build."""
    encode_rows: int = 2_048
    """Number of rows held back from building, and encoded."""
    repeats: int = 3
    """Number of repetitions that the median time of encoding is over, or fewer for long calls."""
    tokens: tuple[int, ...] = (1_000_000, 10_000_000)
    """Sizes in tokens of the corpora whose cost is estimated."""
    megabits: float = 100.0
    """Assumed bandwidth of the connection to the server, in 10⁶ bits per second."""


FULL_SCALE = ScaleBench(atoms=20_000)
"""As many atoms as a corpus of a million tokens gives: 17,939 for layer 40 of Llama-3.1 70B (the paper)."""


@dataclass(frozen=True)
class ScaleResult:
    """Results for a dictionary at a model's activation dimension.

    Megabytes are 10⁶ bytes.
    """

    model: str
    """The model's name."""
    d_model: int
    """Activation dimension."""
    atoms: int
    """Number of atoms of the dictionary."""
    build_rows: int
    """Number of activations that it was built from."""
    build_seconds: float
    """Seconds of the build, by the sequential scan."""
    prepare_seconds: float
    """Seconds of computing the Gram matrix, once before encoding."""
    rows_per_second: float
    """Activations encoded per second after that."""
    relative_error: float
    """Mean over the encoded activations, which were held back."""
    dictionary_mb: float
    """Size of its atoms."""
    gram_mb: float
    """Size of its Gram matrix, two bytes an entry."""
    peak_mb: float | None
    """Peak memory of building and encoding; None on a system that does not report it."""


@dataclass(frozen=True)
class ScalePlan:
    """Estimated cost of one layer of a model over a corpus, from the measured rates.

    Gigabytes are 10⁹ bytes.
    """

    model: str
    """The model's name."""
    tokens: int
    """Number of tokens of the corpus."""
    token_bytes: int
    """Bytes transferred from the server per token."""
    shards: int
    """Number of files that they are stored in, one for each job, of complete windows."""
    transfer_gb: float
    """Size of the data transferred from the server and stored."""
    transfer_hours: float
    """Transfer time at the settings' bandwidth."""
    build_hours: float
    """Upper bound of the build time: beyond the measured build, every activation is assumed to cost as much as its
    encoding."""
    encode_hours: float
    """Time of encoding them for the index."""
    index_gb: float
    """Size of the index, before compression."""


@dataclass(frozen=True)
class ScaleReport:
    """Complete results of a run of `itda bench scale`, with the estimates."""

    rows: list[ScaleResult]
    """One per model."""
    plans: list[ScalePlan]
    """One per model and corpus."""
    machine: Machine
    """Measured performance of the machine."""
    settings: ScaleBench
    """Settings of the run."""
    origin: str
    """Origin of the activations."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values."""
        return asdict(self)
