"""How the energy of a site's activations, the sum of their squared norms, is spread: over their mean and dimensions.

Language models have dimensions that are large at every token (Sun et al. 2024, "Massive Activations in Large Language
Models"). Where those are most of every activation, one atom explains most of all of them, and a relative error of all
of it says little of what tells tokens apart. Nothing here imports torch.
"""

from typing import Any, NamedTuple

from itda_core.common.validate import share, whole

_MUCH = 0.5
"""A share of the energy that is told: of small models it is about 0.1, of some pretrained ones up to 0.94."""


class Spread(NamedTuple):
    """Where the energy of some activations is."""

    mean: float
    """Share of it in the mean vector, which all of them have in common."""
    dimension: int
    """The dimension that has most of it."""
    largest: float
    """Share of it in that dimension."""

    @classmethod
    def parse(cls, said: Any) -> "Spread":
        """Read what may come from a stranger's manifest. Raises KeyError, TypeError or ValueError."""
        return cls(share(said["mean"]), whole(said["dimension"]), share(said["largest"]))

    def note(self) -> str | None:
        """What a reader of relative errors has to know, in a line; None where there is nothing."""
        if self.mean >= _MUCH:
            where = f" ({100 * self.largest:.0f} % in dimension {self.dimension})" if self.largest >= _MUCH else ""
            return (
                f"{100 * self.mean:.0f} % of the energy of the activations is their mean vector{where}, so a relative "
                "error says little of what tells tokens apart: subtract the activations' mean before building, or "
                "lower the threshold"
            )
        if self.largest >= _MUCH:
            return (
                f"{100 * self.largest:.0f} % of the energy of the activations is in dimension {self.dimension}, so a "
                "relative error says little of the others: scale that dimension down before building, or lower the "
                "threshold"
            )
        return None
