"""The Open Inference Protocol, version 2: the model's metadata, and requests and responses of an inference.

https://github.com/kserve/open-inference-protocol, with Triton's binary tensor extension, which its clients use by default.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.sample import SETTINGS, Sampling, parse_sampling
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.model import Model
from edgekit.runtime.processors import processor
from edgekit.runtime.serve.message import Refusal, Request, Response, check_names, json_response, parse_json
from edgekit.runtime.serve.tasks import Input, columns, inputs_of, items_of, outputs_of
from edgekit.runtime.serve.tensors import read_inputs, write_columns

__all__ = ["HEADER", "VERSION", "InferRequest", "answer_response", "model_metadata", "parse_infer"]

HEADER = "inference-header-content-length"
"""Length in bytes of the JSON at the start of a body, after which binary tensors follow."""
VERSION = "1"
KEYS = ("id", "parameters", "inputs", "outputs")
SAMPLED = tuple(name for name in SETTINGS if name != "logprobs")
"""What the parameters may say of a language model's answers; no output tells probabilities."""


@dataclass(frozen=True)
class InferRequest:
    """An inference request, parsed."""

    items: list[object]
    """Inputs as the task's processor reads them."""
    names: tuple[str, ...]
    """Of the input tensors."""
    id: str | None
    top_k: int
    sampling: Sampling | None
    outputs: list[str]
    """Names of the outputs to return, in this order."""
    binary: set[str]
    """Those of them to return as bytes."""

    def place(self, number: int, part: str | None) -> str:
        """The field that is at fault where `part` of the item `number` is: a part of a row of a tensor, or a parameter."""
        name, bracket, rest = (part or "").partition("[")
        if name in self.names:
            return f"{name}[{number}]{bracket}{rest}"
        return part or f"{', '.join(self.names)}[{number}]"


def model_metadata(model: Model) -> JsonObject:
    """The document of /v2/models/{name}; a size of -1 means any."""
    task = model.bundle.manifest.task
    return {
        "name": model.bundle.manifest.name,
        "versions": [VERSION],
        "platform": "edgekit_onnxruntime",
        "inputs": [
            {"name": one.name, "datatype": "BYTES", "shape": [-1], **({} if one.needed else {"optional": True})}
            for one in inputs_of(model)
        ],
        "outputs": [
            {"name": output.name, "datatype": output.datatype, "shape": [-1] * output.dimensions} for output in outputs_of(task)
        ],
    }


def parse_infer(request: Request, model: Model, batch: int) -> InferRequest:
    """The inference that `request` asks `model` for, of at most `batch` items.

    Raises:
        Refusal: 400 where anything in it cannot be used, 413 where it holds too many.
    """
    body = memoryview(request.body)
    size = len(body)
    if HEADER in request.headers:
        text = request.headers[HEADER]
        if not (text.isascii() and text.isdigit()) or int(text[:12]) > len(body) or len(text) > 12:
            raise Refusal(400, f"{text[:40]!r} is not a number of bytes up to the body's {len(body)}", where=HEADER)
        size = int(text)
    document = parse_json(bytes(body[:size]))
    check_names(document, KEYS, "body")
    inputs = _inputs(document.get("inputs"), model, batch, body[size:])
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise Refusal(400, f"a text is wanted, not {type(request_id).__name__}", where="id")
    parameters = dict(_object(document.get("parameters", {}), "parameters"))
    all_binary = parameters.pop("binary_data_output", False)
    if not isinstance(all_binary, bool):
        raise Refusal(400, "binary_data_output is not true or false", where="parameters")
    outputs, binary = _outputs(document.get("outputs"), model, all_binary)
    task = processor(model.bundle.manifest.task)
    flags = _flags(parameters, task.flags)
    top_k, sampling = 1, None
    if model.language is not None:
        sampling = _sampling(parameters)
    elif task.lists != "nothing":
        check_names(parameters, ("top_k", *task.flags), "parameters")
        labels = len(model.bundle.manifest.labels)
        value = parameters.get("top_k", 1 if task.lists == "best" else labels)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= labels:
            raise Refusal(400, f"top_k {str(value)[:40]} is not a whole number from 1 to {labels}", where="parameters")
        top_k = value
    else:
        check_names(parameters, (*task.flags, "binary_data_output"), "parameters")
    items = items_of(inputs, inputs_of(model), flags)
    return InferRequest(items, tuple(inputs), request_id, top_k, sampling, outputs, binary)


