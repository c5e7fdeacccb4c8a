"""The small models that come with the project, in `data/`. Nothing here imports torch."""

from pathlib import Path

from itda_core.common.errors import UserError

DEMO_FOLDER = Path(__file__).parents[2] / "data"
"""Where they lie, each in a folder of its name; there may be none."""
_WEIGHTS = "model.safetensors"


def demo_models() -> list[str]:
    """Names of the demo models that lie beside the package; none where it was installed without them."""
    return sorted(path.parent.name for path in DEMO_FOLDER.glob("*/config.json"))


def model_folder(name: str) -> Path:
    """Folder of a model that comes with the project. Raises UserError where it does not lie beside the package."""
    folder = DEMO_FOLDER / name
    if not (folder / "config.json").is_file():
        raise UserError(f"the demo model {name} is not here: install the project from a clone, with pip install -e .")
    return folder


def seed_models(folder: Path | None = None) -> dict[str, Path]:
    """Folders by name of the models that differ in their seed only, which `itda bench layers` compares.

    Args:
        folder: where they lie; `data/seeds` unless given.

    Those without weights, still being trained, are left out; without any the result is empty.
    """
    folder = DEMO_FOLDER / "seeds" if folder is None else folder
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{_WEIGHTS}"))}


def checkpoints(folder: Path) -> dict[int, Path]:
    """Folders by training step of a model's checkpoints, in order; the final weights are not among them."""
    found = {
        int(path.parent.name[5:]): path.parent
        for path in folder.glob(f"checkpoints/step-*/{_WEIGHTS}")
        if path.parent.name[5:].isdecimal()
    }
    return dict(sorted(found.items()))
