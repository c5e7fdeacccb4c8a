"""Values out of JSON that may be a stranger's, each checked to be what it has to be; ValueError says what is not."""

from math import isfinite
from typing import Any


def whole(value: Any, lowest: int = 0) -> int:
    """A count, of 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value < 2**63:
        raise ValueError(f"{str(value)[:40]!r} is not a count")
    return value


def number(value: Any) -> float:
    """A number that is finite."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise ValueError(f"{str(value)[:40]!r} is not a number")
    return float(value)


def share(value: Any) -> float:
    """A number from 0 to 1."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value) or not 0 <= value <= 1:
        raise ValueError(f"{str(value)[:40]!r} is not a share")
    return float(value)


def plain_text(value: Any) -> str:
    """Text."""
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]!r} is not text")
    return value


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{str(value)[:40]!r} is neither true nor false")
    return value
