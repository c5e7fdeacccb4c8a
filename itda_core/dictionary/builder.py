"""Build dictionaries incrementally and resumably, by Algorithm 1 or other recipes."""

from typing import Any

import numpy as np
import torch

from itda_core.common.arguments import sources_array
from itda_core.common.errors import UserError
from itda_core.common.settings import DictionarySettings
from itda_core.common.types import GrowthPoint
from itda_core.dictionary.admission import AdmissionRule
from itda_core.dictionary.dictionary import Dictionary
from itda_core.dictionary.energy_sums import EnergySums
from itda_core.dictionary.mean import centered, checked_mean
from itda_core.dictionary.reservoir import Reservoir
from itda_core.dictionary.selection import Admitted, Sample, choose
from itda_core.pursuit import protocol
from itda_core.pursuit.tensors import activations_tensor


class DictionaryBuilder:
    """Incremental builder of one dictionary: `add` each batch, then `finish`.

    A recipe other than the published one keeps a `Reservoir` beside the atoms that the published one admits, and
    selects in `finish`. Its memory beyond that of the published build is that of the reservoir and, during the
    selection, that of a dictionary of its candidates.
    """

    def __init__(self, settings: DictionarySettings, mean: Any = None) -> None:
        """Begin a dictionary.

        Args:
            settings: its settings.
            mean: [d_model], the mean of all activations to come; with settings that centre, and only there.

        Raises ValueError for a start that depends on the batches with a scan that must not, and for a mean that is
        missing, not asked for, or not a finite vector.
        """
        settings.check_scan()
        self.settings = settings
        self.mean = checked_mean(mean, settings)
        self.history: list[GrowthPoint] = []
        self.energy = EnergySums()
        self._rest = EnergySums()  # of activations without the mean, each of norm 1, as relative errors weigh them
        self._grown: protocol.PursuitBackend | None = None
        self._sources: list[np.ndarray] = []
        self._errors: list[np.ndarray] = []
        self._numbers: list[np.ndarray] = []  # numbers of the admitted rows in the stream
        self._reservoir = None if settings.recipe == "published" else Reservoir()
        # The sequential scan judges blocks of a fixed size independent of the batches, so rows wait here for a full
        # block.
        self._waiting: list[tuple[torch.Tensor, np.ndarray]] = []
        self._n_waiting = 0
        self._open: list[_Batch] = []
        self._rows = 0

    @property
    def n_atoms(self) -> int:
        """Number of atoms so far."""
        return 0 if self._grown is None else self._grown.n

    @property
    def last_admitted(self) -> int:
        """Number of the latest row that became an atom, from 0; −1 before there is one."""
        return max((int(numbers.max()) for numbers in self._numbers if len(numbers)), default=-1)

    def note(self) -> str | None:
        """Return a one-line caveat about the relative errors of the activations so far, or None if there is none."""
        if self.mean is None:
            return self.energy.note()
        return None if self._rest.spread is None else self._rest.spread.note_without_mean()

    def add(self, activations: Any, sources: Any) -> None:
        """Add one batch: activations [n, d_model], sources [n, 2] (document, position).

        The dictionary is built on the first batch's device. Raises ValueError for a wrong shape, activations that are
        not real and finite, or sources that are not integers of at least 0; the builder is then unchanged.
        """
        width = None if self.mean is None else len(self.mean)
        if self._grown is not None:
            width = self._grown.atoms.shape[1]
        x = protocol.finite(activations_tensor(activations, width))
        labels = sources_array(sources, "sources", len(x))
        if (labels < 0).any():
            raise ValueError(f"sources are 0 or more, document and position: got {labels.min()}")
        if len(x) == 0:
            return
        self.energy.add(x)
        if self.mean is not None:
            x = centered(x, self.mean)
            self._rest.add(torch.nn.functional.normalize(x))
        grown = self._begin(x.shape[1], x.device) if self._grown is None else self._grown
        if self._reservoir is not None:
            self._reservoir.add(x, labels, self._rows)
        self._rows += len(x)
        if self.settings.scan == "batch":
            self._add_batch(x, labels)
            return
        self._open.append(_Batch(self._rows, len(x), len(x)))
        self._waiting.append((x.clone(), labels.copy()))  # the caller may reuse its buffers
        self._n_waiting += len(x)
        if self._n_waiting >= grown.in_order:
            self._drain(grown, last=False)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the builder's state as CPU tensors, for `resume`."""
        grown = self._grown
        waiting = [x for x, _ in self._waiting]
        atoms = torch.zeros(0, 0) if grown is None else grown.atoms
        sample = {} if self._reservoir is None else self._reservoir.state() | {"numbers": self._all_numbers()}
        return {
            "rows": torch.tensor(self._rows),
            "atoms": atoms.cpu().clone(),
            "sources": torch.from_numpy(self._all_sources()),
            "errors": torch.from_numpy(self._all_errors()),
            "waiting": torch.cat(waiting).cpu() if waiting else torch.zeros(0, atoms.shape[1]),
            "waiting_sources": torch.from_numpy(
                np.concatenate([np.zeros((0, 2), np.int64), *(labels for _, labels in self._waiting)])
            ),
            "history": torch.tensor([list(growth) for growth in self.history], dtype=torch.float64).reshape(-1, 3),
            **self.energy.state(),
            **(self._rest.state("rest") if self.mean is not None else {}),
            "open": torch.tensor([batch.state() for batch in self._open], dtype=torch.float64).reshape(-1, 4),
            **sample,
        }

    @classmethod
    def resume(
        cls,
        settings: DictionarySettings,
        state: dict[str, torch.Tensor],
        device: torch.device,
        mean: Any = None,
    ) -> "DictionaryBuilder":
        """Create a builder that continues from a `state`, to the same dictionary.

        Args:
            settings: those of the original builder.
            state: its state.
            device: the device of the activations to come.
            mean: that of the original builder.
        """
        builder = cls(settings, mean)
        builder._rows = int(state["rows"])
        if builder._rows == 0:
            return builder
        builder.energy = EnergySums.resume(state)
        if builder.mean is not None:
            builder._rest = EnergySums.resume(state, "rest")
        builder._begin(state["atoms"].shape[1], device).append(state["atoms"].to(device))
        builder._sources, builder._errors = [state["sources"].numpy()], [state["errors"].numpy()]
        if builder._reservoir is not None:
            builder._reservoir, builder._numbers = Reservoir.resume(state), [state["numbers"].numpy()]
        builder._n_waiting = len(state["waiting"])
        if builder._n_waiting:
            builder._waiting = [(state["waiting"].to(device), state["waiting_sources"].numpy())]
        builder.history = [
            GrowthPoint(int(rows), int(atoms), error) for rows, atoms, error in state["history"].tolist()
        ]
        builder._open = [
            _Batch(int(rows), int(size), int(missing), error) for rows, size, missing, error in state["open"].tolist()
        ]
        return builder

    def finish(self) -> Dictionary:
        """Return the dictionary.

        Raises UserError if no activation was added, or if a recipe cannot provide enough atoms.
        """
        if self._grown is None or self._rows == 0:
            raise UserError("no activations came: nothing to build a dictionary from")
        self._drain(self._grown, last=True)
        atoms, sources, errors = self._grown.atoms.cpu().clone(), self._all_sources(), self._all_errors()
        if self._reservoir is not None:
            admitted = Admitted(self._grown.atoms, sources, errors, self._all_numbers().numpy())
            atoms, sources, errors = choose(self.settings, admitted, Sample(*self._reservoir.sample()))
        errors = torch.from_numpy(errors)
        return Dictionary(atoms, torch.from_numpy(sources), self.settings, errors, self.history, self.mean)

    def _begin(self, d_model: int, device: torch.device) -> protocol.PursuitBackend:
        self._grown = protocol.pursuit_backend(d_model, device, self.settings.method)
        self._judge = AdmissionRule(self.settings, self._grown)
        return self._grown

    def _all_sources(self) -> np.ndarray:
        return np.concatenate([np.zeros((0, 2), np.int64), *self._sources])

    def _all_errors(self) -> np.ndarray:
        return np.concatenate([np.zeros(0), *self._errors])

    def _all_numbers(self) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *self._numbers]))

    def _add_batch(self, x: torch.Tensor, labels: np.ndarray) -> None:
        if self.settings.init == "frequent":
            taken = self._judge.start_frequent(x)
            self._sources.append(labels[taken])
            self._errors.append(np.full(len(taken), np.nan))
            self._numbers.append(self._rows - len(x) + taken)
        errors, admitted = self._judge.judge_batch(x)
        self._sources.append(labels[admitted])
        self._errors.append(errors[admitted])
        self._numbers.append(self._rows - len(x) + admitted)
        self.history.append(GrowthPoint(self._rows, self.n_atoms, float(errors.mean())))

    def _drain(self, grown: protocol.PursuitBackend, last: bool) -> None:
        if not self._waiting:
            return
        x = torch.cat([batch for batch, _ in self._waiting])
        labels = np.concatenate([batch for _, batch in self._waiting])
        full = len(x) if last else len(x) // grown.in_order * grown.in_order
        for start in range(0, full, grown.in_order):
            end = min(start + grown.in_order, full)
            before = self.n_atoms
            errors, admitted = self._judge.judge_sequential(x[start:end])
            self._sources.append(labels[start + admitted])
            self._errors.append(errors[admitted])
            self._numbers.append(self._rows - len(x) + start + admitted)
            self._close_batches(errors, admitted, before)
        self._waiting = [(x[full:], labels[full:])] if full < len(x) else []
        self._n_waiting = len(x) - full

    def _close_batches(self, errors: np.ndarray, admitted: np.ndarray, before: int) -> None:
        """Attribute one block's errors and admissions to the batches of its rows."""
        at = 0
        while self._open and at < len(errors):
            batch = self._open[0]
            end = min(len(errors), at + batch.missing)
            batch.error += float(errors[at:end].sum())
            batch.missing -= end - at
            at = end
            if batch.missing == 0:
                atoms = before + int((admitted < at).sum())
                self.history.append(GrowthPoint(batch.rows, atoms, batch.error / batch.size))
                self._open.pop(0)


class _Batch:
    """A batch whose rows are not all judged yet."""

    def __init__(self, rows: int, size: int, missing: int, error: float = 0.0) -> None:
        self.rows, self.size, self.missing, self.error = rows, size, missing, error

    def state(self) -> tuple[int, int, int, float]:
        """Return the constructor's arguments."""
        return self.rows, self.size, self.missing, self.error
