"""The Open Inference Protocol v2 over HTTP: paths, documents, and which status each outcome has.

https://github.com/kserve/open-inference-protocol, with the binary tensor data extension.

    400  the request does not fit the protocol or the signature      415  a body that is neither JSON nor binary tensors
    404  another model or version                                    422  it fits, but the model cannot compute on it
    405  another method                                              499  (metrics only) the client left before
    413, 431, 408: see http.py; 413 also for JSON too costly         500  the model, or the server, is broken
    503  loading, or the queue is full (Retry-After)                 504  waited or ran too long
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import unquote

from slipway.contract import ServeSpec
from slipway_server import __version__, codec_binary, codec_json
from slipway_server.batching import (
    BadInputError,
    Batcher,
    BrokenModelError,
    QueueFullError,
    RunTimeoutError,
    Work,
)
from slipway_server.http import JSON, Request
from slipway_server.metrics import ServerMetrics
from slipway_server.model import Model
from slipway_server.signature import Array, Plan, TensorPlan
from slipway_server.validate import InferRequest, Reader, RequestError, TooLargeError

log = logging.getLogger("slipway.server")

OCTETS: Final = b"application/octet-stream"
_BINARY_HEADER: Final = b"inference-header-content-length"
_REQUEST_ID: Final = b"x-request-id"
_CLIENT_GONE: Final = 499
_GET: Final = frozenset({b"GET", b"HEAD"})

Headers = tuple[tuple[bytes, bytes], ...]


class Listener(Protocol):
    """Who is told of each answer to an inference request, after it was written: ``Ring`` or ``Shadow``."""

    @property
    def open(self) -> bool:
        """Whether it wants to be told."""

    def answered(
        self,
        request_id: bytes | None,
        code: int,
        outputs: list[Array] | None,
        inputs: list[Array] | None,
        now: float,
    ) -> None:
        """A request was answered: its ``x-request-id``, the status, and arrays as the model took and gave them, if it
        did. It is called on the event loop and must not wait for anything."""


class App:
    """Answers requests for one model version. Starts without the model: ``serve`` gives it."""

    def __init__(self, spec: ServeSpec, metrics: ServerMetrics, listeners: Sequence[Listener] = ()) -> None:
        self._spec = spec
        self._metrics = metrics
        self._listeners = listeners
        self._version = str(spec.version)
        self._plan = Plan.of(spec.signature)
        self._reader = Reader(self._plan)
        self._model: Model | None = None
        self._batcher: Batcher | None = None
        self._draining = False
        self._broken = ""
        self.in_flight = 0
        base = f"/v2/models/{spec.model}"
        versioned = f"{base}/versions/{self._version}"
        self._infer_paths = frozenset(f"{b}/infer".encode() for b in (base, versioned))
        self._pages: dict[bytes, Callable[[Request], None]] = {
            b"/v2": self._server_metadata,
            b"/v2/health/live": self._live,
            b"/v2/health/ready": self._ready,
        }
        for path in (base, versioned):
            self._pages[path.encode()] = self._model_metadata
            self._pages[f"{path}/ready".encode()] = self._model_ready

    # ----------------------------------------------------------------------------------------------- state

    def serve(self, model: Model, batcher: Batcher, json_memory: int | None = None) -> None:
        """From now on ready. ``json_memory``: see ``Reader``."""
        self._reader = Reader(self._plan, json_memory)
        self._model, self._batcher = model, batcher

    def drain(self) -> None:
        """From now on not ready, but still answering."""
        self._draining = True

    @property
    def not_ready(self) -> str:
        """Why the server is not ready, as a sentence; empty if it is."""
        if self._broken:
            return f"the model is broken: {self._broken}"
        if self._draining:
            return "this server is stopping: ask another replica"
        if self._batcher is None:
            return f"model {self._spec.model!r} version {self._version} is still loading"
        return ""

    def error(self, sentence: str) -> bytes:
        """The body of every answer that is not 2xx."""
        return codec_json.dumps({"error": sentence, "model_name": self._spec.model, "model_version": self._version})

    # ---------------------------------------------------------------------------------------------- routes

    def __call__(self, request: Request) -> None:
        """Answer one request."""
        path = request.path
        if path not in self._infer_paths and path not in self._pages:
            path = unquote(path.decode("latin-1")).rstrip("/").encode()
        if path in self._infer_paths:
            if request.method == b"POST":
                self._infer(request)
            else:
                self._refuse_method(request, b"POST")
            return
        page = self._pages.get(path)
        if page is None:
            request.respond(404, self.error(self._unknown(path.decode("utf-8", "replace"))))
        elif request.method not in _GET:
            self._refuse_method(request, b"GET, HEAD")
        else:
            page(request)

    def _unknown(self, path: str) -> str:
        """Which part of a path names nothing."""
        spec = self._spec
        parts = path[:300].split("/")
        if parts[:3] == ["", "v2", "models"] and len(parts) > 3:
            if parts[3] != spec.model:
                return f"unknown model {parts[3]!r}: this server has {spec.model!r}"
            if len(parts) > 5 and parts[4] == "versions" and parts[5] != self._version:
                return f"unknown version {parts[5]!r} of model {spec.model!r}: this server has {self._version!r}"
        return f"nothing is at {path[:300]!r}: inference is POST /v2/models/{spec.model}/infer"

    def _refuse_method(self, request: Request, allowed: bytes) -> None:
        request.respond(
            405,
            self.error(f"{request.method.decode('latin-1')} is not allowed here, only {allowed.decode()} is"),
            headers=((b"allow", allowed),),
        )

    # ------------------------------------------------------------------------------------- health, metadata

    def _live(self, request: Request) -> None:
        if self._broken:
            request.respond(503, self.error(self.not_ready))
        else:
            request.respond(200, codec_json.dumps({"live": True}))

    def _ready(self, request: Request) -> None:
        if self.not_ready:
            request.respond(503, self.error(self.not_ready))
        else:
            request.respond(200, codec_json.dumps({"ready": True}))

    def _model_ready(self, request: Request) -> None:
        if self.not_ready:
            request.respond(503, self.error(self.not_ready))
        else:
            request.respond(200, codec_json.dumps({**self._names(), "name": self._spec.model, "ready": True}))

    def _server_metadata(self, request: Request) -> None:
        request.respond(
            200,
            codec_json.dumps(
                {**self._names(), "name": "slipway", "version": __version__, "extensions": ["binary_tensor_data"]}
            ),
        )

    def _model_metadata(self, request: Request) -> None:
        spec = self._spec

        def tensors(plans: tuple[TensorPlan, ...]) -> list[dict[str, Any]]:
            return [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in plans]

        parameters: dict[str, Any] = {"digest": spec.artifact.digest, "model_version_object": spec.modelVersion}
        if self._model is not None:
            parameters["execution_provider"] = self._model.provider
        document = {
            **self._names(),
            "name": spec.model,
            "versions": [self._version],
            "platform": "onnxruntime_onnx",
            "inputs": tensors(self._plan.inputs),
            "outputs": tensors(self._plan.outputs),
            "parameters": parameters,
        }
        request.respond(200, codec_json.dumps(document))

    def _names(self) -> dict[str, str]:
        return {"model_name": self._spec.model, "model_version": self._version}

    # -------------------------------------------------------------------------------------------- inference

    def _infer(self, request: Request) -> None:
        self.in_flight += 1
        try:
            work = self._submit(request)
        except TooLargeError as error:
            self._answer(request, 413, self.error(str(error)))
        except RequestError as error:
            self._answer(request, 400, self.error(str(error)))
        except _MediaTypeError as error:
            self._answer(request, 415, self.error(str(error)))
        except QueueFullError as full:
            self._answer(
                request,
                503,
                self.error(
                    f"{self._spec.queueLimit} requests are waiting already: try again in {full.retry_after} s, "
                    "or give the Deployment more replicas"
                ),
                headers=((b"retry-after", b"%d" % full.retry_after),),
            )
        except _NotLoadedError:
            self._answer(request, 503, self.error(self.not_ready), headers=((b"retry-after", b"1"),))
        except Exception:
            log.exception("a request failed in an unexpected way")
            self._answer(request, 500, self.error("the server failed on this request; its log says why"))
        else:
            request.on_gone = partial(self._gone, request, work)

    def _submit(self, request: Request) -> Work:
        batcher = self._batcher
        if batcher is None:
            raise _NotLoadedError
        batcher.check()  # before the body is parsed: refusing must be cheap
        headers = request.headers
        if headers.get(b"content-type") != JSON or b"content-encoding" in headers:
            _check_media_type(headers)
        json_length = None
        if _BINARY_HEADER in headers:
            digits = headers[_BINARY_HEADER]
            if not digits.isdigit() or len(digits) > 18:
                raise RequestError("Inference-Header-Content-Length must be the number of bytes of JSON in the body")
            json_length = int(digits)
        parsed = self._reader.read(request.body, json_length)
        request.body = b""
        return batcher.submit(parsed.arrays, parsed.rows, parsed.tails, partial(self._done, request, parsed))

    def _done(self, request: Request, parsed: InferRequest, work: Work, result: list[Array] | Exception) -> None:
        """The batcher's answer."""
        request.on_gone = None
        if isinstance(result, list):
            try:
                body, headers = self._encode(parsed, result)
            except Exception:
                log.exception("outputs could not be written")
                self._answer(request, 500, self.error("the model's outputs could not be written; see the log"))
                return
            if work.invalid:
                self._metrics.invalid_requests += 1
            self._answer(request, 200, body, OCTETS if headers else JSON, headers, work, result)
        elif isinstance(result, BadInputError):
            sentence = f"the inputs fit the signature, but the model cannot compute on them: {result}"
            self._answer(request, 422, self.error(sentence))
        elif isinstance(result, RunTimeoutError):
            sentence = f"no answer within {self._spec.timeoutMs} ms: ask with fewer rows, or give more replicas"
            self._answer(request, 504, self.error(sentence))
        elif isinstance(result, BrokenModelError):
            self._broken = str(result)  # the liveness probe now fails, so the container is started anew
            log.error("model is broken", extra={"error": self._broken})
            self._answer(request, 500, self.error(self.not_ready))
        else:
            self._answer(request, 500, self.error("the server failed on this request; its log says why"))

    def _encode(self, parsed: InferRequest, result: list[Array]) -> tuple[bytes, Headers]:
        """Body and headers; there are headers only if the body has binary tensors."""
        outputs: list[dict[str, Any]] = []
        pieces: list[bytes] = []
        for index, binary in parsed.outputs:
            tensor, array = self._plan.outputs[index], result[index]
            document: dict[str, Any] = {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": array.shape,
            }
            if binary:
                piece = codec_binary.write(array)
                document["parameters"] = {"binary_data_size": len(piece)}
                pieces.append(piece)
            else:
                document["data"] = codec_json.write(array)
            outputs.append(document)
        answer: dict[str, Any] = {
            "model_name": self._spec.model,
            "model_version": self._version,
            "outputs": outputs,
        }
        if parsed.id is not None:
            answer["id"] = parsed.id
        text = codec_json.dumps(answer)
        if not pieces:
            return text, ()
        return b"".join((text, *pieces)), ((_BINARY_HEADER, b"%d" % len(text)),)

    def _answer(
        self,
        request: Request,
        code: int,
        body: bytes,
        content_type: bytes = JSON,
        headers: Headers = (),
        work: Work | None = None,
        outputs: list[Array] | None = None,
    ) -> None:
        request.respond(code, body, content_type, headers)
        self._over(request, code, work, outputs)

    def _over(self, request: Request, code: int, work: Work | None = None, outputs: list[Array] | None = None) -> None:
        """Count a request that was answered, and tell who listens."""
        self.in_flight -= 1
        now = time.perf_counter()
        self._metrics.answered(code, now - request.ended)
        for listener in self._listeners:
            if listener.open:
                inputs = None if work is None else work.arrays
                try:
                    listener.answered(request.headers.get(_REQUEST_ID), code, outputs, inputs, now)
                except Exception:
                    log.exception("an answer could not be remembered")

    def _gone(self, request: Request, work: Work) -> None:
        if self._batcher is not None:
            self._batcher.cancel(work)
        self._over(request, _CLIENT_GONE)


class _MediaTypeError(ValueError):
    """415; the message is for the sender."""


class _NotLoadedError(Exception):
    """503."""


def _check_media_type(headers: dict[bytes, bytes]) -> None:
    """Raises ``_MediaTypeError`` for a body that says it is something else than what this protocol has.

    No Content-Type at all is taken for what it must be.
    """
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"identity", b""):
        raise _MediaTypeError(f"a body with Content-Encoding {encoding.decode('latin-1')!r} is not read: send it plain")
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind not in (b"", JSON, OCTETS):
        raise _MediaTypeError(
            f"the body is {kind.decode('latin-1')!r}: send Content-Type: application/json, or "
            "application/octet-stream with binary tensors (curl: -H 'Content-Type: application/json')"
        )
