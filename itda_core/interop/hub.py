"""Exchange of dictionaries with the Hugging Face Hub.

A repository has the manifest, the atoms, a model card, and on request the index. The index contains the texts that a
dictionary was built from, so it is uploaded only on request. Only files of these names are uploaded or downloaded,
and downloaded files are checked against the manifest's hashes.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    ModelInfo,
    constants,
    get_token,
    hf_hub_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx, validate_repo_id

from itda_core.build.build import add_maps
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import DIGEST, read_json, sealed
from itda_core.common.hub_errors import answer_of_hub, causes_of
from itda_core.common.layout import ATOMS_FILE, INDEX_FILE, MANIFEST_FILE
from itda_core.common.text import one_line
from itda_core.interop.card import card
from itda_core.interop.copy import adopt, check_hash, read_manifest
from itda_core.interop.encode import Reading
from itda_core.interop.external import without_place
from itda_core.interop.importer import Imported, import_folder, report_of
from itda_core.jobs.job import Job
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.reports.quality import dictionary_quality

_CARD = "README.md"
_OURS = {MANIFEST_FILE, ATOMS_FILE, INDEX_FILE, _CARD}
_NAMING = ("model", "corpus", "imported")
"""Manifest fields that may contain a path on a machine."""
_ERRORS = (OSError, httpx.HTTPError, RuntimeError, ValueError)
"""Exceptions of the Hub's client: a failed upload raises RuntimeError, an invalid response ValueError."""


class Pushed(NamedTuple):
    """Result of an upload to the Hub."""

    id: str
    """Id of the dictionary."""
    repo: str
    """The repository."""
    address: str
    """URL of the repository."""
    commit: str
    """Id of the commit."""
    files: list[str]
    """Names of the uploaded files."""


def push(
    library: Library, dictionary_id: str, repo: str, private: bool, with_text: bool, overwrite: bool, job: Job
) -> Pushed:
    """Upload a dictionary to the Hub.

    Args:
        library: the library.
        dictionary_id: id of the dictionary.
        repo: OWNER/NAME; created if it does not exist.
        private: whether a new repository is private; an existing one has to be.
        with_text: whether the index, which contains the corpus's texts, is uploaded too.
        overwrite: whether files of these names that are not of this dictionary are replaced.
        job: receives progress.

    Raises:
        UserError: the dictionary fails verification, the token is missing or lacks write permission, the repository
            holds something else, or is public although a private one was requested, or the Hub cannot be reached.
    """
    _check_name(repo)
    record = library.record(dictionary_id)
    if problems := list(library.verify(dictionary_id)):
        raise UserError(f"{dictionary_id} is not as it was built ({problems[0]}): build it again")
    if get_token() is None:
        raise UserError("there is no token to write to the Hub with: set HF_TOKEN to one that may write")
    folder = library.folder(dictionary_id)
    names = [ATOMS_FILE, *([INDEX_FILE] if with_text else []), MANIFEST_FILE]
    manifest = _manifest_bytes(folder / MANIFEST_FILE)
    text = card(
        DictionaryManifest.parse(dictionary_id, json.loads(manifest)),
        repo,
        with_text,
        dictionary_quality(library, record),
    )
    content = {_CARD: text.encode(), MANIFEST_FILE: manifest}
    api = HfApi()
    try:
        job.stage(f"looking at {repo}", unit="")
        info = _check_repository(api, repo, dictionary_id, private, overwrite)
        if info is None:  # private is None if it is not requested: an owner's own default may be private
            api.create_repo(repo, private=private or None, repo_type="model")
        job.stage(f"sending to {repo}", unit="")
        left = {INDEX_FILE} & _files_of(info) - set(names)  # from an earlier upload, or of another dictionary
        commit = api.create_commit(
            repo,
            [
                *(CommitOperationAdd(name, content.get(name, str(folder / name))) for name in (_CARD, *names)),
                *(CommitOperationDelete(name) for name in left),
            ],
            commit_message=f"ITDA dictionary {dictionary_id}",
            parent_commit=None if info is None else info.sha,  # fails if the repository changed since it was checked
        )
        if left:
            job.say(
                f"{INDEX_FILE}, which holds texts, was there and is deleted; earlier commits of {repo} still hold it: "
                "squash its history on the Hub, or delete it, to take them back"
            )
    except _ERRORS as error:
        raise UserError(_reason(repo, None, error, "write to")) from error
    return Pushed(dictionary_id, repo, f"{constants.ENDPOINT}/{repo}", commit.oid, [*names, _CARD])


