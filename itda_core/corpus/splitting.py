"""Cut long texts into passages.

Some passages can then be held out of building, and one window per passage covers most of the text.
"""

import re
from collections.abc import Iterable, Iterator

from itda_core.corpus.windows import HOLDOUT

TOKEN_BYTES = 4
"""Assumed bytes of UTF-8 per token: English has three to five with most tokenizers, other scripts too."""
LARGEST = 2**22
"""Maximum bytes of a passage: the size of a window of a million tokens."""
SHORTEST = 40
"""Minimum bytes of a passage: a text too short to give a holdout's number of such passages is not cut."""

_ENDS = tuple(
    map(
        re.compile,
        (
            r"\n\s*\n",  # end of a paragraph
            r"\n",  # end of a line
            r"[.!?…][\"')\]’”»]*\s+|[。！？][」』”）]*",  # end of a sentence
            r"\s+",  # end of a word
        ),
    )
)


def window_bytes(context: int) -> int:
    """Estimate the bytes of text in a window of `context` tokens."""
    return min(context * TOKEN_BYTES, LARGEST)


def passage_bytes(total: int, context: int) -> int:
    """Return the maximum passage size: one window, or a tenth of a shorter text.

    A tenth applies to texts of less than ten windows.

    Args:
        total: bytes of the text, or any number of at least ten windows.
        context: tokens in a window.
    """
    window = window_bytes(context)
    return window if total < SHORTEST * HOLDOUT else min(window, total // HOLDOUT)


def passages(pieces: Iterable[str], size: int) -> Iterator[str]:
    """Cut a text into passages of at most `size` bytes of UTF-8.

    All but the last have at least about half of that. Each ends at the end of a paragraph, or else of a line, a
    sentence or a word; within a word only if there is no other place. Concatenated, they are the text. A text of `size`
    bytes or less is one passage, an empty text none.

    Args:
        pieces: the text, in pieces that may be cut anywhere.
        size: maximum bytes of a passage.
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
    """Return the end of the passage that begins at `at`."""
    ahead = text[at : at + size]
    fits = len(ahead.encode()[:size].decode(errors="ignore"))
    if at + fits == len(text):
        return len(text)
    for end in _ENDS:
        last = max((match.end() for match in end.finditer(text, at, at + fits)), default=at)
        if last > at + fits // 2:
            return last
    return at + max(fits, 1)
