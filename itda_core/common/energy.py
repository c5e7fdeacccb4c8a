"""Concentration of a site's activation energy in its mean and in dimensions.

The energy is the sum of the squared norms. Language models have dimensions that are large at every token (Sun et al.
2024, "Massive Activations in Large Language Models"). If these make up most of every activation, one atom explains most
of all activations, and a relative error that includes them reflects little of what distinguishes tokens. This module
does not import torch.
"""

from typing import NamedTuple

from itda_core.common.validate import Count, Share

_MUCH_MEAN = 0.25
"""Share of the mean from which a warning is issued: about 0.1 in small models, up to 0.94 in some pretrained ones."""
_MUCH = 0.5
"""Share of one dimension from which a warning is issued."""


class Spread(NamedTuple):
    """Concentration of the energy of a set of activations."""

    mean: Share
    """Share of the energy in the mean vector, which all activations have in common."""
    dimension: Count
    """Index of the dimension with the largest share."""
    largest: Share
    """Share of the energy in that dimension."""

    def note(self) -> str | None:
        """Return a one-line caveat about relative errors, or None if there is none."""
        if self.mean >= _MUCH_MEAN:
            where = f" ({100 * self.largest:.0f} % in dimension {self.dimension})" if self.largest >= _MUCH else ""
            return (
                f"{100 * self.mean:.0f} % of the energy of the activations is their mean vector{where}, so the "
                "relative error is lower than the share of the variance that is left: subtract the mean (--center "
                "mean; on the Build page, under More), or use the variance explained"
            )
        if self.largest >= _MUCH:
            return (
                f"{100 * self.largest:.0f} % of the energy of the activations is in dimension {self.dimension}, so a "
                "relative error hardly reflects the others: scale that dimension down before building, or lower the "
                "threshold"
            )
        return None

    def note_without_mean(self) -> str | None:
        """Return the caveat about activations whose mean was taken out, or None."""
        if self.largest < _MUCH:
            return None
        return (
            f"{100 * self.largest:.0f} % of the energy of an activation without the mean is in dimension "
            f"{self.dimension} on average, so a relative error hardly reflects the others: scale that dimension down "
            "before building, or lower the threshold"
        )
