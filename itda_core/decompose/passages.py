"""Token-level decomposition of a passage, and alignment of two of them.

This module does not import torch.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MOST_CHARACTERS = 100_000
"""Maximum number of characters of a text, about twenty pages; a longer text is not decomposed."""


class PassageToken(NamedTuple):
    """One token of a passage."""

    token_id: int
    """Token id."""
    start: int
    """Start offset of its characters in the text, as the tokenizer reports it."""
    stop: int
    """End offset of its characters."""
    shown_from: int
    """Start offset for display: the end of the previous token, so that the displayed tokens concatenate to the
    text."""
    row: int | None
    """Index among the captured tokens; None for a token that capture leaves out, the first of a window."""


class Terms(NamedTuple):
    """Sparse code of one token, as arrays of equal length.

    The terms are in descending order of absolute coefficient.
    """

    atom: np.ndarray
    """[n] int64."""
    coefficient: np.ndarray
    """[n] float32, signed, in the model's own units, since atoms have unit norm."""
    left: np.ndarray
    """[n] float64: the reconstruction error |x − x̂|² / |x|² with the mean and the terms up to this one. It may rise,
    since atoms are not orthogonal: a later term may correct what an earlier one overshoots."""


@dataclass(frozen=True)
class Decomposition:
    """A text with the decomposition x = mean + Σ coefficient · atom + residual of its tokens."""

    text: str
    """The complete text; characters after the last token were not read."""
    tokens: tuple[PassageToken, ...]
    """The tokens that were read, in order."""
    windows: int
    """Number of windows that the text was read in; the model's context is reset at each."""
    bounds: np.ndarray
    """[captured + 1] int64: offsets into `terms`, delimiting the terms of each captured token."""
    terms: Terms
    """The terms of all captured tokens."""
    norm: np.ndarray
    """[captured] float32 norm |x| of the activation."""
    error: np.ndarray
    """[captured] float32 reconstruction error |x − x̂|² / |x|²: the relative energy of the residual."""
    mean: float | None
    """Norm of the dictionary's mean, the same term for every token; None for a dictionary without centring."""
    left_by_mean: np.ndarray
    """[captured] float32: the reconstruction error by the mean alone; 1 without centring, or 0 for a zero vector."""

    @property
    def read(self) -> int:
        """Number of characters of the text that its tokens cover."""
        return max((token.stop for token in self.tokens), default=0)

    def shown(self, at: int) -> str:
        """Return a token's text as part of the passage.

        Empty for a token that is a later part of a multi-token character.
        """
        token = self.tokens[at]
        return self.text[token.shown_from : max(token.stop, token.shown_from)]

    def label(self, at: int) -> str:
        """Return a token's text by itself.

        For a token that shows nothing in the passage, this is the character that it is a part of.
        """
        token = self.tokens[at]
        return self.shown(at) or self.text[token.start : token.stop]

    def part(self, at: int) -> tuple[int, int]:
        """Return a token's position and the number of tokens that form its character.

        Both count from 1; (1, 1) for a token that is not part of a split character.
        """

        def end(token: PassageToken) -> int:
            return max(token.stop, token.shown_from)

        first, last, here = at, at, end(self.tokens[at])
        while first > 0 and end(self.tokens[first - 1]) == here:
            first -= 1
        while last + 1 < len(self.tokens) and end(self.tokens[last + 1]) == here:
            last += 1
        return at - first + 1, last - first + 1

    def terms_of(self, at: int) -> Terms:
        """Return the terms of a token.

        Raises ValueError for a token that is not captured.
        """
        row = self.tokens[at].row
        if row is None:
            raise ValueError(f"token {at} is not captured")
        here = slice(int(self.bounds[row]), int(self.bounds[row + 1]))
        return Terms(*(column[here] for column in self.terms))


class Segment(NamedTuple):
    """Shortest stretch of text bounded by token ends of both tokenisations.

    No common token end lies strictly inside it.
    """

    start: int
    """Start offset of its characters."""
    stop: int
    """End offset of its characters."""
    a: range
    """Indices of A's tokens in it; empty if A read no further."""
    b: range
    """Indices of B's tokens in it; empty if B read no further."""


