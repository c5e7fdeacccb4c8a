"""A passage as a dictionary decomposes it, token by token, and two of them side by side. Nothing here imports torch."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MOST_CHARACTERS = 100_000
"""Characters of a text, some twenty pages; a longer one is not decomposed."""


class PassageToken(NamedTuple):
    """One token of a passage."""

    token_id: int
    """The tokenizer's number for it."""
    start: int
    """Where its characters begin in the text, as the tokenizer says."""
    stop: int
    """Where they end."""
    shown_from: int
    """Where it is shown from: where the one before it ended, so that the tokens read as the text."""
    row: int | None
    """Which of the captured tokens it is; None for one that capture leaves out, a window's first."""


class Terms(NamedTuple):
    """The sparse code of one token, the largest absolute coefficient first: arrays of equal length."""

    atom: np.ndarray
    """[n] int64."""
    coefficient: np.ndarray
    """[n] float32, signed, in the model's own units, since atoms have length 1."""
    left: np.ndarray
    """[n] float64: the reconstruction error |x − x̂|² / |x|² with the terms up to this one. It may rise at a term, since
    atoms are not at right angles: what one says too much the next may take back."""


@dataclass(frozen=True)
class Decomposition:
    """A text, its tokens, and for every captured one x = Σ coefficient · atom + residual."""

    text: str
    """The whole text; what lies beyond the last token was not read."""
    tokens: tuple[PassageToken, ...]
    """The tokens that were read, in order."""
    windows: int
    """Windows that the text was read in; the model starts anew at each."""
    bounds: np.ndarray
    """[captured + 1] int64: where the terms of each captured token begin and end."""
    terms: Terms
    """The terms of all captured tokens."""
    norm: np.ndarray
    """[captured] float32 length |x| of the activation."""
    error: np.ndarray
    """[captured] float32 reconstruction error |x − x̂|² / |x|²: the share of the residual, which is what they leave."""

    @property
    def read(self) -> int:
        """How many characters of the text its tokens cover."""
        return max((token.stop for token in self.tokens), default=0)

    def shown(self, at: int) -> str:
        """A token's text as part of the passage; empty for a later part of a character."""
        token = self.tokens[at]
        return self.text[token.shown_from : max(token.stop, token.shown_from)]

    def label(self, at: int) -> str:
        """A token's text by itself: the character that it is a part of, for one that shows nothing in the passage."""
        token = self.tokens[at]
        return self.shown(at) or self.text[token.start : token.stop]

    def part(self, at: int) -> tuple[int, int]:
        """Which of how many tokens it is that make up a character, both from 1; (1, 1) for a token of its own."""

        def end(token: PassageToken) -> int:
            return max(token.stop, token.shown_from)

        first, last, here = at, at, end(self.tokens[at])
        while first > 0 and end(self.tokens[first - 1]) == here:
            first -= 1
        while last + 1 < len(self.tokens) and end(self.tokens[last + 1]) == here:
            last += 1
        return at - first + 1, last - first + 1

    def terms_of(self, at: int) -> Terms:
        """The terms of a token. Raises ValueError for one that is not captured."""
        row = self.tokens[at].row
        if row is None:
            raise ValueError(f"token {at} is not captured")
        here = slice(int(self.bounds[row]), int(self.bounds[row + 1]))
        return Terms(*(column[here] for column in self.terms))


class Segment(NamedTuple):
    """A stretch of a text at whose ends both tokenisations have an end of a token; none lies between."""

    start: int
    """Where its characters begin."""
    stop: int
    """Where they end."""
    a: range
    """The tokens of A in it; none where A read no further."""
    b: range
    """The tokens of B in it."""


class SharedSource(NamedTuple):
    """A source among the terms of A or B on a segment, and what each makes of it."""

    source: Hashable
    """The source, the same for the same token of the corpus in both."""
    atom_a: int | None
    """A's atom from there; None where it is not among A's terms."""
    weight_a: float
    """Its coefficient as a share of the activation's length, where that is largest; 0 where there is none."""
    atom_b: int | None
    """B's atom from there."""
    weight_b: float
    """Its coefficient, likewise."""


def align(a: Decomposition, b: Decomposition) -> list[Segment]:
    """The shortest segments of a text that hold whole tokens of both its tokenisations, in order, without gaps.

    Where one read further than the other, the rest has segments of its tokens alone.

    Raises:
        ValueError: they are of different texts.
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
        # Where only one has an end, the other has no more tokens.
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
    """The sources among the terms of either on a segment, those with the largest absolute weight first.

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
    """The atoms among the terms of some tokens, each once."""
    found: dict[int, None] = {}
    for at in tokens:
        if decomposition.tokens[at].row is not None:
            found |= dict.fromkeys(decomposition.terms_of(at).atom.tolist())
    return list(found)


def _weights(
    decomposition: Decomposition, tokens: range, sources: Mapping[int, Hashable]
) -> dict[Hashable, tuple[int, float]]:
    """Source → its atom and weight, the largest over the tokens."""
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
    """Where tokens end in the text → how many tokens have ended by then."""
    return {max(token.stop, token.shown_from): at + 1 for at, token in enumerate(decomposition.tokens)}
