"""Folders of the repository that tests read."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
MODEL_A, MODEL_B = REPOSITORY / "data" / "docs-a", REPOSITORY / "data" / "docs-b"
