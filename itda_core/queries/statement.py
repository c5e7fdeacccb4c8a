"""Values of an SQL statement that is composed of parts."""

from typing import Any


class Values(list[Any]):
    """Values that a statement refers to by number."""

    def put(self, value: Any) -> str:
        """Add a value and return the SQL that refers to it."""
        self.append(value)
        return f"${len(self)}"
