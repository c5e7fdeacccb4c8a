"""Locate a dictionary's model on this machine, and load it."""

import os
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from itda_core.common.errors import UserError
from itda_core.jobs.read import read_jobs
from itda_core.library.manifest import DictionaryManifest
from itda_core.models.bundled import DEMO_FOLDER
from itda_core.models.gguf_cache import converted_models
from itda_core.models.gguf_header import SUFFIX, is_gguf
from itda_core.models.hub import weight_files
from itda_core.models.model import Model, load_model
from itda_core.models.smollm2 import INSTALL_SMOLLM2, SMOLLM2, smollm2_file

MODELS_VARIABLE = "ITDA_MODELS"
"""Environment variable with the folders that contain models, separated as in PATH.

A model is a subfolder or a GGUF file of its name.
"""


def model_places(record: DictionaryManifest, root: Path) -> list[str]:
    """Return the folders and GGUF files, or the one Hub id, that may hold a dictionary's model.

    They only match by name: the weights are compared after loading. A Hub model is only searched in the cache, so that
    no action of the user fetches gigabytes unexpectedly.

    Args:
        record: the dictionary.
        root: the library's folder; the build jobs recorded in it name the folders of their models.

    Raises:
        UserError: the model runs on a server, or is not on this machine.
    """
    if not record.has_text:
        raise UserError(
            f"{record.id} was imported without its model: import it again with --model and --corpus to use it on texts"
        )
    if record.weights_sha256 is None:
        raise UserError(
            f"{record.model} ran on a server when this dictionary was built, and texts are decomposed on this machine "
            "only: choose a dictionary of a model that lies here"
        )
    if record.revision is not None:
        return [_cached(record.model, record.revision)]
    if Path(record.model).name != record.model or record.model in (".", ".."):
        raise UserError(f"{record.model!r} is no name of a folder: the dictionary's manifest is damaged")
    found = [place for place in _places(record.model, root) if _is_model(place)]
    if not found and record.model == SMOLLM2:
        raise UserError(f"the model {SMOLLM2} is not installed: {INSTALL_SMOLLM2}")
    if not found:
        raise UserError(
            f"the folder of the model {record.model} is not known here: set {MODELS_VARIABLE} to the folder that it "
            "lies in, and start again"
        )
    # A file is known by its name, which a link to it may give.
    return [str(place) for place in dict.fromkeys(place if is_gguf(place) else place.resolve() for place in found)]


def _is_model(folder: Path) -> bool:
    try:
        return (folder / "config.json").is_file() or (is_gguf(folder) and folder.is_file())
    except OSError:  # a name too long, or a folder that may not be read
        return False


def _cached(name: str, revision: str) -> str:
    try:
        config = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError as error:
        raise UserError(f"{name!r} is no id of a model on the Hub: the dictionary's manifest is damaged") from error
    if not isinstance(config, str) or not all(
        (Path(config).parent / file).is_file() for file in weight_files(Path(config).parent)
    ):
        raise UserError(f"{name} is not on this machine: fetch it with hf download {name} --revision {revision}")
    return name


def _places(name: str, root: Path) -> Iterator[Path]:
    yield from converted_models(name)
    if (installed := smollm2_file()) is not None and installed.stem == name:
        yield installed
    for folder in filter(None, os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)):
        if (known := _expanded(folder)) is not None:
            yield known / name
            yield known / f"{name}{SUFFIX}"
    configs = sorted(DEMO_FOLDER.rglob("config.json"))  # the demo's models, the seeds and their checkpoints
    yield from (config.parent for config in configs if config.parent.name == name)
    for job in read_jobs(root):
        if job.arguments[:1] == ["build"] and len(job.arguments) > 1:
            place = _expanded(job.arguments[1])
            if place is not None and place.name in (name, f"{name}{SUFFIX}"):
                yield place


def _expanded(folder: str) -> Path | None:
    try:
        return Path(folder).expanduser()
    except RuntimeError:  # `~` of a user that does not exist
        return None


def open_model(record: DictionaryManifest, root: Path) -> Model:
    """Load the model that a dictionary was built from, which is slow.

    Args:
        record: the dictionary.
        root: the library's folder.

    Raises:
        UserError: the model is not on this machine, or its weights are not those of the dictionary.
    """
    refused: UserError | None = None
    for place in model_places(record, root):
        try:
            model = load_model(place, record.revision, dtype=record.dtype)
        except UserError as error:  # for instance, a folder of that name with an incomplete model
            refused = error
            continue
        if model.weights_sha256() == record.weights_sha256:
            if model.tokenizer_sha256() == record.tokenizer_sha256:
                return model
            refused = UserError(f"the tokenizer of {record.model} here is not the one {record.id} was built with")
        del model
    if refused is not None:
        raise refused
    raise UserError(
        f"the weights of {record.model} on this machine are not those that {record.id} was built from: build the "
        "dictionary again, or bring those weights back"
    )