def answer_response(model: Model, request: InferRequest, answers: Sequence[JsonObject]) -> Response:
    """The response to `request` with the answers to its items."""
    manifest = model.bundle.manifest
    by_name = {column.name: column for column in columns(manifest.task, answers)}
    outputs, blob = write_columns([by_name[name] for name in request.outputs], request.binary)
    document: dict[str, JsonValue] = {"model_name": manifest.name, "model_version": VERSION, "outputs": outputs}
    if request.id is not None:
        document["id"] = request.id
    if not request.binary:
        return json_response(document)
    head = json.dumps(document, separators=(",", ":")).encode()
    return Response(200, head + blob, "application/octet-stream", {HEADER: str(len(head))})


def _inputs(given: object, model: Model, batch: int, blob: memoryview) -> dict[str, list[str | bytes]]:
    """The texts, images or sounds of each input tensor, the same number each, in the task's order."""
    reads = processor(model.bundle.manifest.task).reads
    needed, optional = _names(given, inputs_of(model))
    if not isinstance(given, list) or not given:
        raise Refusal(400, "no input tensors", where="inputs", fix=f"send {', '.join(needed)}")
    if len(given) > len(needed) + len(optional):
        raise Refusal(400, f"{len(given)} tensors; the model reads {', '.join(needed + optional)}", where="inputs")
    found: dict[str, list[str | bytes]] = {}
    for number, tensor in enumerate(given):
        name, items, taken = read_inputs(tensor, f"inputs[{number}]", batch, blob, reads)
        blob = blob[taken:]
        if name not in needed + optional or name in found:
            what = "is a duplicate" if name in found else f"is no input; the model reads {', '.join(needed + optional)}"
            raise Refusal(400, f"{name[:60]!r} {what}", where=f"inputs[{number}].name")
        found[name] = items
    missing = [name for name in needed if name not in found]
    if missing:
        raise Refusal(400, f"missing: {', '.join(missing)}", where="inputs", fix=f"send {', '.join(needed)}")
    if len({len(items) for items in found.values()}) > 1:
        raise Refusal(400, f"inputs of different numbers of {reads}s", where="inputs")
    if len(blob):
        raise Refusal(400, f"{len(blob)} bytes of binary data belong to no input", where="body")
    return {name: found[name] for name in needed + optional if name in found}


def _names(given: object, known: tuple[Input, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names that the request must have, names that it may have): of one that takes the others' place, it alone."""
    given_names = [one.get("name") for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    instead = next((one.name for one in known if one.instead_of is not None and one.name in given_names), None)
    if instead is not None:
        return (instead,), ()
    plain = [one for one in known if one.instead_of is None]
    return tuple(one.name for one in plain if one.needed), tuple(one.name for one in plain if not one.needed)


def _flags(parameters: dict[str, object], known: tuple[str, ...]) -> dict[str, bool]:
    """Those parameters that are true or false, taken out."""
    flags = {}
    for name in known:
        if name in parameters:
            value = parameters.pop(name)
            if not isinstance(value, bool):
                raise Refusal(400, f"{name} is not true or false", where="parameters")
            flags[name] = value
    return flags


def _outputs(given: object, model: Model, all_binary: bool) -> tuple[list[str], set[str]]:
    """(names of the outputs to return, those of them to return as bytes)."""
    known = [output.name for output in outputs_of(model.bundle.manifest.task)]
    if given is None or given == []:
        return known, set(known) if all_binary else set()
    if not isinstance(given, list) or not all(isinstance(output, dict) for output in given):
        raise Refusal(400, "not a list of output objects", where="outputs")
    wanted, binary = [], set()
    for number, output in enumerate(given):
        where = f"outputs[{number}]"
        check_names(output, ("name", "parameters"), where)
        name = output.get("name")
        if name not in known or name in wanted:
            what = "is a duplicate" if name in wanted else f"is no output; known: {', '.join(known)}"
            raise Refusal(400, f"{str(name)[:60]!r} {what}", where=f"{where}.name")
        parameters = _object(output.get("parameters", {}), f"{where}.parameters")
        check_names(parameters, ("binary_data",), f"{where}.parameters")
        as_bytes = parameters.get("binary_data", all_binary)
        if not isinstance(as_bytes, bool):
            raise Refusal(400, "binary_data is not true or false", where=f"{where}.parameters")
        wanted.append(name)
        binary |= {name} if as_bytes else set()
    return wanted, binary


def _sampling(parameters: dict[str, object]) -> Sampling:
    check_names(parameters, SAMPLED, "parameters")
    try:
        return parse_sampling(parameters)
    except BadInput as fault:
        raise Refusal(400, fault.what, where="parameters", faults=fault.faults) from None


def _object(given: object, where: str) -> dict[str, object]:
    if not isinstance(given, dict):
        raise Refusal(400, f"an object is wanted, not {type(given).__name__}", where=where)
    return given
