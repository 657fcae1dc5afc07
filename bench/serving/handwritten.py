"""The server that a good engineer writes in an afternoon: starlette, one file. The bar of the serving benchmark.

No validation, no metrics, no batching, no limits, no drain. ``TUNED`` in the environment chooses the careful one:
orjson, and the model run on the event loop with one thread; else starlette's own JSON and onnxruntime's defaults.
Binary tensors are read too, so that it can be compared on a heavy model.
"""

from __future__ import annotations

import os

import numpy as np
import onnxruntime as ort
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TUNED = os.environ["TUNED"] == "1"
MODEL = os.environ["MODEL"]

options = ort.SessionOptions()
if TUNED:
    options.intra_op_num_threads = 1
session = ort.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
NAME = session.get_inputs()[0].name


def answer(array: np.ndarray) -> Response:
    output = {"name": "logits", "datatype": "FP32", "shape": list(array.shape)}
    if TUNED:
        document = {"model_name": "m", "outputs": [{**output, "data": array.ravel()}]}
        return Response(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
    return JSONResponse({"model_name": "m", "outputs": [{**output, "data": array.ravel().tolist()}]})


async def infer(request: Request) -> Response:
    length = request.headers.get("inference-header-content-length")
    if length is not None:
        body = await request.body()
        tensor = orjson.loads(body[: int(length)])["inputs"][0]
        x = np.frombuffer(body, dtype=np.float32, offset=int(length)).reshape(tensor["shape"])
    else:
        document = orjson.loads(await request.body()) if TUNED else await request.json()
        tensor = document["inputs"][0]
        x = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
    return answer(session.run(None, {NAME: x})[0])


async def ready(request: Request) -> Response:
    return Response()


app = Starlette(
    routes=[
        Route("/v2/models/m/infer", infer, methods=["POST"]),
        Route("/v2/models/m/ready", ready),
    ]
)