class SharedSource(NamedTuple):
    """A source atom used by A or B in a segment, with its weight in each."""

    source: Hashable
    """The source, equal for the same token of the corpus in both."""
    atom_a: int | None
    """A's atom with this source; None if it is not among A's terms."""
    weight_a: float
    """Its coefficient as a share of the activation's norm, at the token where that is largest in magnitude; 0 if there
    is none."""
    atom_b: int | None
    """B's atom with this source; None if it is not among B's terms."""
    weight_b: float
    """B's coefficient, normalised in the same way."""


def align(a: Decomposition, b: Decomposition) -> list[Segment]:
    """Return the shortest segments of complete tokens in both tokenisations.

    The segments are in order, without gaps. If one tokenisation reads further than the other, the remaining text has
    segments of its tokens alone.

    Raises:
        ValueError: the decompositions are of different texts.
    """
    if a.text != b.text:
        raise ValueError("two decompositions of different texts have no common segments")
    ends_a, ends_b = _ends(a), _ends(b)
    read_a, read_b = a.read, b.read
    longer, shorter = (ends_a, read_b) if read_a >= read_b else (ends_b, read_a)
    rest = {end for end in longer if end >= shorter}
    segments: list[Segment] = []
    start = at_a = at_b = 0
    for stop in sorted((ends_a.keys() & ends_b.keys() | rest) - {0}):
        # If only one tokenisation has an end here, the other has no more tokens.
        next_a, next_b = ends_a.get(stop, len(a.tokens)), ends_b.get(stop, len(b.tokens))
        segments.append(Segment(start, stop, range(at_a, next_a), range(at_b, next_b)))
        start, at_a, at_b = stop, next_a, next_b
    return segments


def sights(
    segment: Segment,
    a: Decomposition,
    b: Decomposition,
    sources_a: Mapping[int, Hashable],
    sources_b: Mapping[int, Hashable],
) -> list[SharedSource]:
    """Return the sources among the terms of A or B in a segment.

    They are in descending order of absolute weight.

    Args:
        segment: one of `align(a, b)`.
        a, b: the decompositions.
        sources_a, sources_b: the source of each atom that is among the terms.
    """
    seen_a, seen_b = _weights(a, segment.a, sources_a), _weights(b, segment.b, sources_b)
    found = [
        SharedSource(source, *seen_a.get(source, (None, 0.0)), *seen_b.get(source, (None, 0.0)))
        for source in dict.fromkeys([*seen_a, *seen_b])
    ]
    return sorted(found, key=lambda sight: -max(abs(sight.weight_a), abs(sight.weight_b)))


def atoms_in(decomposition: Decomposition, tokens: range) -> list[int]:
    """Return the distinct atoms among the terms of some tokens."""
    found: dict[int, None] = {}
    for at in tokens:
        if decomposition.tokens[at].row is not None:
            found |= dict.fromkeys(decomposition.terms_of(at).atom.tolist())
    return list(found)


def _weights(
    decomposition: Decomposition, tokens: range, sources: Mapping[int, Hashable]
) -> dict[Hashable, tuple[int, float]]:
    """Return a mapping from source to its atom and weight.

    The weight is the one with the largest absolute value over the tokens.
    """
    found: dict[Hashable, tuple[int, float]] = {}
    for at in tokens:
        row = decomposition.tokens[at].row
        if row is None:
            continue
        terms = decomposition.terms_of(at)
        for atom, coefficient in zip(terms.atom.tolist(), terms.coefficient.tolist(), strict=True):
            source, weight = sources[atom], coefficient / float(decomposition.norm[row])
            if source not in found or abs(weight) > abs(found[source][1]):
                found[source] = atom, weight
    return found


def _ends(decomposition: Decomposition) -> dict[int, int]:
    """Return a mapping from a token end offset to the number of tokens ended by then."""
    return {max(token.stop, token.shown_from): at + 1 for at, token in enumerate(decomposition.tokens)}
