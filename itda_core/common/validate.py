"""Values out of JSON that may be a stranger's, each checked to be what it has to be.

`parse` reads a whole object as a dataclass, whose fields say what each value has to be. The others read one value;
ValueError says what is not as it should be.
"""

import json
from functools import cache
from sys import float_info
from typing import Annotated, Any, TypeGuard, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from itda_core.common.errors import DamagedError, NewerError, UserError

MOST = 2**63 - 1
"""The largest count there is."""
Count = Annotated[int, Field(ge=0, le=MOST)]
"""A count."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A number that is finite as a float."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""
Positive = Annotated[int, Field(ge=1, le=MOST)]
"""A count of 1 or more."""

_Kind = TypeVar("_Kind")


def parse(kind: type[_Kind], value: Any, what: str, remedy: str) -> _Kind:
    """Read a value out of JSON as a dataclass, each field strictly of its type; names that it lacks are passed over.

    Args:
        kind: the dataclass.
        value: what a file holds.
        what: what is read, to begin the message with.
        remedy: what to do about damage, to end it with.

    Raises DamagedError for the first field that cannot be, in one line.
    """
    try:
        # Text, since a strict adapter takes objects for dataclasses and arrays for tuples out of JSON alone.
        return _adapter(kind).validate_json(json.dumps(value, allow_nan=False), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        raise damaged(what, f"{where}: {first['msg']}" if where else first["msg"], remedy) from error
    except (UserError, ValueError) as error:  # what the dataclass itself refuses, or JSON has no word for
        raise damaged(what, str(error), remedy) from error


def damaged(what: str, why: str, remedy: str) -> DamagedError:
    """The error that says of a file what is wrong with it and what to do."""
    return DamagedError(f"{what} is damaged ({why[:200]}): {remedy}")


def check_format(value: Any, known: int, what: str, remedy: str) -> int:
    """The number of the format that a file says it is written in: the one that is known here, or an earlier one.

    Args:
        value: the number.
        known: the latest that is known.
        what: what is read, to begin the message with.
        remedy: what to do about damage, to end it with.

    Raises:
        NewerError: it is of a format that came later.
        DamagedError: it is no such number.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise damaged(what, f"{str(value)[:40]!r} is no number of a format", remedy)
    if value > known:
        raise NewerError(f"{what} was written by a newer version of ITDA Explorer: update ITDA Explorer to read it")
    return value


@cache
def _adapter(kind: type[_Kind]) -> TypeAdapter[_Kind]:
    return TypeAdapter(kind)


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


def plain_text(value: Any) -> str:
    """Text."""
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]!r} is not text")
    return value
