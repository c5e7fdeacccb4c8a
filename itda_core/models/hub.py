"""Fetch a model from the Hugging Face Hub, safetensors only."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_cached_repo_tree, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    DisabledRepoError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx, validate_repo_id
from tqdm.auto import tqdm

from itda_core.common.errors import UserError
from itda_core.common.hub_errors import answer_of_hub, causes_of
from itda_core.common.text import one_line
from itda_core.models.gguf_header import SUFFIX as GGUF

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_SMALL_FILES = (
    "config.json",
    INDEX_FILE,
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "*.model",  # sentencepiece
)
_FOLDERS = "*/*"
_WEIGHTS_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\.safetensors")
"""Safe file names: no path components, glob patterns, or terminal control characters."""
_OTHER_WEIGHTS = {
    GGUF: "GGUF",
    ".bin": "pickle",
    ".ckpt": "pickle",
    ".pt": "pickle",
    ".pth": "pickle",
    ".h5": "TensorFlow's format",
    ".msgpack": "Flax's format",
}


def fetch_model(name: str, revision: str | None = None, weights: bool = True) -> Path:
    """Fetch a model from the Hub and return its folder, which is named by the commit.

    Files in the cache are not fetched again. Progress in bytes is shown on stderr, regardless of the settings of
    transformers' progress bars. Without `weights` only the configuration and the tokenizer are fetched.

    Raises:
        UserError: the model cannot be fetched, or has no weights in safetensors.
    """
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"there is no folder {name!r}, and it cannot be an id of the Hub") from error
    try:
        folder = Path(
            snapshot_download(name, revision=revision, allow_patterns=list(_SMALL_FILES), ignore_patterns=[_FOLDERS])
        )
        if not (folder / "config.json").is_file():
            if found := _files_of_kind(_files_on_hub(name, folder.name), GGUF):
                raise UserError(_only_gguf(name, found))
            raise UserError(f"{name} has no config.json: name a model in Hugging Face format")
        if not weights:
            return folder
        missing = [file for file in weight_files(folder) if not (folder / file).is_file()]
        files = _files_on_hub(name, folder.name)
        if files and not files.issuperset(missing):
            raise UserError(_no_weights(name, files))
        for file in missing:
            # By the commit, so that all files belong to the same revision.
            hf_hub_download(name, file, revision=folder.name, tqdm_class=_Bytes)
    except (OSError, httpx.HTTPError) as error:
        raise UserError(_reason(name, revision, error)) from error
    return folder


def weight_files(folder: Path) -> list[str]:
    """List the names of a model's safetensors weight files, which may be missing.

    Raises:
        UserError: the folder's weight index is damaged, or names files outside the folder.
    """
    index = folder / INDEX_FILE
    if not index.is_file():
        return [WEIGHTS_FILE]
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{INDEX_FILE} of {folder.name} is damaged: fetch the model again") from error
    for name in names:
        if not isinstance(name, str) or not _WEIGHTS_NAME.fullmatch(name):
            raise UserError(
                f"{INDEX_FILE} of {folder.name} names {str(name)[:80]!r}, which is no weight file: name another model"
            )
    return sorted(names)


class _Bytes(tqdm):
    """Progress bar over the bytes of a file, on stderr.

    huggingface_hub's own bars are silent in a job, whose stderr is a file, and if transformers' bars are disabled.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **{**settings, "file": sys.stderr, "mininterval": 0.5})


def _files_on_hub(name: str, commit: str) -> set[str]:
    """Return the files of a commit as the Hub listed them when it was fetched.

    Empty if another tool filled the cache.
    """
    try:
        return {file.path for file in get_cached_repo_tree(name, revision=commit)}
    except CachedRepoTreeNotFoundError:
        return set()


def _no_weights(name: str, files: set[str]) -> str:
    """Explain why a model on the Hub cannot be loaded."""
    for suffix, kind in _OTHER_WEIGHTS.items():
        if found := _files_of_kind(files, suffix):
            if suffix == GGUF:
                return _only_gguf(name, found)
            return (
                f"{name} has its weights as {kind} only ({one_line(found[0])}), which is never loaded here: name a "
                "copy in safetensors, or a --revision that has one, such as refs/pr/1"
            )
    return f"{name} lacks {WEIGHTS_FILE}, or a part of it, at this revision: name another model or --revision"


def _only_gguf(name: str, found: list[str]) -> str:
    file = one_line(found[0])
    return f"{name} has its weights as GGUF only: fetch one file ({file}) with hf download, and name that file"


def _files_of_kind(files: set[str], suffix: str) -> list[str]:
    return sorted(file for file in files if file.endswith(suffix) and "/" not in file)


def _reason(name: str, revision: str | None, error: BaseException) -> str:
    """Explain in one line why a model could not be fetched.

    The Hub's answer may be nested among the causes.
    """
    causes = list(causes_of(error))
    for kind in (GatedRepoError, DisabledRepoError, RevisionNotFoundError, RepositoryNotFoundError):
        if any(isinstance(cause, kind) for cause in causes):
            return _REASONS[kind].format(name=name, revision=revision, endpoint=constants.ENDPOINT)
    if answer := answer_of_hub(name, error):
        return answer
    if constants.HF_HUB_OFFLINE:
        at = f" at revision {revision!r}" if revision else ""
        return f"{name} is not in the cache{at} and HF_HUB_OFFLINE is set: unset it once to fetch the model"
    if any(isinstance(cause, LocalEntryNotFoundError | httpx.TransportError) for cause in causes):
        return f"the Hub cannot be reached, and {name} is not in the cache: check the network, or name a folder"
    return f"{name} cannot be fetched: {one_line(str(error))}"


_REASONS: dict[type[Exception], str] = {
    GatedRepoError: "{name} is gated: accept its terms on {endpoint}/{name} and set HF_TOKEN to that account's token",
    DisabledRepoError: "{name} was disabled by the Hub: name another model",
    RevisionNotFoundError: "{name} has no revision {revision!r}: name a branch, tag or commit of it with --revision",
    RepositoryNotFoundError: (
        "there is no folder and no Hub model {name!r}: check the name, or set HF_TOKEN if it is private"
    ),
}
