"""An inference request: read, and held against the signature. Every refusal names the input and what was expected."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any, Final

from slipway_server import codec_binary, codec_json
from slipway_server.codec_json import DataError
from slipway_server.signature import Array, Plan, TensorPlan, fits

_INT: Final = frozenset({int})

_BRIEF: Final = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxlist, _BRIEF.maxdict, _BRIEF.maxstring = 2, 8, 4, 60


class RequestError(ValueError):
    """The request is not one that this model can answer; the message is for its sender."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request that fits the signature.

    Attributes:
        id: what the sender called it, given back in the answer.
        arrays: inputs in the order of the signature.
        rows: size of the batch dimension; 1 where the model has none.
        tails: dimensions after the first, of each input; requests may be joined only if these are equal. None where
            the signature fixes them.
        outputs: (index in the signature, whether binary) of each output to answer with.
    """

    id: str | None
    arrays: list[Array]
    rows: int
    tails: tuple[tuple[int, ...], ...] | None
    outputs: tuple[tuple[int, bool], ...]


class TooLargeError(RequestError):
    """Parsing the request might take more memory than there is."""


class Reader:
    """Reads requests for one signature. ``json_memory``: bytes that parsing one body may take, None for any."""

    def __init__(self, plan: Plan, json_memory: int | None = None) -> None:
        self._plan = plan
        self._json_memory = json_memory
        self._batched = plan.batched
        self._fixed = all(t.fixed is not None for t in plan.inputs)
        self._names = ", ".join(repr(t.name) for t in plan.inputs)
        every = range(len(plan.outputs))
        self._all_json = tuple((i, False) for i in every)
        self._all_binary = tuple((i, True) for i in every)

    def read(self, body: bytes | memoryview, json_length: int | None) -> InferRequest:
        """Read a body; with ``json_length``, its first so many bytes are JSON and binary tensors follow.

        Raises:
            RequestError: anything that is wrong with it.
        """
        plan = self._plan
        binary = _Binary(body, json_length)
        text = body if json_length is None else memoryview(body)[:json_length]
        # Below 1/100 of the bound not even the worst body reaches it: the look costs the usual request nothing.
        if self._json_memory is not None and len(text) > self._json_memory // 100:
            need = codec_json.cost(text)
            if need > self._json_memory:
                raise TooLargeError(
                    f"parsing these {len(text)} bytes of JSON may take {need >> 20} MiB of memory, and "
                    f"{self._json_memory >> 20} MiB are there for it: send fewer rows, send binary tensors, or give "
                    "the Deployment more memory"
                )
        try:
            document = codec_json.loads(text)
        except DataError as error:
            raise RequestError(f"the body is not JSON: {error}") from None
        if type(document) is not dict:
            raise RequestError("the body must be a JSON object with 'inputs'")
        request_id = document.get("id")
        if request_id is not None and type(request_id) is not str:
            raise RequestError("'id' must be a text")
        inputs = document.get("inputs")
        if type(inputs) is not list or not inputs:
            raise RequestError(f"'inputs' must be a list with the inputs {self._names}")
        arrays: list[Array | None] = [None] * len(plan.inputs)
        rows = 0
        for item in inputs:
            if type(item) is not dict:
                raise RequestError("each of 'inputs' must be an object with name, datatype, shape and data")
            name = item.get("name")
            index = plan.input_index.get(name) if type(name) is str else None
            if index is None:
                raise RequestError(f"unknown input {_show(name)}: this model takes {self._names}")
            if arrays[index] is not None:
                raise RequestError(f"input {name!r} is given twice")
            tensor = plan.inputs[index]
            shape = _shape(tensor, item)
            if self._batched:
                if rows and shape[0] != rows:
                    raise RequestError(
                        f"input {name!r} has {shape[0]} rows, but another input has {rows}: all need the same"
                    )
                rows = shape[0]
            try:
                size = _parameters(item).get("binary_data_size")
                if size is not None:
                    arrays[index] = codec_binary.read(tensor, binary.take(size, item), shape)
                else:
                    arrays[index] = codec_json.read(tensor, item.get("data"), shape)
            except DataError as error:
                raise RequestError(f"input {name!r} {error}") from None
        ready = [a for a in arrays if a is not None]
        if len(ready) != len(arrays):
            missing = [t for t, a in zip(plan.inputs, arrays, strict=True) if a is None]
            raise RequestError("; ".join(f"input {t.name!r} is missing: {t.expected} was expected" for t in missing))
        binary.finish()
        return InferRequest(
            id=request_id,
            arrays=ready,
            rows=rows or 1,
            tails=None if self._fixed else tuple(a.shape[1:] for a in ready),
            outputs=self._outputs(document),
        )

    def _outputs(self, document: dict[str, Any]) -> tuple[tuple[int, bool], ...]:
        try:
            binary = _flag(_parameters(document), "binary_data_output", default=False)
        except DataError as error:
            raise RequestError(f"the request {error}") from None
        wanted = document.get("outputs")
        if wanted is None or wanted == []:
            return self._all_binary if binary else self._all_json
        if type(wanted) is not list:
            raise RequestError("'outputs' must be a list of objects with a name")
        index = self._plan.output_index
        chosen: dict[int, bool] = {}
        for item in wanted:
            name = item.get("name") if type(item) is dict else None
            if type(name) is not str or name not in index:
                known = ", ".join(repr(n) for n in index)
                raise RequestError(f"unknown output {_show(name)}: this model gives {known}")
            if index[name] in chosen:
                raise RequestError(f"output {name!r} is asked for twice")
            try:
                chosen[index[name]] = _flag(_parameters(item), "binary_data", default=binary)
            except DataError as error:
                raise RequestError(f"output {name!r} {error}") from None
        return tuple(chosen.items())


class _Binary:
    """The bytes behind the JSON, given out in the order of the inputs that ask for them."""

    def __init__(self, body: bytes | memoryview, json_length: int | None) -> None:
        if json_length is not None and not 0 < json_length <= len(body):
            raise RequestError(
                f"Inference-Header-Content-Length is {json_length}, but the body has {len(body)} bytes and must "
                "begin with JSON"
            )
        self._body = body
        self._given = json_length is not None
        self._position = json_length or 0

    def take(self, size: Any, item: dict[str, Any]) -> memoryview:
        if not self._given:
            raise DataError("has a binary_data_size, but the request has no header Inference-Header-Content-Length")
        if "data" in item:
            raise DataError("has both 'data' and a binary_data_size: give one of them")
        if type(size) is not int or size < 0:
            raise DataError(f"has the binary_data_size {_show(size)}: a number of bytes was expected")
        if size > len(self._body) - self._position:
            left = len(self._body) - self._position
            raise DataError(f"has a binary_data_size of {size}, but only {left} bytes are left in the body")
        start, self._position = self._position, self._position + size
        return memoryview(self._body)[start : self._position]

    def finish(self) -> None:
        if self._given and self._position != len(self._body):
            raise RequestError(
                f"{len(self._body) - self._position} bytes at the end of the body belong to no input: "
                "check each binary_data_size"
            )


def _shape(tensor: TensorPlan, item: dict[str, Any]) -> tuple[int, ...]:
    name = tensor.name
    if item.get("datatype") != tensor.datatype:
        raise RequestError(f"input {name!r} has datatype {_show(item.get('datatype'))}: {tensor.expected} was expected")
    raw = item.get("shape")
    if type(raw) is not list or not set(map(type, raw)) <= _INT:
        raise RequestError(
            f"input {name!r} has the shape {_show(raw)}: {tensor.expected} was expected, as a list of whole numbers"
        )
    shape = tuple(raw)
    if not fits(shape, tensor.shape):
        raise RequestError(f"input {name!r} has shape {_show(raw)}: {tensor.expected} was expected")
    if shape and min(shape) < 1:
        raise RequestError(
            f"input {name!r} has shape {_show(raw)}: every dimension must be at least 1 ({tensor.expected})"
        )
    return shape


def _parameters(item: dict[str, Any]) -> dict[str, Any]:
    parameters = item.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise DataError("has 'parameters' that are not an object")
    return parameters


def _flag(parameters: dict[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name)
    if value is None:
        return default
    if type(value) is not bool:
        raise DataError(f"has the parameter {name} {_show(value)}: true or false was expected")
    return value


def _show(value: Any) -> str:
    """A value of the sender's, short enough for a sentence, and never written out whole on the way."""
    return _BRIEF.repr(value)
