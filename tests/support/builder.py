"""Types of the fixtures that build libraries."""

from collections.abc import Callable
from pathlib import Path

LibraryBuilder = Callable[..., Path]
