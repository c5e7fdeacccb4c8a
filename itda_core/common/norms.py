"""Norms of a site's activations, and tokens whose norm is many times the median.

At a few tokens, often the first ones of a text, language models write activations that are many times as long as all
others and serve as attention sinks (Sun et al. 2024, "Massive Activations in Large Language Models"; Xiao et al. 2024,
"Efficient Streaming Language Models with Attention Sinks"). They become atoms and make up much of the variance, though
they say nothing of the text. This module does not import torch.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from itda_core.common.validate import Count, Finite

MASSIVE = 5.0
"""Multiple of the median norm above which an activation counts as massive."""
Norm = Annotated[Finite, Field(ge=0)]
"""Euclidean norm of an activation."""


@dataclass(frozen=True)
class NormSummary:
    """Norms of the activations of one site."""

    median: Norm
    """Median over all captured tokens."""
    largest: Norm
    """The largest one."""
    massive: Count
    """Number of tokens whose norm is more than MASSIVE times the median."""
    atoms: tuple[Count, ...]
    """The atoms whose source is one of these tokens."""
    left_out: Count = 0
    """Number of tokens that are left out, since their norm is over the dictionary's limit."""

    @classmethod
    def of(cls, norms: np.ndarray, of_atoms: np.ndarray, left_out: int = 0) -> "NormSummary":
        """Summarize norms.

        Args:
            norms: [n] norm of every captured token, at least one.
            of_atoms: [n_atoms] norm of each atom's source; NaN if unknown.
            left_out: number of tokens that are left out.
        """
        median = median_norm(norms)
        limit = MASSIVE * median or np.inf  # most activations may be zero
        atoms = np.flatnonzero(of_atoms > limit)
        return cls(median, float(norms.max()), int((norms > limit).sum()), tuple(atoms.tolist()), left_out)

    def note(self) -> str | None:
        """Return a one-line note on massive activations, or None if there are none."""
        if not self.massive or not self.median:
            return None
        tokens = "1 token has an activation" if self.massive == 1 else f"{self.massive:,} tokens have activations"
        parts = [
            f"{tokens} more than {MASSIVE:g} times as long as the median one (the longest "
            f"{self.largest / self.median:,.0f} times), as attention sinks have"
        ]
        if self.left_out:
            parts.append("they are left out" if self.left_out >= self.massive else f"{self.left_out:,} are left out")
        if self.left_out < self.massive:
            n = len(self.atoms)
            parts.append({0: "no atom is from them", 1: "1 atom is from them"}.get(n, f"{n:,} atoms are from them"))
        return "; ".join(parts)


def median_norm(norms: np.ndarray) -> float:
    """Return the median of norms [n], the lower of the two middle ones for an even number."""
    middle = (len(norms) - 1) // 2
    return float(np.partition(norms, middle)[middle])
