"""Rule-based token labels for sparse probing."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_BULLET = re.compile(r"(\s*)(?:[-*+•]|\d{1,3}[.)]|\(\d{1,3}\)|\(?[a-z]\)|#\.)[ \t]+(?=\S)")
_UNDERLINE = re.compile(r"\s*([=\-~^\"'`#*+])\1{2,}\s*")
_HEADING = re.compile(r"\s*[A-Z]\w*(?: \w+)?:\s*")  # of a docstring section: `Args:`
_PROMPT = re.compile(r"\s*(?:>>>|In \[\d*\]:)(?:\s|$)")
_FENCE = re.compile(r"\s*```")
_DIRECTIVE = re.compile(r"\s*\.\.\s+([\w:-]+)::")
_OF_CODE = {
    "code",
    "code-block",
    "sourcecode",
    "ipython",
    "plot",
    "testcode",
    "testoutput",
    "doctest",
    "parsed-literal",
}
_OPENS_BLOCK = re.compile(r".*\S?:\s*")
_DEEPER = 2  # columns: minimum additional indent of a block relative to the line that introduces it
_INLINE = re.compile(r"(?<!`)``(?!`)(.+?)``(?!`)|(?<!`)`(?!`)([^`]+?)`(?!`)", re.DOTALL)
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_NUMBER = re.compile(r"(?<!\w)(?:0[xX][0-9a-fA-F]+|\d(?:[\d_]|[.,](?=\d))*(?:[eE][-+]?\d+)?j?)(?!\w)")
_OPENING = r"[\"'“‘(\[*_`]*"
_WORD = r"([^\W\d_]+)(?!\w|\(|\.\w| :)"  # no name such as Series.first, and no term of a definition: `Tuple : …`
_FIRST = re.compile(rf"\s*{_OPENING}{_WORD}")
_NEXT = re.compile(rf"[.!?][\"'”’)\]*_`]*\s+{_OPENING}{_WORD}")
_LONGEST = 16  # characters that _ABBREVIATED searches: it must not read a complete paragraph for each sentence
_ABBREVIATED = re.compile(r"(?:^|[\s(])(?:e\.g|i\.e|cf|vs|al|approx|resp|Fig|Eq|Eqs|Ref|Sec|Dr|Mr|No|Vol|pp?|[A-Z])$")


def token_labels(text: str, spans: Sequence[tuple[int, int]]) -> dict[str, np.ndarray]:
    """Return the labels of a document's tokens, by property.

    Args:
        text: the document.
        spans: character range [start, stop) of each token. Text after the paragraph of the last one is not read.

    Returns:
        For each of PROPERTIES, and `blank` for tokens without a visible character, [n] booleans. A token is in code,
            or in a list, if its first visible character is; it is a number, or starts a sentence, if any of its
            characters does.
    """
    text = text[: _paragraph_end(text, max((stop for _, stop in spans), default=0))]
    marks = character_marks(text)
    visible = np.array([not character.isspace() for character in text], bool)
    # Index of the next visible character from each character on; the last entry stands for none.
    following = np.full(len(text) + 1, len(text))
    following[:-1][visible] = np.flatnonzero(visible)
    following = np.minimum.accumulate(following[::-1])[::-1]
    start, stop = (np.array([span[end] for span in spans], np.int64).reshape(-1) for end in (0, 1))
    first = following[start]
    blank = first >= stop
    found = {"blank": blank}
    for name, marked in marks.items():
        if name in ("code", "list"):
            found[name] = ~blank & np.append(marked, False)[first]
        else:
            total = np.concatenate([[0], np.cumsum(marked)])
            found[name] = ~blank & (total[stop] > total[start])
    return found


def _paragraph_end(text: str, reached: int) -> int:
    """Return the end of the paragraph that contains the offset.

    No label before it depends on text after it.
    """
    ends = (match.start() for match in _PARAGRAPH.finditer(text))
    return next((end for end in ends if end >= reached), len(text))


def character_marks(text: str) -> dict[str, np.ndarray]:
    """Return the character masks, by property.

    For each of PROPERTIES, bool [n characters].
    """
    lines = _lines(text)
    block = _code_blocks(text, lines)
    code = block.copy()
    begins = 0
    for end in [*(match.start() for match in _PARAGRAPH.finditer(text)), len(text)]:  # backquotes pair in a paragraph
        for match in _INLINE.finditer(text, begins, end):
            if text.endswith(":math:", 0, match.start()):
                continue  # a formula
            group = 1 if match[1] is not None else 2
            code[match.start(group) : match.end(group)] = True
        begins = end
    number = np.zeros(len(text), bool)
    for match in _NUMBER.finditer(text):
        number[match.start() : match.end()] = True
    return {
        "code": code,
        "list": _list_items(text, lines) & ~block,
        "number": number,
        "sentence": _sentence_starts(text, lines) & ~code,
    }


class _Line(NamedTuple):
    start: int
    stop: int
    text: str

    @property
    def is_blank(self) -> bool:
        return not self.text.strip()

    @property
    def indent(self) -> int:
        return len(self.text) - len(self.text.lstrip())


def _lines(text: str) -> list[_Line]:
    lines, start = [], 0
    for part in text.split("\n"):
        lines.append(_Line(start, start + len(part), part))
        start += len(part) + 1
    return lines


def _code_blocks(text: str, lines: list[_Line]) -> np.ndarray:
    """Return the mask of characters in code blocks.

    These are interactive sessions, fenced blocks, and blocks introduced by a line ending in a colon or by a
    directive.
    """
    marked = np.zeros(len(text), bool)
    in_fence = in_session = False
    announced: int | None = None  # indent of the line that introduces a block
    inside: int | None = None  # the same, for the block that contains the line
    for at, line in enumerate(lines):
        if in_fence or _FENCE.match(line.text):
            is_fence = _FENCE.match(line.text) is not None
            marked[line.start : line.stop] = in_fence and not is_fence
            in_fence = in_fence != is_fence
            continue
        if line.is_blank:
            in_session = False
            continue
        if inside is not None and line.indent < inside + _DEEPER:
            inside = None
        if announced is not None:
            is_deeper = line.indent >= announced + _DEEPER
            inside = announced if inside is None and is_deeper and not _BULLET.match(line.text) else inside
            announced = None
        in_session = in_session or _PROMPT.match(line.text) is not None
        if in_session or inside is not None:
            marked[line.start : line.stop] = True
            continue
        directive = _DIRECTIVE.match(line.text)
        if directive is not None:
            announced = line.indent if directive[1] in _OF_CODE else None
        elif _OPENS_BLOCK.fullmatch(line.text) and at + 1 < len(lines) and lines[at + 1].is_blank:
            announced = line.indent
    return marked


def _list_items(text: str, lines: list[_Line]) -> np.ndarray:
    """Return the mask of characters in list items, without their bullets.

    An item continues as long as lines are indented more than its bullet.
    """
    marked = np.zeros(len(text), bool)
    indent: int | None = None  # of the item's bullet
    for line in lines:
        if line.is_blank:
            continue
        bullet = _BULLET.match(line.text)
        if bullet is not None:
            indent = line.indent if indent is None else min(indent, line.indent)
            marked[line.start + bullet.end() : line.stop] = True
        elif indent is not None and line.indent > indent:
            marked[line.start : line.stop] = True
        else:
            indent = None
    return marked


def _sentence_starts(text: str, lines: list[_Line]) -> np.ndarray:
    """Return the mask of the first letters of sentences.

    They are recognised by capital letters, punctuation and layout.
    """
    marked = np.zeros(len(text), bool)
    for before, line, after in zip([None, *lines], lines, [*lines[1:], None], strict=False):
        if line.is_blank or _HEADING.fullmatch(line.text) or (after is not None and _UNDERLINE.fullmatch(after.text)):
            continue
        bullet = _BULLET.match(line.text)
        is_fresh = (
            before is None
            or before.is_blank
            or bullet is not None
            or before.indent < line.indent  # description of a parameter
            or _UNDERLINE.fullmatch(before.text) is not None
        )
        first = _FIRST.match(line.text, bullet.end() if bullet else 0) if is_fresh else None
        if first is not None and _is_capital(first[1]):
            marked[line.start + first.start(1)] = True
    begins = 0
    for end in [*(match.start() for match in _PARAGRAPH.finditer(text)), len(text)]:
        for match in _NEXT.finditer(text, begins, end):
            before = match.start()
            if _is_capital(match[1]) and not _ABBREVIATED.search(text, max(begins, before - _LONGEST), before):
                marked[match.start(1)] = True
        begins = end
    return marked


def _is_capital(word: str) -> bool:
    """Return whether a word is capitalised like the start of a sentence.

    False for names in mixed case, such as DataFrame.
    """
    return word[0].isupper() and (word[1:].islower() or word.isupper())
