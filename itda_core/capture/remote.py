"""Capture activations from a model on NDIF or another nnsight server.

Only the captured tokens are returned, scaled to unit norm in float16 with their norms, the form in which they are
stored. Each batch is a job that the server queues and runs; a few are in flight at a time. A ledger file maps batches
to jobs, so that after a crash the results are requested again instead of computed again. Transient failures are retried
with exponentially growing waits; permanent ones end the capture with a one-line error and a remedy.
"""

import io
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch
import zstandard
from nnsight.intervention.backends.remote import RemoteBackend, RemoteError
from nnsight.schema.config import CONFIG
from nnsight.schema.request import RequestModel
from nnsight.schema.response import ResponseModel, Status

from itda_core.capture.local import collate, grouped, in_execution_order
from itda_core.capture.store import Packed
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import read_json, write_json
from itda_core.common.settings import NDIF_KEY_VARIABLE
from itda_core.common.text import one_line
from itda_core.common.types import Site
from itda_core.corpus.windows import Window
from itda_core.models.model import Model

_SHOWN = 300  # shown characters of a server's message
_UNKNOWN_KEY = 401
_REFUSED = (_UNKNOWN_KEY, 403)
_BUSY = (408, 425, 429)
_IN_QUEUE = (Status.RECEIVED, Status.QUEUED, Status.PROVISIONING, Status.DEPLOYING)
_NO_PROTOCOL = "the server's answer is not one of its protocol"


@dataclass(frozen=True)
class RemoteSettings:
    """Limits and intervals for sending jobs and waiting for them."""

    in_flight: int = 4
    """Jobs in flight at a time."""
    attempts: int = 8
    """Maximum number of failed jobs of a batch, or of consecutive failed requests, before the capture gives up."""
    first_wait: float = 1.0
    """Seconds before the second attempt; each further wait is twice as long, ±50 % at random."""
    longest_wait: float = 60.0
    """Maximum wait in seconds."""
    poll_every: float = 1.0
    """Seconds between two polls of a job."""
    silent_after: float = 3600.0
    """Seconds without news of a started job after which it counts as lost and is sent again."""
    queued_for: float = 86_400.0
    """Seconds without news of a queued job after which it counts as lost."""
    unknown_after: float = 30.0
    """Seconds after which a job that is unknown to the server is sent again."""


