"""Models of the benchmarks, by name."""

from itda_core.models.bundled import model_folder
from itda_core.models.gguf_cache import converted_gguf
from itda_core.models.smollm2 import require_smollm2

PRETRAINED = "SmolLM2-135M"
"""Name of the pretrained model."""


def model_place(name: str) -> str:
    """Return the folder of a demo model, or of the pretrained one, converted.

    Raises UserError if it is not on this machine.
    """
    return str(converted_gguf(require_smollm2()) if name == PRETRAINED else model_folder(name))
