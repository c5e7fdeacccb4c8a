"""A Hugging Face Hub on the loopback interface, for tests that must run the real client code without a network.

`serve(folder)` serves `folder/models/{owner}/{name}` and `folder/datasets/{owner}/{name}`: every file below is a file
of that repository, at one commit which is also the revision `main`. huggingface_hub reads HF_ENDPOINT when it is
imported, so use it from a process of its own, with the environment that `Hub.environment` gives.

Model repositories can be made and committed to with a token in `writers` (`hub_writing`).
"""

import hashlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import certifi
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from tests.support.hub_writing import writing_routes

COMMIT = hashlib.sha1(b"the only commit").hexdigest()
UNKNOWN_TOKEN = "hf_of_nobody"
"""A token that the Hub does not know."""
_REVISIONS = ("main", COMMIT)


@dataclass(frozen=True)
class Hub:
    """A running server."""

    url: str
    """`http://127.0.0.1:PORT`, for HF_ENDPOINT."""
    folder: Path
    """What it serves; files may be added while it runs."""
    gated: Mapping[str, str] = field(default_factory=dict)
    """`datasets/owner/name` → the token that opens its files."""
    private: Mapping[str, str] = field(default_factory=dict)
    """`models/owner/name` → the token without which it seems not to be there."""
    writers: frozenset[str] = frozenset()
    """Tokens that may make model repositories and commit to them."""
    listed: Mapping[str, list[str]] = field(default_factory=dict)
    """`models/owner/name` → names that it lists beside its files, which a hostile one may."""
    requests: list[str] = field(default_factory=list)
    """Method, path and status of every request so far."""

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Environment of a process that takes this server for the Hub and keeps its cache in `home`."""
        return hub_environment(self.url, home, **more)


def hub_environment(url: str, home: Path, **more: str) -> dict[str, str]:
    """The environment of this process with another Hub, an empty cache, and no token but those in `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE_"))}
    settings = {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    return {**kept, **settings, "SSL_CERT_FILE": str(_one_certificate(home)), **more}


def _one_certificate(folder: Path) -> Path:
    """Write a file with one certificate of an authority into a folder.

    httpx reads the file anew for every client, which takes as long as all else of a request to this machine if it has
    those of all authorities; servers here speak plain HTTP.
    """
    end = "-----END CERTIFICATE-----\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "authority.pem"
    path.write_text(Path(certifi.where()).read_text().partition(end)[0] + end)
    return path


@contextmanager
def serve(
    folder: Path,
    gated: Mapping[str, str] | None = None,
    private: Mapping[str, str] | None = None,
    writers: frozenset[str] = frozenset(),
    listed: Mapping[str, list[str]] | None = None,
) -> Iterator[Hub]:
    """Serve a folder as the Hub until the block ends."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    hub = Hub(
        f"http://127.0.0.1:{listener.getsockname()[1]}", folder, gated or {}, private or {}, writers, listed or {}
    )
    server = uvicorn.Server(uvicorn.Config(_application(hub), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    listener.listen()  # from here on a connection waits for the server to start instead of being refused
    thread.start()
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _application(hub: Hub) -> Starlette:
    def answer(request: Request) -> Response:
        parts = request.path_params
        kind = parts.get("kind", "models")
        repository = f"{kind}/{parts['owner']}/{parts['name']}"
        root = hub.folder / repository
        revision, path = parts.get("revision", "main"), parts.get("path", "")
        # As the real Hub does, tell everyone about a gated repository and give its files to those who were let in.
        given = request.headers.get("Authorization")
        if given == f"Bearer {UNKNOWN_TOKEN}":
            response = _refusal(401, None, "Invalid credentials in Authorization header")
        elif (token := hub.private.get(repository)) is not None and given != f"Bearer {token}":
            response = _refusal(401 if given is None else 404, "RepoNotFound")
        elif not root.is_dir() or kind not in ("models", "datasets"):
            response = _refusal(404 if given else 401, "RepoNotFound")
        elif revision not in _REVISIONS:
            response = _refusal(404, "RevisionNotFound")
        elif parts["what"] == "resolve" and (refusal := _gate(hub.gated.get(repository), request)):
            response = refusal
        elif not (root / path).resolve().is_relative_to(root.resolve()) or not (root / path).exists():
            response = _refusal(404, "EntryNotFound")
        elif parts["what"] == "resolve":
            response = FileResponse(root / path, headers={"ETag": f'"{_hash(root / path)}"', "X-Repo-Commit": COMMIT})
        elif parts["what"] == "tree":
            recursive = request.query_params.get("recursive", "").lower() == "true"
            response = JSONResponse([_entry(root, entry) for entry in _below(root / path, recursive)])
        else:
            response = JSONResponse(_information(hub, repository, root))
        hub.requests.append(f"{request.method} {request.url.path} {response.status_code}")
        return response

    def route(what: str, path: str) -> Route:
        def endpoint(request: Request) -> Response:
            request.path_params["what"] = what
            return answer(request)

        return Route(path, endpoint)  # a GET route answers HEAD too

    repository = "/api/{kind}/{owner}/{name}"
    return Starlette(
        routes=[
            *writing_routes(hub.url, hub.folder, hub.writers, COMMIT, hub.requests),
            route("information", repository),
            route("information", repository + "/revision/{revision}"),
            route("tree", repository + "/tree/{revision}"),
            route("tree", repository + "/tree/{revision}/{path:path}"),
            route("resolve", "/{kind}/{owner}/{name}/resolve/{revision}/{path:path}"),
            route("resolve", "/{owner}/{name}/resolve/{revision}/{path:path}"),
        ]
    )


def _gate(token: str | None, request: Request) -> Response | None:
    given = request.headers.get("Authorization")
    if token is None or given == f"Bearer {token}":
        return None
    return _refusal(401 if given is None else 403, "GatedRepo")


def _refusal(status: int, code: str | None, message: str | None = None) -> Response:
    message = message or str(code)
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return JSONResponse({"error": message}, status, headers=headers)


def _information(hub: Hub, repository: str, root: Path) -> dict[str, Any]:
    files = [path.relative_to(root).as_posix() for path in _below(root, True) if path.is_file()]
    files += hub.listed.get(repository, [])
    kind, name = repository.split("/", 1)
    return {
        "id": name,
        "sha": COMMIT,
        "private": (hub.folder / ".private" / repository).exists(),
        "gated": "manual" if repository in hub.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [{"rfilename": file} for file in files],
        **({"modelId": name} if kind == "models" else {}),
    }


def _below(folder: Path, recursive: bool) -> list[Path]:
    return sorted(folder.rglob("*") if recursive else folder.iterdir())


def _entry(root: Path, path: Path) -> dict[str, Any]:
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": COMMIT}
    return {"type": "file", "path": name, "size": path.stat().st_size, "oid": _hash(path)}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:40]
