"""Additional measurements of `itda bench pursuit --full`.

They are a dictionary too wide for a complete Gram matrix, and encoding a million activations.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from itda_core.benchmarks.activations import Activations
from itda_core.benchmarks.pursuit.memory import encode_memory
from itda_core.benchmarks.pursuit.results import PursuitBench
from itda_core.benchmarks.pursuit.run import encode_speed
from itda_core.common.errors import UserError
from itda_core.common.settings import DictionarySettings
from itda_core.dictionary.dictionary import Dictionary

_GRAM_ENTRY = 2  # bytes


@dataclass(frozen=True)
class WideBench:
    """Settings of the measurements beyond the default run."""

    atoms: int = 100_000
    """Number of atoms of the wide dictionary."""
    rows: int = 2_048
    """Number of held-back rows that it encodes."""
    plain_rows: int = 64
    """Number of these rows that the plain algorithm encodes."""
    memory_atoms: int = 16_000
    """Number of atoms of the dictionary whose memory is measured."""
    memory_rows: int = 1_000_000
    """Number of rows that it encodes: the activations, repeated with a little noise."""


@dataclass(frozen=True)
class WideResult:
    """Results of encoding over the wide dictionary; ratios as in `SizeResult`."""

    atoms: int
    """Number of atoms."""
    atoms_made: int
    """Number of synthetic atoms: interpolations between two random activations, scaled to unit norm."""
    plain_rows_per_second: float
    """Throughput of the plain algorithm."""
    fast_rows_per_second: float
    """Throughput of `Dictionary.encode`, after preparation."""
    encode_ratio: float
    """Ratio of the two, per row."""
    prepare_seconds: float
    """Additional seconds of the first encoding."""


@dataclass(frozen=True)
class MemoryResult:
    """Peak memory of encoding many rows, in 10⁶ bytes.

    The rows themselves are not counted.
    """

    atoms: int
    """Number of atoms of the dictionary, all of which are activations unless there are too few."""
    rows: int
    """Number of activations encoded."""
    seconds: float
    """Seconds of encoding."""
    peak_mb: float
    """Growth of the process's peak memory."""
    dictionary_mb: float
    """Atoms and sources."""
    gram_mb: float
    """A Gram matrix at two bytes an entry."""
    codes_mb: float
    """The codes."""
    expected_mb: float
    """Sum of dictionary, Gram matrix and codes."""


@dataclass(frozen=True)
class FullReport:
    """Results that the full run adds to the default one."""

    wide: WideResult
    """Results for the wide dictionary."""
    memory: MemoryResult | None
    """None on a system that does not report a process's memory."""


def bench_full(data: Activations, settings: PursuitBench, full: WideBench, say: Callable[[str], None]) -> FullReport:
    """Run the parts that the default run leaves out.

    Args:
        data: activations; the last `settings.encode_rows` are encoded, the others are the atoms.
        settings: pursuit steps, repeats, and the number of rows held back.
        full: sizes.
        say: called with a progress message.

    Raises:
        UserError: no activations are left to create atoms from.
    """
    held_back, own = data.x[-settings.encode_rows :], data.x[: -settings.encode_rows]
    if len(own) < 2:
        raise UserError(f"{data.origin} has {len(data.x):,} activations: give more than {settings.encode_rows + 1:,}")
    say(f"{full.atoms:,} atoms: encoding")
    atoms, made = wide_atoms(own, full.atoms)
    dictionary = Dictionary(atoms, torch.zeros(len(atoms), 2, dtype=torch.int64), DictionarySettings(l0=settings.l0))
    speed = encode_speed(dictionary, held_back[: full.rows], held_back[: full.plain_rows], settings)
    wide = WideResult(len(atoms), made, **speed)
    say(f"{full.memory_rows:,} rows: the memory of encoding them")
    atoms, _ = wide_atoms(own, full.memory_atoms)
    taken = encode_memory(atoms, held_back, settings.l0, full.memory_rows)
    if taken is None:
        return FullReport(wide, None)
    gram_mb = len(atoms) ** 2 * _GRAM_ENTRY / 1e6
    memory = MemoryResult(
        atoms=len(atoms),
        rows=taken.rows,
        seconds=taken.seconds,
        peak_mb=taken.peak_mb,
        dictionary_mb=taken.dictionary_mb,
        gram_mb=gram_mb,
        codes_mb=taken.codes_mb,
        expected_mb=taken.dictionary_mb + gram_mb + taken.codes_mb,
    )
    return FullReport(wide, memory)


def wide_atoms(x: torch.Tensor, n: int) -> tuple[torch.Tensor, int]:
    """Return n unit-norm atoms [n, d] from activations x [m, d].

    The atoms are the first activations, and beyond m, random interpolations between two of them.

    Returns the atoms and the number of interpolations; deterministic.
    """
    made = max(0, n - len(x))
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(len(x), (2, made), generator=generator)
    share = torch.rand(made, 1, generator=generator)
    between = share * x[pairs[0]] + (1 - share) * x[pairs[1]]
    return torch.nn.functional.normalize(torch.cat([x[:n], between]), dim=1), made
