"""What jobs leave behind: dataclass, parse, read, write; no torch."""
