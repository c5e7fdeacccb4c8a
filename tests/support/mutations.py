"""Damage to files, drawn by a seed: flipped bits, files cut short, JSON with a value or a name that is not right."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

VALUES: list[Any] = [
    None, "", "x", "\x1b[31m<b>", "../x", "a" * 3000, "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00", True, False,
    -1, 0, 1, 2, 99, 2**31, 2**63 - 1, 2**63, 10**400, -(10**400), 0.5, -0.5, 1.9, 1e308, -1e308, 5e-324,
    [], {}, [1], [[1]], {"a": 1}, {"a": [[1]]}, [[[[[[[[]]]]]]]],
]  # fmt: skip
"""What a value is put in place of."""


def asked() -> int | None:
    """How many mutations of each kind are asked for in ITDA_MUTATIONS; None where nothing is said."""
    return int(os.environ["ITDA_MUTATIONS"]) if os.environ.get("ITDA_MUTATIONS") else None


def mutations(content: bytes, seed: int, n: int) -> Iterator[bytes | None]:
    """`n` files in place of one; None is a folder of its name."""
    random = np.random.default_rng(seed)
    for _ in range(n):
        draw = random.random()
        if draw < 0.6 and content:
            yield _changed(content, random)
        elif draw < 0.9 and content:
            flipped = bytearray(content)
            for _ in range(random.integers(1, 4)):
                flipped[random.integers(len(flipped))] ^= 1 << random.integers(8)
            yield bytes(flipped)
        elif draw < 0.96:
            yield content[: random.integers(len(content) + 1)]
        elif draw < 0.98:
            yield random.bytes(int(random.integers(1, 300)))
        else:
            yield None


def flipped(content: bytes, seed: int, n: int) -> Iterator[bytes]:
    """`n` files in place of one, each with one bit flipped."""
    random = np.random.default_rng(seed)
    for _ in range(n):
        found = bytearray(content)
        found[random.integers(len(found))] ^= 1 << random.integers(8)
        yield bytes(found)


def put(path: Path, content: bytes | None) -> None:
    """Put a mutation, or what was there, in a file's place."""
    if path.is_dir():
        shutil.rmtree(path)
    if content is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(content)


def _changed(content: bytes, random: np.random.Generator) -> bytes:
    """JSON of which a value is another, a name is gone, another, or there twice."""
    said = json.loads(content)
    places = list(_places(said))
    within, key = places[random.integers(len(places))] if places else ([said], 0)
    what = random.integers(6)
    if what == 0:
        del within[key]
    elif what == 1 and isinstance(within, dict):
        within[f"{key}_"] = within.pop(key)
    elif what == 2 and isinstance(within, list):
        within.append(within[key])
    elif what == 3 and isinstance(within, dict):
        value = json.dumps(VALUES[random.integers(len(VALUES))])
        twice = f", {json.dumps(key)}: {value}}}"
        return json.dumps(said).encode().removesuffix(b"}") + twice.encode()
    else:
        within[key] = VALUES[random.integers(len(VALUES))]
    return json.dumps(said).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where values are: what holds each, and its name or number there."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from _places(inner)
