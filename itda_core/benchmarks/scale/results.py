"""Results of `itda bench scale`."""

from dataclasses import asdict, dataclass, field
from typing import Any

from itda_core.benchmarks.machine import Machine


@dataclass(frozen=True)
class ScaleBench:
    """What `itda bench scale` measures. The default takes about three minutes on two cores; `--full` has more atoms."""

    models: dict[str, int] = field(default_factory=lambda: {"Llama-3.1 70B": 8_192, "Llama-3.1 405B": 16_384})
    """Models by name, each with the width of its activations."""
    atoms: int = 4_000
    """Atoms of the dictionaries, at most."""
    l0: int = 40
    """Pursuit steps."""
    threshold: float = 0.12
    """Relative error above which an activation is admitted."""
    noise: float = 0.05
    """Share of the squared norm that is noise in all directions."""
    batch_rows: int = 1_024
    """Rows in a batch of the build."""
    encode_rows: int = 2_048
    """Rows held back from building, and encoded."""
    repeats: int = 3
    """The time of an encode is the median of so many, or of fewer where they take long."""
    tokens: tuple[int, ...] = (1_000_000, 10_000_000)
    """Corpora whose cost is told."""
    megabits: float = 100.0
    """10⁶ bits a second that the line to the server is taken to carry."""


FULL_SCALE = ScaleBench(atoms=20_000)
"""As many atoms as a corpus of a million tokens gives: 17,939 for layer 40 of Llama-3.1 70B (the paper)."""


@dataclass(frozen=True)
class ScaleResult:
    """A dictionary at a model's width. Megabytes are 10⁶ bytes."""

    model: str
    """The model's name."""
    d_model: int
    """Width of its activations."""
    atoms: int
    """Atoms of the dictionary."""
    build_rows: int
    """Activations that it was built from."""
    build_seconds: float
    """The build, by the sequential scan."""
    prepare_seconds: float
    """Filling the Gram matrix, once for all that is encoded."""
    rows_per_second: float
    """Activations encoded a second after that."""
    relative_error: float
    """Mean over the activations encoded, which were held back."""
    dictionary_mb: float
    """Its atoms."""
    gram_mb: float
    """Its Gram matrix, two bytes an entry."""
    peak_mb: float | None
    """What building and encoding took of memory at most; None on a system that does not say."""


@dataclass(frozen=True)
class ScalePlan:
    """What one layer of a model takes over a corpus, from the measured rates. Gigabytes are 10⁹ bytes."""

    model: str
    """The model's name."""
    tokens: int
    """Tokens of the corpus."""
    token_bytes: int
    """Bytes that come from the server for a token."""
    shards: int
    """Files that they are kept in, one for each job, of whole windows."""
    transfer_gb: float
    """What comes from the server, and is kept."""
    transfer_hours: float
    """At the settings' rate."""
    build_hours: float
    """At most: after the measured build every activation is taken to cost as much as it does to encode."""
    encode_hours: float
    """Encoding them for the index."""
    index_gb: float
    """The index, before what it compresses."""


@dataclass(frozen=True)
class ScaleReport:
    """All that a run of `itda bench scale` measured, and what follows."""

    rows: list[ScaleResult]
    """One per model."""
    plans: list[ScalePlan]
    """One per model and corpus."""
    machine: Machine
    """What the machine can do."""
    settings: ScaleBench
    """What was asked for."""
    origin: str
    """Where the activations came from."""

    def as_json(self) -> dict[str, Any]:
        """The report as values that JSON has."""
        return asdict(self)
