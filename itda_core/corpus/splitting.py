"""Long texts cut into passages, so that some can be held out of building and a window each reads most of the text."""

import re
from collections.abc import Iterable, Iterator

from itda_core.corpus.windows import HOLDOUT

TOKEN_BYTES = 4
"""Bytes of UTF-8 that a token is taken to have: English has three to five in most tokenizers, other scripts too."""
LARGEST = 2**22
"""Bytes that a passage has at most, as a window of a million tokens has."""
SHORTEST = 40
"""Bytes that a passage has at least: a text too short for as many passages as a holdout takes is left whole."""

_ENDS = tuple(
    map(
        re.compile,
        (
            r"\n\s*\n",  # of a paragraph
            r"\n",  # of a line
            r"[.!?…][\"')\]’”»]*\s+|[。！？][」』”）]*",  # of a sentence
            r"\s+",  # of a word
        ),
    )
)


def window_bytes(context: int) -> int:
    """Bytes of text that a window of so many tokens holds, about."""
    return min(context * TOKEN_BYTES, LARGEST)


def passage_bytes(total: int, context: int) -> int:
    """How long passages of a text are at most: what a window holds, or a tenth of a text that is shorter than ten.

    Args:
        total: bytes of the text, or any number that is as large as ten windows.
        context: tokens in a window.
    """
    window = window_bytes(context)
    return window if total < SHORTEST * HOLDOUT else min(window, total // HOLDOUT)


def passages(pieces: Iterable[str], size: int) -> Iterator[str]:
    """Cut a text into passages of `size` bytes of UTF-8 at most, and all but the last of about half of that at least.

    Each ends where a paragraph does, or else a line, a sentence, or a word; in the midst of a word only where there is
    no other place. Joined they are the text. A text of `size` bytes or less is one passage, an empty one none.

    Args:
        pieces: the text, in pieces that may be cut anywhere.
        size: bytes of a passage at most.
    """
    text, at = "", 0
    for piece in pieces:
        text, at = text[at:] + piece, 0
        while len(text) - at > size:
            end = _end(text, at, size)
            yield text[at:end]
            at = end
    while at < len(text):
        end = _end(text, at, size)
        yield text[at:end]
        at = end


def _end(text: str, at: int, size: int) -> int:
    """Where the passage ends that begins at `at`."""
    ahead = text[at : at + size]
    fits = len(ahead.encode()[:size].decode(errors="ignore"))
    if at + fits == len(text):
        return len(text)
    for end in _ENDS:
        last = max((match.end() for match in end.finditer(text, at, at + fits)), default=at)
        if last > at + fits // 2:
            return last
    return at + max(fits, 1)
