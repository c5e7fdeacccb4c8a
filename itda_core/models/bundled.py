"""Locate the small models that ship with the project in `data/`; no torch."""

from pathlib import Path

from itda_core.common.errors import UserError

DEMO_FOLDER = Path(__file__).parents[2] / "data"
"""Folder of the bundled models, each in a subfolder of its name; it may be missing."""
_WEIGHTS = "model.safetensors"


def demo_models() -> list[str]:
    """List the names of the bundled demo models; empty if installed without them."""
    return sorted(path.parent.name for path in DEMO_FOLDER.glob("*/config.json"))


def model_folder(name: str) -> Path:
    """Return the folder of a bundled model.

    Raises UserError if it is not installed.
    """
    folder = DEMO_FOLDER / name
    if not (folder / "config.json").is_file():
        raise UserError(f"the demo model {name} is not here: install the project from a clone, with pip install -e .")
    return folder


def seed_models(folder: Path | None = None) -> dict[str, Path]:
    """Return the folders, by name, of the models that differ only in their seed.

    `itda bench layers` compares them.

    Args:
        folder: their parent folder; `data/seeds` by default.

    Models without weights, still being trained, are left out; the result may be empty.
    """
    folder = DEMO_FOLDER / "seeds" if folder is None else folder
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{_WEIGHTS}"))}


def checkpoints(folder: Path) -> dict[int, Path]:
    """Return the folders of a model's checkpoints by training step, in order.

    The final weights are not among them.
    """
    found = {
        int(path.parent.name[5:]): path.parent
        for path in folder.glob(f"checkpoints/step-*/{_WEIGHTS}")
        if path.parent.name[5:].isdecimal()
    }
    return dict(sorted(found.items()))
