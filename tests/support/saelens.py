"""What needs SAELens is skipped where it is not installed."""

from importlib.util import find_spec

import pytest

needs_saelens = pytest.mark.skipif(
    find_spec("sae_lens") is None, reason="SAELens is not installed: pip install -e '.[sae]'"
)
"""A mark of tests. `importorskip` would import SAELens, which takes seconds, in every worker: each reads all files."""
