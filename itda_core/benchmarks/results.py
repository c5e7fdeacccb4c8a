"""What the benches are asked for, and what they answer."""

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