class RemoteCapture:
    """Activations of windows at some sites of a model on a server."""

    def __init__(
        self,
        model: Model,
        sites: Sequence[Site],
        windows: Callable[[], Iterable[Window]],
        batch_windows: int,
        ledger: Path,
        settings: RemoteSettings | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Prepare a capture.

        Raises UserError for a site that the model does not have.

        Args:
            model: the model, of which only configuration and tokenizer are local.
            sites: the sites, all captured in one job.
            windows: returns the same windows at each call.
            batch_windows: windows in a job.
            ledger: file that maps batches to jobs; it may exist from an interrupted capture.
            settings: limits and intervals.
            say: called with messages of the server and with failures.
        """
        self._model, self._settings, self._say = model, settings or RemoteSettings(), say
        self.sites = in_execution_order(sites)
        self._modules = [model.module(site) for site in self.sites]
        self._windows, self._batch_windows, self._ledger = windows, batch_windows, ledger
        self._key = ""
        self._jobs: dict[int, str] = {}

    def packed(self, first: int = 0) -> Iterator[Packed]:
        """Yield the batches from number `first` on.

        Raises UserError if there is no key, or something fails permanently.
        """
        self._key = _key()
        self._jobs = {number: job for number, job in self._read_ledger().items() if number >= first}
        waiting: deque[_Batch] = deque()
        for number, windows in enumerate(grouped(self._model, self._windows(), self._batch_windows, first), first):
            waiting.append(_Batch(number, windows, self._jobs.get(number)))
            self._insist(waiting[-1], self._send)
            if len(waiting) == self._settings.in_flight:
                yield from self._received(waiting.popleft())
        while waiting:
            yield from self._received(waiting.popleft())
        self._ledger.unlink(missing_ok=True)

    def _read_ledger(self) -> dict[int, str]:
        if not self._ledger.is_file():
            return {}
        try:
            return {int(number): str(job) for number, job in read_json(self._ledger).items()}
        except (AttributeError, ValueError, DamagedError) as error:
            raise DamagedError(f"{self._ledger.name} is damaged: delete it, its jobs are sent again") from error

    def _received(self, batch: "_Batch") -> Iterator[Packed]:
        yield self._insist(batch, self._wait)
        self._jobs.pop(batch.number)  # the caller has stored the result, or it would not have requested more

    def _insist(self, batch: "_Batch", do: Callable[["_Batch"], Any]) -> Any:
        """Run an operation on a batch's job, with retries of transient failures.

        Raises UserError for a permanent failure.
        """
        settings = self._settings
        while True:
            try:
                if batch.job is None and do is not self._send:
                    self._send(batch)
                return do(batch)
            except (RemoteError, httpx.HTTPError, ConnectionError, _Failure) as error:
                failure = self._understood(error)
            if failure.is_of_job:
                batch.failed += 1
                batch.job = None
            else:
                batch.unheard += 1
                if failure.is_of_result and batch.unheard >= settings.attempts // 2:
                    batch.job = None  # the result is permanently unreadable
            tries = max(batch.failed, batch.unheard)
            if tries >= settings.attempts:
                raise UserError(
                    f"{failure}: gave up after {tries} tries; what came is kept, the same command goes on there"
                )
            wait = min(settings.longest_wait, settings.first_wait * 2 ** (tries - 1)) * random.uniform(0.5, 1.5)
            self._say(f"{failure}; trying again in {wait:.0f} s ({tries} of {settings.attempts} tries)")
            time.sleep(wait)

    def _send(self, batch: "_Batch") -> None:
        if batch.job is not None:
            return
        fed = collate(self._model, batch.windows)
        network, modules, kept = self._model.nnsight, self._modules, fed.kept
        inputs = {"input_ids": fed.ids, "attention_mask": fed.mask}
        tiny = torch.finfo(torch.float32).tiny
        backend = self._backend(None)
        outputs: Any
        # The block runs on the server, where this package is not installed.
        with self._model.lock, network.trace(inputs, backend=backend) as tracer:
            outputs = list()
            for module in modules:
                value = module.output
                if isinstance(value, tuple):
                    value = value[0]
                value = value.reshape(*kept.shape, -1)
                rows = value[kept.to(value.device)].float()
                norm = rows.norm(dim=1)
                outputs.append((rows / norm.clamp_min(tiny)[:, None]).half())
                outputs.append(norm)
            outputs.save()
            tracer.stop()
        batch.job = str(backend.job_id)
        self._jobs[batch.number] = batch.job
        write_json(self._ledger, self._jobs)

    def _wait(self, batch: "_Batch") -> Packed:
        backend = self._backend(batch.job)
        report, heard = "", time.monotonic()
        while True:
            values = backend.poll()
            if values is not None:
                return self._checked(values, batch)
            batch.unheard = 0
            if backend.report != report:
                report, heard = backend.report, time.monotonic()
                self._say(self._shown(report))
            silent = time.monotonic() - heard
            if silent > self._patience(backend.status):
                raise _Failure(f"no news of job {batch.job} for {silent:.0f} s", is_of_job=True)
            time.sleep(self._settings.poll_every)

    def _patience(self, status: Status | None) -> float:
        """Return the seconds that a job may send no news, by its status.

        A job without a status is unknown to the server.
        """
        if status is None:
            return self._settings.unknown_after
        return self._settings.queued_for if status in _IN_QUEUE else self._settings.silent_after

    def _checked(self, values: Any, batch: "_Batch") -> Packed:
        """Validate the values that a job returned."""
        fed = collate(self._model, batch.windows)
        n, d = len(fed.sources), self._model.d_model
        outputs = values.get("outputs") if isinstance(values, dict) else None
        if not isinstance(outputs, list) or [
            (list(value.shape), value.dtype) for value in outputs if isinstance(value, torch.Tensor)
        ] != [([n, d], torch.float16), ([n], torch.float32)] * len(self.sites):
            raise _Failure(f"job {batch.job} gave something else than what was asked for", is_of_job=True)
        if not all(torch.isfinite(value).all() for value in outputs):
            raise _Failure(f"job {batch.job} gave values that are not finite", is_of_job=True)
        return Packed(
            dict(zip(self.sites, outputs[0::2], strict=True)),
            dict(zip(self.sites, outputs[1::2], strict=True)),
            fed.sources,
        )

    def _backend(self, job: str | None) -> "_Backend":
        return _Backend(self._model.nnsight.to_model_key(), api_key=self._key, blocking=False, job_id=job)

    def _shown(self, text: str) -> str:
        """Shorten external text to one line, with the key removed if it occurs."""
        return one_line(text.replace(self._key, "…"))[:_SHOWN]

    def _understood(self, error: Exception) -> "_Failure":
        """Convert an error to a transient failure with a one-line message.

        Raises UserError for a permanent one.
        """
        if isinstance(error, _Failure):
            return error
        cause = error.__cause__ if isinstance(error, RemoteError) else error
        if isinstance(cause, httpx.HTTPStatusError):
            status = cause.response.status_code
            # The server's message is in nnsight's error; the httpx error contains the URL, which may be signed.
            reason = f" ({self._shown(str(error))})" if isinstance(error, RemoteError) else ""
            if status in _REFUSED:
                raise UserError(f"the server refuses the key{reason}: check {NDIF_KEY_VARIABLE}") from error
            if status < 500 and status not in _BUSY:
                raise UserError(f"the server does not run {self._model.name}{reason}") from error
            return _Failure(f"the server answers {status}{reason}")
        if isinstance(cause, httpx.HTTPError | ConnectionError):
            return _Failure(f"the line to {CONFIG.API.HOST} fails ({type(cause).__name__})")
        last = (str(error).strip().splitlines() or ["it does not say why"])[-1]
        return _Failure(f"the job failed on the server: {self._shown(last)}", is_of_job=True)


@dataclass
class _Batch:
    number: int
    windows: list[Window]
    job: str | None
    failed: int = 0
    """Number of its jobs that failed."""
    unheard: int = 0
    """Number of consecutive requests without an answer."""


class _Failure(Exception):
    """A transient failure.

    It is retried by a new request, or, if the job itself failed, by a new job.
    """

    def __init__(self, line: str, is_of_job: bool = False, is_of_result: bool = False) -> None:
        super().__init__(line)
        self.is_of_job, self.is_of_result = is_of_job, is_of_result


class _Backend(RemoteBackend):
    """nnsight's backend without its display, with classified failures.

    Results are loaded as plain tensors only.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.display.enabled = False
        self.report = ""

    def note(self, response: ResponseModel) -> bool:
        self.report = f"{response.status.value.lower()}: {response.description}"
        return super().note(response)

    def poll(self, tracer: Any = None) -> Any:
        try:
            return super().poll(tracer)
        except httpx.HTTPStatusError as error:
            status, is_server = error.response.status_code, str(error.request.url).startswith(self.host)
            if status >= 500 or status in _BUSY or (is_server and status == _UNKNOWN_KEY):
                raise
            # A result that no longer exists, or a job of another key.
            raise _Failure(f"the server answers {status} for job {self.job_id}", is_of_job=True) from error
        except (ValueError, httpx.InvalidURL) as error:
            raise _Failure(_NO_PROTOCOL) from error

    def download_result(self, url: Any) -> Any:
        if not url:
            raise _Failure(f"job {self.job_id} is done and has no result", is_of_job=True)
        return super().download_result(url)

    def finalize(self, content: bytes) -> Any:
        try:
            if self.compress:
                content = zstandard.ZstdDecompressor().decompress(content)
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # a truncated file may raise any error
            raise _Failure(f"the result of job {self.job_id} is cut short or damaged", is_of_result=True) from error

    def _post(self, request: RequestModel, blob: bytes) -> ResponseModel:
        try:
            return super()._post(request, blob)
        except ValueError as error:
            raise _Failure(_NO_PROTOCOL) from error


def _key() -> str:
    """Return the API key in a form that can be sent.

    Raises UserError if there is no key, or no valid server address.
    """
    if not CONFIG.API.HOST.startswith(("http://", "https://")):
        raise UserError(f"NDIF_HOST is {CONFIG.API.HOST!r}: it must begin with https:// or http://")
    key = (os.environ.get(NDIF_KEY_VARIABLE) or CONFIG.API.APIKEY or "").strip()
    if not key:
        raise UserError(f"set {NDIF_KEY_VARIABLE} to your NDIF key")
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"{NDIF_KEY_VARIABLE} has characters that no key has: set it again")
    return key
