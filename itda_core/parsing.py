"""Values out of JSON that may be a stranger's, each checked to be what it has to be; ValueError says what is not."""

from sys import float_info
from typing import Any, TypeGuard

MOST = 2**63 - 1
"""The largest count there is."""


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a number that is finite as a float: neither 10**400 nor a boolean is."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= float_info.max


def whole(value: Any, lowest: int = 0, highest: int = MOST) -> int:
    """A count within bounds, 64 bits at the most."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{str(value)[:40]!r} is not a count")
    if not lowest <= value <= highest:
        bounds = f"a count of {lowest} or more" if highest == MOST else f"between {lowest} and {highest}"
        raise ValueError(f"{str(value)[:40]} is not {bounds}")
    return value


def number(value: Any) -> float:
    """A number that is finite."""
    if not is_number(value):
        raise ValueError(f"{str(value)[:40]!r} is not a number")
    return float(value)


def share(value: Any) -> float:
    """A number from 0 to 1."""
    found = number(value)
    if not 0 <= found <= 1:
        raise ValueError(f"{found:g} is not a share")
    return found


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
