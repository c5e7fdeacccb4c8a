"""The small models that come with the project, in `data/`. Nothing here imports torch."""

from pathlib import Path

from itda_core.types import UserError

DEMO_FOLDER = Path(__file__).parent.parent / "data"
"""Where they lie, each in a folder of its name; there may be none."""


def demo_models() -> list[str]:
    """Names of the demo models that lie beside the package; none where it was installed without them."""
    return sorted(path.parent.name for path in DEMO_FOLDER.glob("*/config.json"))


def model_folder(name: str) -> Path:
    """Folder of a model that comes with the project. Raises UserError where it does not lie beside the package."""
    folder = DEMO_FOLDER / name
    if not (folder / "config.json").is_file():
        raise UserError(f"the demo model {name} is not here: install the project from a clone, with pip install -e .")
    return folder
