"""The writing half of the loopback Hub: repositories are made, files sent, the large ones by the LFS protocol."""

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Set
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

LARGE = (".safetensors", ".duckdb")
"""What comes by the LFS protocol; all else is part of the commit."""


def writing_routes(url: str, folder: Path, writers: Set[str], oid: str, requests: list[str]) -> list[Route]:
    """What a push asks for.

    Args:
        url: the server's address.
        folder: what it serves; noted there are private repositories in `.private`, owners whose repositories are
            private unless they say otherwise in `.private-owners`, and repositories that another commits to whenever
            they have been looked at in `.moved`; large files wait in `.lfs`.
        writers: tokens that may write.
        oid: the commit that every commit becomes.
        requests: every request is noted here.
    """

    def written(what: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            given = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
            if given in writers:
                response = await what(request)
            elif given == "hf_reader":  # one that the Hub knows
                response = _refusal(403, "You have read access but not the required permissions")
            else:
                response = _refusal(401, "Invalid credentials in Authorization header")
            requests.append(f"{request.method} {request.url.path} {response.status_code}")
            return response

        return endpoint

    async def validate(request: Request) -> Response:
        asked = await request.json()
        errors = [] if asked["content"].startswith("---\n") else [{"message": "no metadata"}]
        return JSONResponse({"errors": errors, "warnings": []})

    async def create(request: Request) -> Response:
        asked = await request.json()
        name = Path("models") / asked["organization"] / asked["name"]
        made = {"url": f"{url}/{asked['organization']}/{asked['name']}"}
        if (folder / name).is_dir():
            return JSONResponse({"error": "You already created this model repo", **made}, 409)
        (folder / name).mkdir(parents=True)
        default = "private" if (folder / ".private-owners" / asked["organization"]).exists() else "public"
        if asked.get("visibility", default) == "private":
            (folder / ".private" / name).mkdir(parents=True)
        return JSONResponse(made)

    async def preupload(request: Request) -> Response:
        paths = [file["path"] for file in (await request.json())["files"]]
        modes = {path: "lfs" if path.endswith(LARGE) else "regular" for path in paths}
        files = [{"path": path, "uploadMode": modes[path], "shouldIgnore": False} for path in paths]
        return JSONResponse({"files": files})

    async def batch(request: Request) -> Response:
        objects = (await request.json())["objects"]
        sent = [{**each, "actions": {"upload": {"href": f"{url}/lfs/{quote(each['oid'])}"}}} for each in objects]
        return JSONResponse({"transfer": "basic", "objects": sent})

    async def upload(request: Request) -> Response:
        content = await request.body()
        if hashlib.sha256(content).hexdigest() != request.path_params["oid"]:
            return _refusal(400, "not the content that was announced")
        (folder / ".lfs").mkdir(exist_ok=True)
        (folder / ".lfs" / request.path_params["oid"]).write_bytes(content)
        requests.append(f"PUT {request.url.path} 200")
        return JSONResponse({})

    async def commit(request: Request) -> Response:
        name = Path("models") / request.path_params["owner"] / request.path_params["name"]
        root = folder / name
        lines = [json.loads(line) for line in (await request.body()).splitlines()]
        head = "0" * 40 if (folder / ".moved" / name).exists() else oid
        if lines[0]["value"].get("parentCommit", head) != head:
            return _refusal(412, "A commit has happened since. Please refresh and try again.")
        for said in lines:
            if said["key"] == "deletedFile":
                (root / said["value"]["path"]).unlink()
            elif said["key"] == "file":
                (root / said["value"]["path"]).write_bytes(base64.b64decode(said["value"]["content"]))
            elif said["key"] == "lfsFile":
                content = (folder / ".lfs" / said["value"]["oid"]).read_bytes()
                (root / said["value"]["path"]).write_bytes(content)
        return JSONResponse({"commitUrl": f"{url}/{root.parent.name}/{root.name}/commit/{oid}", "commitOid": oid})

    return [
        Route("/api/validate-yaml", validate, methods=["POST"]),
        Route("/api/repos/create", written(create), methods=["POST"]),
        Route("/api/models/{owner}/{name}/preupload/{revision}", written(preupload), methods=["POST"]),
        Route("/api/models/{owner}/{name}/commit/{revision}", written(commit), methods=["POST"]),
        Route("/{owner}/{name}.git/info/lfs/objects/batch", written(batch), methods=["POST"]),
        Route("/lfs/{oid}", upload, methods=["PUT"]),
    ]


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status, headers={"X-Error-Message": message})