def pull(library: Library, repo: str, revision: str | None, reading: Reading | None, job: Job) -> Imported:
    """Download a dictionary from the Hub into a library.

    With its index it is copied unchanged. Without it, or with `reading`, it is imported: its atoms alone, or with the
    model and corpus of `reading`.

    Raises:
        UserError: there is no such repository or revision, it may not be read, or the Hub cannot be reached;
            DamagedError if it holds no dictionary, or files that do not match the manifest's hashes.
    """
    _check_name(repo)
    job.stage(f"fetching {repo}", unit="")
    try:
        info = HfApi().model_info(repo, revision=revision)
        listed = _files_of(info)
        if not {MANIFEST_FILE, ATOMS_FILE} <= listed:
            raise DamagedError(f"{repo} holds no dictionary: it lacks {MANIFEST_FILE} or {ATOMS_FILE}")
        is_whole = INDEX_FILE in listed and reading is None
        wanted = [MANIFEST_FILE, ATOMS_FILE, *([INDEX_FILE] if is_whole else [])]
        paths = {name: Path(hf_hub_download(repo, name, revision=info.sha)) for name in wanted}
    except _ERRORS as error:
        raise UserError(_reason(repo, revision, error, "read")) from error
    record = read_manifest(paths[MANIFEST_FILE])
    for name in wanted[1:]:
        check_hash(record, paths[name])
    # The cache of the Hub's client is a folder of symbolic links that may contain other files: only these are
    # taken.
    with TemporaryDirectory() as holder:
        folder = Path(holder) / record.id
        folder.mkdir()
        for name, path in paths.items():
            (folder / name).symlink_to(path.resolve())
        if not is_whole:
            return import_folder(library, folder, reading, job)
        adopted = adopt(library, folder)
    job.finished(adopted)
    add_maps(library, [adopted], job)
    return report_of(library, adopted)


def _manifest_bytes(path: Path) -> bytes:
    """Return a manifest as it is uploaded.

    It is unchanged, except that local paths of an imported dictionary's model or texts are removed.
    """
    manifest = read_json(path)
    shared = {name: _without_places(value) if name in _NAMING else value for name, value in manifest.items()}
    if shared == manifest:
        return path.read_bytes()
    return (json.dumps(sealed(shared) if DIGEST in manifest else shared, ensure_ascii=False, indent=2) + "\n").encode()


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_places(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_places(each) for each in value]
    return without_place(value) if isinstance(value, str) else value


def _files_of(info: ModelInfo | None) -> set[str]:
    return set() if info is None else {file.rfilename for file in info.siblings or []}


def _check_name(repo: str) -> None:
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"{repo!r} cannot be a repository: name one as OWNER/NAME") from error
    if "/" not in repo:
        raise UserError(f"{repo!r} names no owner: name a repository as OWNER/NAME")


def _check_repository(api: HfApi, repo: str, dictionary_id: str, private: bool, overwrite: bool) -> ModelInfo | None:
    """Reject a repository of the wrong visibility or with conflicting files.

    It must not be public if a private one is requested, nor hold other files of the names used here.

    Returns the Hub's information on it; None if it does not exist.
    """
    try:
        info = api.model_info(repo)
    except RepositoryNotFoundError:
        return None
    if private and not info.private:
        raise UserError(f"{repo} is there and public: name another repository, or make it private on the Hub first")
    there = _files_of(info) & _OURS
    if not there or overwrite:
        return info
    own = None
    if MANIFEST_FILE in there:
        try:
            own = read_json(Path(hf_hub_download(repo, MANIFEST_FILE, revision=info.sha)))["id"]
        except (DamagedError, KeyError, TypeError, EntryNotFoundError):
            own = None  # not a dictionary's
    if own != dictionary_id:
        raise UserError(
            f"{repo} holds {min(there)}, which is not of {dictionary_id}: name another repository, or give --overwrite"
        )
    return info


def _reason(repo: str, revision: str | None, error: BaseException, verb: str) -> str:
    """Return why a request to the Hub failed, in one line.

    The Hub's response may be among the causes of the error.
    """
    causes = list(causes_of(error))
    answers = [cause.response.status_code for cause in causes if isinstance(cause, HfHubHTTPError)]
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return (
            f"{repo} is gated: accept its terms on {constants.ENDPOINT}/{repo} and set HF_TOKEN to that account's token"
        )
    if any(isinstance(cause, RevisionNotFoundError) for cause in causes):
        return f"{repo} has no revision {revision!r}: name a branch, tag or commit of it after @"
    if 403 in answers and verb != "read":
        return f"the Hub does not let your token write to {repo}: set HF_TOKEN to one that may"
    if {409, 412} & set(answers):
        return f"{repo} was made or changed by another at this moment: look at it, and push again"
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
        return f"there is no repository {repo!r} that your token may {verb}: check the name, or set HF_TOKEN"
    if answer := answer_of_hub(repo, error):
        return answer
    if constants.HF_HUB_OFFLINE:
        return f"HF_HUB_OFFLINE is set, so the Hub is not asked for {repo}: unset it"
    if any(isinstance(cause, httpx.TransportError) for cause in causes):
        return f"the Hub cannot be reached for {repo}: check the network"
    return f"the Hub's answer for {repo} is of no use: {one_line(str(error))[:200]}"
