"""Tables in plain text for a terminal, or in Markdown."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_in_markdown: ContextVar[bool] = ContextVar("in_markdown", default=False)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Format rows of cells as lines.

    In plain text, cells are right-aligned and each column is as wide as its widest cell. In Markdown, the first row is
    the table's head.
    """
    if _in_markdown.get():
        head, *rest = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        lines = [head, ["---", *["---:"] * (len(head) - 1)], *rest]
        return ["", *(f"| {' | '.join(line)} |" for line in lines), ""]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


@contextmanager
def in_markdown() -> Iterator[None]:
    """Format the tables of the body in Markdown."""
    token = _in_markdown.set(True)
    try:
        yield
    finally:
        _in_markdown.reset(token)
