"""Every architecture is captured as transformers itself has it, or refused in one line; `architectures.py` has them."""

from pathlib import Path

import pytest

from tests.support.architectures import ALIKE, ARCHITECTURES, EQUAL, Architecture, outcome


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.title)
def test_what_is_captured_are_the_hidden_states_of_transformers(architecture: Architecture, tmp_path: Path) -> None:
    found = outcome(architecture, tmp_path)
    if architecture.outcome in (EQUAL, ALIKE):
        assert found == architecture.outcome
    else:
        assert architecture.outcome in found
        assert "\n" not in found
