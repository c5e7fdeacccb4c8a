"""Validation of values from untrusted JSON.

`parse` reads a complete object as a dataclass, whose fields define the valid values. `whole` and `plain_text` read one
value each, and raise ValueError, which describes the problem, for an invalid one.
"""

import json
from collections.abc import Collection
from dataclasses import fields
from functools import cache
from sys import float_info
from typing import Annotated, Any, TypeGuard, TypeVar, cast

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from itda_core.common.errors import DamagedError, NewerError, UserError

MOST = 2**63 - 1
"""Largest valid count."""
Count = Annotated[int, Field(ge=0, le=MOST)]
"""Count, 0 or more."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
"""Finite number, as a float."""
Share = Annotated[float, Field(ge=0, le=1)]
"""Number from 0 to 1."""
Positive = Annotated[int, Field(ge=1, le=MOST)]
"""Count of 1 or more."""

_Kind = TypeVar("_Kind")


def only(names: Collection[str]) -> AfterValidator:
    """Return a validator that drops the entries of a dictionary whose name is not one of `names`."""
    return AfterValidator(lambda found: {name: value for name, value in found.items() if name in names})


def parse(kind: type[_Kind], value: Any, subject: str, remedy: str, has_all: bool = False) -> _Kind:
    """Parse a value from JSON as a dataclass.

    Each field must strictly have its type; names that are not fields of the dataclass are ignored.

    Args:
        kind: the dataclass.
        value: content of a file.
        subject: name of the file or object, with which the error message begins.
        remedy: instruction for fixing damage, with which the error message ends.
        has_all: whether fields with a default have to be there too.

    Raises DamagedError, with a one-line message, for the first invalid field.
    """
    if has_all and isinstance(value, dict):
        missing = [each.name for each in fields(cast(Any, kind)) if each.name not in value]
        if missing:
            raise damaged(subject, f"it has no {missing[0]}", remedy)
    try:
        # As text, since a strict adapter accepts objects for dataclasses and arrays for tuples only from JSON.
        return _adapter(kind).validate_json(json.dumps(value, allow_nan=False), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        raise damaged(subject, f"{where}: {first['msg']}" if where else first["msg"], remedy) from error
    except (UserError, ValueError, RecursionError) as error:  # refused by the dataclass, or no JSON
        raise damaged(subject, str(error), remedy) from error


def damaged(subject: str, reason: str, remedy: str) -> DamagedError:
    """Return the error for a damaged file, with the problem and a remedy."""
    return DamagedError(f"{subject} is damaged ({reason[:200]}): {remedy}")


def check_format(value: Any, known: int, subject: str, remedy: str) -> int:
    """Return the format number stated in a file, if the format is known.

    Formats up to `known` are known.

    Args:
        value: the stated number.
        known: the latest known format.
        subject: name of the file or object, with which the error message begins.
        remedy: instruction for fixing damage, with which the error message ends.

    Raises:
        NewerError: it is the number of a later format.
        DamagedError: it is not a format number.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise damaged(subject, f"{str(value)[:40]!r} is no number of a format", remedy)
    if value > known:
        raise NewerError(f"{subject} was written by a newer version of ITDA Explorer: update ITDA Explorer to read it")
    return value


@cache
def _adapter(kind: type[_Kind]) -> TypeAdapter[_Kind]:
    return TypeAdapter(kind)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Return whether a value is a number that is finite as a float.

    Neither 10**400 nor a boolean is.
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= float_info.max


def whole(value: Any, lowest: int = 0, highest: int = MOST) -> int:
    """Return a value if it is a count within bounds, of at most 64 bits.

    Raises ValueError otherwise.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{str(value)[:40]!r} is not a count")
    if not lowest <= value <= highest:
        bounds = f"a count of {lowest} or more" if highest == MOST else f"between {lowest} and {highest}"
        raise ValueError(f"{str(value)[:40]} is not {bounds}")
    return value


def plain_text(value: Any) -> str:
    """Return a value if it is text.

    Raises ValueError otherwise.
    """
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]!r} is not text")
    return value
