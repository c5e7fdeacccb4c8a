"""A deep-inference server on the loopback interface that speaks nnsight's protocol and truly runs what it is sent.

Run as a process of its own: `python -m tests.support.ndif_server PORT NAME=FOLDER…` serves each model folder under the
repository id NAME until it is stopped. The project's own package is hidden from it, as it is from a real server, so a
request that needs it fails here too. `POST /faults` says what is to go wrong next: a list of {"at", "kind"}, each used
once.
"""

import asyncio
import io
import json
import os
import queue
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

import torch
import uvicorn
import zstandard
from nnsight import TransformersModel
from nnsight.schema.request import RequestModel
from nnsight.schema.response import ResponseModel, Status
from nnsight.tracing.tracer import dec, inc
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from transformers import AutoModelForCausalLM, AutoTokenizer


@dataclass
class Server:
    """What the server knows."""

    models: dict[str, Any]
    """Repository id → wrapped model."""
    key: str | None
    """The API key that is let in; None lets everyone in."""
    jobs: queue.Queue = field(default_factory=queue.Queue)
    """Requests not yet run: id, envelope, payload."""
    said: dict[str, ResponseModel] = field(default_factory=dict)
    """Job id → the last word on it."""
    results: dict[str, bytes] = field(default_factory=dict)
    """Job id → result."""
    faults: list[dict[str, str]] = field(default_factory=list)
    """What is to go wrong, in order."""
    accepted: int = 0
    """Jobs taken so far."""

    def fault(self, at: str) -> str | None:
        """The next thing to go wrong at `request`, `poll`, `result` or `run`, used up by asking."""
        for fault in self.faults:
            if fault["at"] == at:
                self.faults.remove(fault)
                return fault["kind"]
        return None

    def work(self) -> None:
        """Run jobs one after another, for ever."""
        while True:
            job_id, envelope, blob = self.jobs.get()
            kind = self.fault("run")
            if kind == "stall":
                continue  # never heard of again
            if kind is not None:
                self._say(job_id, Status.ERROR, kind)
                continue
            self._say(job_id, Status.RUNNING, "Your job has started running.")
            try:
                self.results[job_id] = self._run(envelope, blob)
            except Exception as error:  # a server tells its client whatever went wrong
                self._say(job_id, Status.ERROR, f"{type(error).__name__}: {error}")
            else:
                self._say(job_id, Status.COMPLETED, "Your job has been completed.")

    def _run(self, envelope: RequestModel, blob: bytes) -> bytes:
        model = self.models[json.loads(envelope.model_key.split(":", 1)[1])["repo_id"]]
        tracer = RequestModel.deserialize(blob, model._remoteable_persistent_objects(), envelope.compress)
        frame = tracer.info.frame
        given = dict(frame.f_locals)
        inc()
        try:
            with torch.no_grad():
                tracer.execute(tracer.info.code)
        finally:
            dec()
        saved = {name: value for name, value in frame.f_locals.items() if given.get(name) is not value}
        buffer = io.BytesIO()
        torch.save(saved, buffer)
        return zstandard.ZstdCompressor().compress(buffer.getvalue()) if envelope.compress else buffer.getvalue()

    def _say(self, job_id: str, status: Status, description: str) -> None:
        self.said[job_id] = ResponseModel(id=job_id, status=status, description=description)


def application(server: Server, url: str) -> Starlette:
    """The routes of the protocol."""

    def refusal(kind: str | None, request: Request) -> Response | None:
        if server.key is not None and request.headers.get("ndif-api-key") != server.key:
            return JSONResponse({"detail": "Invalid API key."}, 401)
        if kind is not None and kind.isdecimal():
            return JSONResponse({"detail": f"told to answer {kind}"}, int(kind))
        if kind == "drop":
            return Dropped()
        return None

    async def submit(request: Request) -> Response:
        form = await request.form()
        if refused := refusal(server.fault("request"), request):
            return refused
        envelope = RequestModel.model_validate_json(form["data"])
        repository = json.loads(envelope.model_key.split(":", 1)[1])["repo_id"]
        if repository not in server.models:
            return JSONResponse({"detail": f"{repository} is not deployed."}, 404)
        job_id = f"job-{len(server.said)}"
        waiting = server.jobs.qsize()
        server._say(job_id, Status.QUEUED, f"Your job is queued at position {waiting + 1}.")
        server.jobs.put((job_id, envelope, await form["blob"].read()))
        server.accepted += 1
        return JSONResponse(
            ResponseModel(id=job_id, status=Status.RECEIVED, description="Your job has been received.").model_dump(
                mode="json"
            )
        )

    async def poll(request: Request) -> Response:
        if refused := refusal(server.fault("poll"), request):
            return refused
        said = server.said.get(request.path_params["id"])
        if said is None:
            return JSONResponse({"detail": "no such job"}, 404)
        answer = said.model_dump(mode="json")
        if said.status == Status.COMPLETED:
            answer["data"] = f"{url}/result/{said.id}"
        return JSONResponse(answer)

    async def result(request: Request) -> Response:
        kind = server.fault("result")
        content = server.results[request.path_params["id"]]
        if kind == "cut":  # a whole answer with half of the result in it
            return Response(content[: len(content) // 2])
        if kind == "drop":
            return Dropped(content)
        if kind is not None:
            return JSONResponse({"detail": "gone"}, int(kind))
        return Response(content)

    async def faults(request: Request) -> Response:
        server.faults = await request.json()
        return JSONResponse({})

    async def state(request: Request) -> Response:
        return JSONResponse({"accepted": server.accepted, "faults": server.faults})

    async def status(request: Request) -> Response:
        return JSONResponse({name: "RUNNING" for name in server.models})

    return Starlette(
        routes=[
            Route("/request", submit, methods=["POST"]),
            Route("/response/{id}", poll),
            Route("/result/{id}", result),
            Route("/faults", faults, methods=["POST"]),
            Route("/state", state),
            Route("/status", status),
        ]
    )


class Dropped(Response):
    """A connection that is lost in the middle of an answer."""

    def __init__(self, content: bytes = b"{}" * 100) -> None:
        super().__init__(content)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", str(len(self.body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        await asyncio.sleep(0.05)
        raise ConnectionResetError("told to drop the connection")


def wrapped(folder: str) -> Any:
    """A model folder, wrapped as the server of nnsight does."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True).eval()
    return TransformersModel(network, task="text-generation", tokenizer=AutoTokenizer.from_pretrained(folder))


def main() -> None:
    """Serve until stopped."""
    sys.modules["itda_core"] = None  # type: ignore[assignment]
    port = int(sys.argv[1])
    models = {name: wrapped(folder) for name, _, folder in (given.partition("=") for given in sys.argv[2:])}
    server = Server(models, os.environ.get("SERVER_KEY"))
    threading.Thread(target=server.work, daemon=True).start()
    uvicorn.run(application(server, f"http://127.0.0.1:{port}"), host="127.0.0.1", port=port, log_level="critical")


if __name__ == "__main__":
    main()
